"""Write the report page of a run."""

import argparse
import sys

from roadspeed.report.page import write_report
from roadspeed.scripting import add_paths, run_script, stage_parser


def work(args: argparse.Namespace) -> None:
    write_report(
        run=args.run,
        scores=args.scores,
        models=args.models,
        curves=args.curves,
        grids=args.grids,
        maps=args.maps,
        chip_pictures=args.chips,
        out=args.out,
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("--run", required=True, help="name of the run")
    add_paths(
        parser,
        scores="scores.csv of the run",
        models="+model.json of every fold",
        curves="picture of the training curves",
        grids="+grid.png of every training city",
        maps="+map.png of every city and split",
        chips="+chips.png of every labelled city",
        out="report.html to write",
    )
    sys.exit(run_script(parser, work))
