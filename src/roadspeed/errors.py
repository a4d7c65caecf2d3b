"""The errors a user can meet.

A message says what was found, what was expected and what to do, in one line. Programs print it on stderr
after `roadspeed: ` and exit with the class's `exit_code`; anything else that escapes is a bug of ours.
"""


class RoadspeedError(Exception):
    """Base of all errors that roadspeed raises on purpose. Exit code 1: the work failed."""

    exit_code = 1


class InputError(RoadspeedError):
    """What was given cannot be used: a file, a label, an option, a table. Exit code 2."""

    exit_code = 2


class ConfigError(InputError):
    """A configuration key or value is not accepted."""


class FetchError(RoadspeedError):
    """A remote object could not be read completely, or is not what was expected."""


class StorageError(RoadspeedError):
    """A file cannot be written: the disk is full, the quota is used up, or writing is not allowed."""


class TrainingError(RoadspeedError):
    """Training cannot go on: a non-finite loss, no usable chips, an unfinished training with other settings."""


class HostError(RoadspeedError):
    """The computer cannot give what was asked: cores, a NUMA node, an engine."""
