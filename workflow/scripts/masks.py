"""Draw the labels of one city and split as speed masks."""

import argparse
import sys

from roadspeed.prepare.masks import mask_city
from roadspeed.prepare.settings import MaskSettings
from roadspeed.scripting import add_paths, run_script, stage_parser


def work(args: argparse.Namespace) -> None:
    mask_city(args.chips, args.rgb, args.out.parent, args.settings, args.bins, threads=args.threads)


if __name__ == "__main__":
    parser = stage_parser(__doc__, MaskSettings, bins=True)
    add_paths(parser, chips="chip table", rgb="rgb.csv", out="masks.csv to write; masks go into masks/ beside it")
    sys.exit(run_script(parser, work))
