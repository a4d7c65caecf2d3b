"""Logging and the frame every program of roadspeed runs in."""

import logging
import sys
from collections.abc import Callable

from roadspeed.errors import RoadspeedError
from roadspeed.storage import storage_error

log = logging.getLogger("roadspeed")


def setup_logging(verbose: bool = False) -> None:
    """Send roadspeed's log lines to stderr, one line an event, with the time.

    Args:
        verbose: also show debug lines.
    """
    logging.basicConfig(
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
    )
    logging.getLogger("roadspeed").setLevel(logging.DEBUG if verbose else logging.INFO)


def run_main(work: Callable[[], int | None]) -> int:
    """Run a program's work and turn its outcome into an exit code.

    An error of ours, and a disk's refusal, become one line on stderr and an exit code; an interrupt becomes 130.
    Any other exception is a bug and keeps its traceback.

    Args:
        work: does the work; returns the exit code, None meaning 0.
    """
    try:
        return work() or 0
    except RoadspeedError as error:
        sys.stderr.write(f"roadspeed: error: {' '.join(str(error).split())}\n")
        return error.exit_code
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except OSError as error:
        refused = storage_error(error)
        if refused is None:
            raise
        sys.stderr.write(f"roadspeed: error: {refused}\n")
        return refused.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("roadspeed: interrupted\n")
        return 130
