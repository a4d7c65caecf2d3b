"""Join the scores of all cities into one table of the run."""

import argparse
import sys

from roadspeed.score.summary import summarise
from roadspeed.scripting import add_paths, run_script, stage_parser


def work(args: argparse.Namespace) -> None:
    summarise(dict(zip(args.cities, args.scores, strict=True)), args.out)


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("--cities", nargs="+", required=True, help="names of the cities")
    add_paths(parser, scores="+scores.csv of the same cities", out="scores.csv of the run to write")
    sys.exit(run_script(parser, work))
