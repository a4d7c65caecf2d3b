"""Training steps of one process on all cores beside as many processes as there are parts of them.

    python benchmarks/ranks.py [--threads 2] [--processes 2] [--rounds 3]

Each way runs in turn, in processes of its own, on one batch in memory (512 × 512 crops, ResNet34-U-Net, the engine
and precision that training would choose). Printed are crops a second of the whole job, and what the exchange of the
gradients takes of a step. Figures are the best of all rounds. Other work on the machine counts double for several
processes: each step waits for the slowest.
"""

import argparse
import json
import subprocess
import sys
import time

from roadspeed.host.ranks import enter_ranks
from roadspeed.logs import run_main

CROP_PX = 512


def steps(threads: int, processes: int, batch: int, count: int) -> int | None:
    """Time some steps as one of the processes; the first one prints the figures as JSON."""
    rank, code = enter_ranks(threads, processes, most=batch)
    if code is not None:
        return code
    import torch

    from roadspeed.host.cpus import own_cpus
    from roadspeed.host.engine import choose_engine
    from roadspeed.train.loader import Batch
    from roadspeed.train.loop import Trainer
    from roadspeed.train.losses import RoadLoss
    from roadspeed.train.model import ModelSettings, build_model
    from roadspeed.train.ranks import joined
    from roadspeed.train.settings import TrainSettings

    with joined(rank) as ranks:
        engine = choose_engine("auto", "auto", min(threads, len(own_cpus())))
        trainer = Trainer(
            build_model(ModelSettings()), RoadLoss(TrainSettings().loss, 8), TrainSettings(), engine, ranks
        )
        part = ranks.part(batch, least=1)
        dice = torch.Generator().manual_seed(0)
        images = torch.randint(0, 255, (batch, 3, CROP_PX, CROP_PX), dtype=torch.uint8, generator=dice)[part]
        targets = 255 * (torch.rand((batch, 8, CROP_PX, CROP_PX), generator=dice) > 0.9).to(torch.uint8)[part]
        mine = Batch(images.contiguous(memory_format=torch.channels_last), targets, ("crop",))
        trainer.train_batch(mine, lambda step: 1e-4)
        seconds, exchanges = [], []
        parameters = list(trainer.model.parameters())
        for _ in range(count):
            ranks.wait()
            start = time.perf_counter()
            trainer.train_batch(mine, lambda step: 1e-4)
            seconds.append(time.perf_counter() - start)
            for parameter in parameters:
                parameter.grad = torch.zeros_like(parameter)
            ranks.wait()
            start = time.perf_counter()
            ranks.add_gradients(parameters)
            exchanges.append(time.perf_counter() - start)
            trainer.optimizer.zero_grad(set_to_none=True)
        size_mb = sum(parameter.numel() for parameter in parameters) * 4 / 1e6
        if ranks.first:
            print(json.dumps({"step_s": min(seconds), "exchange_s": min(exchanges), "gradients_mb": size_mb}))
    return None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="cores of the job")
    parser.add_argument("--processes", type=int, default=2, help="processes that share them")
    parser.add_argument("--batch", type=int, default=4, help="crops in a batch of the whole job")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way is run")
    parser.add_argument("--steps", type=int, default=4, help="steps timed in each run")
    parser.add_argument("--part", type=int, help="be one way, with so many processes (used by the benchmark)")
    args = parser.parse_args()
    if args.part:
        sys.exit(run_main(lambda: steps(args.threads, args.part, args.batch, args.steps)))
    pin = [sys.executable, "-m", "roadspeed", "pin", "--threads", str(args.threads), "--", sys.executable, __file__]
    rest = ["--threads", str(args.threads), "--batch", str(args.batch), "--steps", str(args.steps), "--part"]
    best: dict[int, dict[str, float]] = {}
    for _ in range(args.rounds):
        for count in (1, args.processes):
            done = subprocess.run([*pin, *rest, str(count)], check=True, stdout=subprocess.PIPE, text=True)
            found = json.loads(done.stdout.splitlines()[-1])
            print(count, {key: round(value, 4) for key, value in found.items()}, flush=True)
            best[count] = {key: min(value, best.get(count, found)[key]) for key, value in found.items()}
    one, many = best[1], best[args.processes]
    print(f"\n1 process on {args.threads} cores      {args.batch / one['step_s']:6.2f} crops/s")
    print(f"{args.processes} processes on {args.threads} cores    {args.batch / many['step_s']:6.2f} crops/s")
    print(f"ratio                     {one['step_s'] / many['step_s']:6.2f}")
    print(
        f"gradients, {many['gradients_mb']:.0f} MB: exchanged in {many['exchange_s'] * 1000:.0f} ms, "
        f"{100 * many['exchange_s'] / many['step_s']:.0f} % of a step"
    )


if __name__ == "__main__":
    main()
