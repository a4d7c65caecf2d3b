"""Divide the labelled chips of all training cities into folds."""

import argparse
import sys

from roadspeed.prepare.folds import FoldInput, make_folds
from roadspeed.prepare.settings import FoldSettings
from roadspeed.scripting import add_paths, run_script, stage_parser


def work(args: argparse.Namespace) -> None:
    tables = zip(args.chips, args.rgb, args.masks, strict=True)
    make_folds([FoldInput(*paths) for paths in tables], args.settings, args.out)


if __name__ == "__main__":
    parser = stage_parser(__doc__, FoldSettings)
    add_paths(
        parser,
        chips="+chip tables, one a city",
        rgb="+rgb.csv of the same cities",
        masks="+masks.csv of the same cities",
        out="folds.csv to write",
    )
    sys.exit(run_script(parser, work))
