"""RGB and checkpoints to georeferenced probability rasters."""

import os

# Both are read when torch loads: IPEX's import warns of its own kernels, and starts a pool of compiler processes.
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
