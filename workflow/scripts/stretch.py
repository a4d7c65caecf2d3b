"""Turn the images of one city and split into 8-bit RGB."""

import argparse
import sys

from roadspeed.prepare.settings import StretchSettings
from roadspeed.prepare.stretch import stretch_city
from roadspeed.scripting import add_paths, run_script, stage_parser


def work(args: argparse.Namespace) -> None:
    stretch_city(args.chips, args.out.parent, args.settings, threads=args.threads)


if __name__ == "__main__":
    parser = stage_parser(__doc__, StretchSettings)
    add_paths(parser, chips="chip table", out="rgb.csv to write; pictures go into rgb/ beside it")
    sys.exit(run_script(parser, work))
