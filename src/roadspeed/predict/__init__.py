"""RGB and checkpoints to georeferenced probability rasters."""
