"""Draw the map of one city and split: its mosaic with the roads coloured by speed."""

import argparse
import sys

from roadspeed.report.maps import draw_city_map
from roadspeed.report.settings import ReportSettings
from roadspeed.scripting import add_paths, run_script, stage_parser


def work(args: argparse.Namespace) -> None:
    draw_city_map(args.chips, args.rgb, args.roads, args.out, args.settings)


if __name__ == "__main__":
    parser = stage_parser(__doc__, ReportSettings)
    add_paths(parser, chips="chip table", rgb="rgb.csv", roads="roads.gpkg", out="map.png to write")
    sys.exit(run_script(parser, work))
