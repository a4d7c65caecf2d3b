"""Chips and labels to 8-bit RGB, speed masks and folds."""
