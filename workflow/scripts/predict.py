"""Predict road probabilities for one shard of a city's chips."""

import argparse
import sys
from pathlib import Path

from roadspeed.predict.settings import PredictSettings
from roadspeed.predict.shard import predict_shard
from roadspeed.scripting import add_paths, run_script, stage_parser


def work(args: argparse.Namespace) -> None:
    predict_shard(
        rgb=args.rgb,
        chips=args.chips,
        models=args.models,
        folds=args.folds,
        shard=args.shard,
        shards=args.shards,
        folder=args.out.parent,
        settings=args.settings,
        threads=args.threads,
        calibration=args.calibration,
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__, PredictSettings)
    parser.add_argument("--shard", type=int, required=True, help="number of this shard, from 0")
    parser.add_argument("--shards", type=int, required=True, help="number of shards")
    parser.add_argument(
        "--calibration", type=Path, nargs="*", default=[], help="rgb.csv of every city trained on, for precision int8"
    )
    add_paths(
        parser,
        rgb="rgb.csv",
        chips="chip table",
        models="+model.safetensors of every fold",
        folds="folds.csv, so that validation chips get the fold that did not see them",
        out="shard table to write; rasters go into prob/ beside it",
    )
    sys.exit(run_script(parser, work))
