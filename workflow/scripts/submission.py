"""Write the challenge's submission table of one city and split."""

import argparse
import sys

from roadspeed.score.submission import write_submission
from roadspeed.scripting import add_paths, run_script, stage_parser


def work(args: argparse.Namespace) -> None:
    write_submission(args.chips, args.graphs, args.out)


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    add_paths(parser, chips="chip table", graphs="chips.gpkg: one road graph a chip", out="submission.csv to write")
    sys.exit(run_script(parser, work))
