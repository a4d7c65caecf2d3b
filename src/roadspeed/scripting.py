"""What the workflow's scripts share: their common options and their frame."""

import argparse
from collections.abc import Callable
from pathlib import Path

from roadspeed.host.cpus import own_cpus
from roadspeed.logs import run_main, setup_logging
from roadspeed.settings import Settings
from roadspeed.speedbins import SpeedBins


def stage_parser(
    description: str | None, settings: type[Settings] | None = None, bins: bool = False
) -> argparse.ArgumentParser:
    """Return a parser with the options that every stage's script has.

    Args:
        description: the script's docstring.
        settings: the stage's settings, read from JSON in `--settings`.
        bins: whether the stage needs the speed bins (`--bins`, JSON).
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--threads", type=int, default=len(own_cpus()), help="cores to use")
    if settings is not None:
        parser.add_argument("--settings", default="{}", help="settings of the stage as JSON; defaults otherwise")
        parser.set_defaults(settings_type=settings)
    if bins:
        parser.add_argument("--bins", default="{}", help="speed bins as JSON; defaults otherwise")
    return parser


def run_script(parser: argparse.ArgumentParser, work: Callable[[argparse.Namespace], int | None]) -> int:
    """Parse the command line, read the JSON options into typed settings, run `work`; return its exit code."""
    args = parser.parse_args()
    # Snakemake accepts more cores than the computer has; the launcher grants those that exist.
    args.threads = min(args.threads, len(own_cpus()))
    setup_logging()

    def run() -> int | None:
        if hasattr(args, "settings"):
            args.settings = args.settings_type.from_json(args.settings)
        if hasattr(args, "bins"):
            args.bins = SpeedBins.from_json(args.bins)
        return work(args)

    return run_main(run)


def add_paths(parser: argparse.ArgumentParser, **options: str) -> None:
    """Add required options that take a path each.

    Args:
        parser: the script's parser.
        options: option name to help text; a help text that begins with `+` makes the option take several paths.
    """
    for name, text in options.items():
        many = text.startswith("+")
        parser.add_argument(
            f"--{name}", type=Path, required=True, nargs="+" if many else None, help=text.removeprefix("+")
        )
