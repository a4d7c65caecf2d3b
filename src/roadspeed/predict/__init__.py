"""RGB and checkpoints to georeferenced probability rasters."""

import os

os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # read when torch loads: IPEX's import warns of its own kernels
