"""Draw chips of a labelled city: the image, the labels, the prediction and the graph that came out."""

import argparse
import sys

from roadspeed.report.chip_pictures import draw_chips
from roadspeed.report.settings import ReportSettings
from roadspeed.scripting import add_paths, run_script, stage_parser


def work(args: argparse.Namespace) -> None:
    draw_chips(args.chips, args.rgb, args.shards, args.graphs, args.scores, args.out, args.settings)


if __name__ == "__main__":
    parser = stage_parser(__doc__, ReportSettings)
    add_paths(
        parser,
        chips="chip table",
        rgb="rgb.csv",
        shards="+shard tables of the prediction",
        graphs="chips.gpkg: one road graph a chip",
        scores="scores.csv of the city",
        out="chips.png to write",
    )
    sys.exit(run_script(parser, work))
