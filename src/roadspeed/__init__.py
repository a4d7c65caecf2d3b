"""Satellite tarballs to routable road graphs with speeds and travel times, on plain CPUs."""

__version__ = "0.1.0"
