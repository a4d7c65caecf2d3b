"""Score the road graphs of a labelled city against its labels, chip by chip."""

import argparse
import sys

from roadspeed.score.city import score_city
from roadspeed.score.settings import ScoreSettings
from roadspeed.scripting import add_paths, run_script, stage_parser


def work(args: argparse.Namespace) -> None:
    score_city(args.chips, args.graphs, args.shards, args.out, args.settings, threads=args.threads)


if __name__ == "__main__":
    parser = stage_parser(__doc__, ScoreSettings)
    add_paths(
        parser,
        chips="chip table",
        graphs="chips.gpkg: one road graph a chip",
        shards="+shard tables of the prediction, which tell each chip's role",
        out="scores.csv to write",
    )
    sys.exit(run_script(parser, work))
