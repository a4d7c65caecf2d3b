"""What the server that worker processes are forked from has to load: once for all, as compiled code loads slowly."""

from roadspeed.prepare import stretch, strips

__all__ = ["stretch", "strips"]

strips.load()
