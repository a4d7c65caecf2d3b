"""The `roadspeed` program: finds the subcommand's module and runs it."""

import argparse
import sys
from importlib import import_module

from roadspeed import __version__
from roadspeed.logs import run_main, setup_logging

COMMANDS = {
    "sample": "draw a sample city: tarballs shaped like SpaceNet 5's, in a folder that serves as a bucket",
    "mask": "labels to a speed mask",
    "predict": "images of any size to probability rasters",
    "graph": "probability rasters to roads with speeds and travel times",
    "apls": "score a road graph against the truth",
    "topology": "show sockets, NUMA nodes and cores that can be used here",
    "pin": "run a command on leased cores of one NUMA node",
}


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """Return the parser.

    Args:
        only: the one subcommand whose options are wanted; others then keep their summary only, and their
            modules (some import torch) are not loaded.
    """
    parser = argparse.ArgumentParser(
        prog="roadspeed",
        description="Satellite images to routable road graphs with speeds and travel times, on plain CPUs.",
        epilog="Example: roadspeed graph prediction.tif -o roads.gpkg",
    )
    parser.add_argument("--version", action="version", version=f"roadspeed {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if only in (None, name):
            module = import_module(f"roadspeed.commands.{name}")
            command.epilog = f"Example:\n  {module.EXAMPLE}"
            module.add_arguments(command)
            command.set_defaults(run=module.run)
            command.add_argument("-v", "--verbose", action="store_true", help="show debug lines too")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit code (0 done, 1 failed, 2 bad input)."""
    argv = sys.argv[1:] if argv is None else argv
    name = next((word for word in argv if not word.startswith("-")), None)
    args = build_parser(name if name in COMMANDS else "").parse_args(argv)
    setup_logging(args.verbose)
    return run_main(lambda: args.run(args))


if __name__ == "__main__":
    sys.exit(main())
