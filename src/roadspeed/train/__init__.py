"""RGB, speed masks and folds to checkpoints and metrics."""
