"""Probability rasters to road graphs with speed and travel time."""
