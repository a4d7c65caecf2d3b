"""Train the network of one fold, going on where an interrupted run stopped.

Where the job's cores lie on several NUMA nodes, a process runs on each; `torchrun` may start them as well.
"""

import argparse
import sys
from pathlib import Path

from roadspeed.extract.settings import ExtractSettings
from roadspeed.host.ranks import PEER_ENDED, enter_ranks, one_tells
from roadspeed.score.settings import ScoreSettings
from roadspeed.scripting import add_paths, run_script, stage_parser
from roadspeed.train.settings import TrainSettings


def work(args: argparse.Namespace) -> int | None:
    rank, exit_code = enter_ranks(args.threads, args.settings.processes, most=args.settings.batch)
    if exit_code is not None:
        return exit_code
    from roadspeed.train.fold import train_fold
    from roadspeed.train.ranks import PeerEnded, joined

    scorer = None
    if args.chips:
        from roadspeed.graphscore import LabelScorer

        extract, score = ExtractSettings.from_json(args.extract), ScoreSettings.from_json(args.score)
        scorer = LabelScorer(args.chips, extract, score, args.bins)
    with one_tells(rank):
        try:
            with joined(rank) as ranks:
                train_fold(
                    folds=args.folds,
                    rgb=args.rgb,
                    masks=args.masks,
                    fold=args.fold,
                    folder=args.out.parent,
                    settings=args.settings,
                    bins=args.bins,
                    threads=args.threads,
                    ranks=ranks,
                    scorer=scorer,
                )
        except PeerEnded:
            return PEER_ENDED
    return None


if __name__ == "__main__":
    parser = stage_parser(__doc__, TrainSettings, bins=True)
    parser.add_argument("--fold", type=int, required=True, help="the fold to validate on; the others are trained on")
    add_paths(
        parser,
        folds="folds.csv",
        rgb="+rgb.csv of every training city",
        masks="+masks.csv of the same cities",
        out="model.safetensors to write; model.json, metrics.csv and tensorboard/ go beside it",
    )
    parser.add_argument(
        "--chips", type=Path, nargs="*", help="chips.csv of the cities: needed where best_by is apls, not used else"
    )
    parser.add_argument("--extract", default="{}", help="settings of the extract stage as JSON, for best_by apls")
    parser.add_argument("--score", default="{}", help="settings of the score stage as JSON, for best_by apls")
    sys.exit(run_script(parser, work))
