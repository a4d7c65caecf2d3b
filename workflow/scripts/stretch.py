"""Turn the images of one city and split into 8 bits."""

import argparse
import sys
from pathlib import Path

from roadspeed.prepare.settings import StretchSettings
from roadspeed.prepare.stretch import stretch_city
from roadspeed.scripting import add_paths, run_script, stage_parser


def work(args: argparse.Namespace) -> None:
    ranges_of = args.ranges[0] if args.ranges else None
    stretch_city(args.chips, args.out.parent, args.settings, threads=args.threads, ranges_of=ranges_of)


if __name__ == "__main__":
    parser = stage_parser(__doc__, StretchSettings)
    add_paths(parser, chips="chip table", out="rgb.csv to write; pictures go into rgb/ beside it")
    parser.add_argument(
        "--ranges",
        type=Path,
        nargs="*",
        help="rgb.json of the split whose ranges are taken; this one's own otherwise",
    )
    sys.exit(run_script(parser, work))
