"""Draw the training curves of all folds."""

import argparse
import sys

from roadspeed.report.curves import draw_curves
from roadspeed.scripting import add_paths, run_script, stage_parser


def work(args: argparse.Namespace) -> None:
    draw_curves(args.metrics, args.out)


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    add_paths(parser, metrics="+metrics.csv of every fold", out="curves.png to write")
    sys.exit(run_script(parser, work))
