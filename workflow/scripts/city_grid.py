"""Draw the grid of a training city: its chips, their folds, and how much road each has."""

import argparse
import sys

from roadspeed.prepare.picture import draw_city_grid
from roadspeed.scripting import add_paths, run_script, stage_parser


def work(args: argparse.Namespace) -> None:
    draw_city_grid(args.chips, args.masks, args.folds, args.out)


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    add_paths(parser, chips="chip table", masks="masks.csv", folds="folds.csv", out="picture to write")
    sys.exit(run_script(parser, work))
