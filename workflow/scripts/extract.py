"""Turn the probabilities of one city and split into road graphs, by chip and joined."""

import argparse
import sys

from roadspeed.extract.city import extract_city
from roadspeed.extract.settings import ExtractSettings
from roadspeed.scripting import add_paths, run_script, stage_parser


def work(args: argparse.Namespace) -> None:
    extract_city(args.chips, args.shards, args.out.parent, args.settings, args.bins, threads=args.threads)


if __name__ == "__main__":
    parser = stage_parser(__doc__, ExtractSettings, bins=True)
    add_paths(
        parser,
        chips="chip table",
        shards="+shard tables of the prediction",
        out="roads.gpkg to write; roads.graphml and chips.gpkg go beside it",
    )
    sys.exit(run_script(parser, work))
