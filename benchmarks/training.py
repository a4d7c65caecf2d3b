"""Training speed: from files on disk beside one tensor in memory, beside the reference's way, beside the CPU's limit.

    python benchmarks/training.py [--threads 2] [--rounds 3]

Each way runs in a process of its own, ours and the reference's under the same launcher (`roadspeed pin`), the
reference's once more without. The reference's way, after its code: FP32, no layout, every crop cut from the whole
1300 × 1300 image and its 8-band mask, no loader processes, decoder without batch norm, one Dice over all channels,
Adam. Figures are the best of all rounds, in 512 × 512 crops a second.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roadspeed.train.loader import Batch

CROP_PX = 512
BATCH = 4
BARS = {"from disk / in memory": 0.9, "ours / reference, same launcher": 2.0, "ours / reference, no launcher": 3.0}


def make_chips(folder: Path, count: int) -> None:
    """Write chips of 1300 × 1300 px as the prepare stage does, with the reference's 8-band masks beside them."""
    import cv2
    import numpy as np
    from rasterio.crs import CRS
    from rasterio.transform import Affine

    from roadspeed.files import write_table
    from roadspeed.raster import Grid, write_raster
    from roadspeed.speedbins import SpeedBins, expand_mask

    rng = np.random.default_rng(0)
    grid = Grid(1300, 1300, CRS.from_epsg(4326), Affine(2.7e-6, 0, 10, 0, -2.7e-6, 20))
    rows = []
    for number in range(count):
        small = rng.integers(1, 255, (163, 163, 3)).astype(np.uint8)
        image = cv2.resize(small, (1300, 1300), interpolation=cv2.INTER_CUBIC)
        mask = np.zeros((1300, 1300), np.uint8)
        for line in range(12):
            a, b = ((int(x), int(y)) for x, y in rng.integers(0, 1300, (2, 2)))
            cv2.line(mask, a, b, line % 7 + 1, 13)
        write_raster(folder / f"{number}.tif", image.transpose(2, 0, 1), grid, 0)
        write_raster(folder / f"{number}_mask.tif", mask[None], grid)
        if number < 4:
            write_raster(folder / f"{number}_bands.tif", expand_mask(mask, SpeedBins()), grid)
        rows.append(
            {"chip_id": str(number), "rgb": f"{number}.tif", "mask": f"{number}_mask.tif", "fold": number % 2}
        )
    for name, column in (("rgb", "rgb"), ("masks", "mask"), ("folds", "fold")):
        cells = [{"chip_id": row["chip_id"], column: row[column]} for row in rows]
        write_table(folder / f"{name}.csv", ["chip_id", column], cells)


def best_seconds(work: Callable[[], object], times: int) -> float:
    """Return the shortest of some runs."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def peak_flops() -> float:
    """Return the BF16 matrix-product peak of the threads in use, in FLOP/s."""
    import torch

    a, b = torch.randn(2, 2048, 2048).to(torch.bfloat16)
    torch.mm(a, b)
    return 2 * 2048**3 / best_seconds(lambda: torch.mm(a, b), 20)


def ours(folder: Path, threads: int, steps: int) -> dict[str, float]:
    """Measure our way: some steps from disk and as many in memory, then the network alone and the peak."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from roadspeed.host.engine import choose_engine
    from roadspeed.speedbins import SpeedBins
    from roadspeed.train.chips import index_chips, read_fold_chips
    from roadspeed.train.crops import CropSource
    from roadspeed.train.loader import PREFETCH, CropLoader, bound_gdal_cache, split_threads
    from roadspeed.train.loop import Trainer
    from roadspeed.train.losses import RoadLoss
    from roadspeed.train.model import ModelSettings, build_model
    from roadspeed.train.settings import TrainSettings

    bound_gdal_cache()
    bins = SpeedBins()
    settings = TrainSettings(weights="random", crop_px=CROP_PX, batch=BATCH, crops_per_chip=16 * steps)
    network_threads, workers = split_threads(threads, None)
    engine = choose_engine("auto", "auto", network_threads)
    chips = read_fold_chips(folder / "folds.csv", [folder / "rgb.csv"], [folder / "masks.csv"])
    source = CropSource(chips, index_chips(chips, bins, 3, threads), settings, bins)
    trainer = Trainer(build_model(ModelSettings()), RoadLoss(settings.loss, bins.bands), settings, engine)
    with CropLoader(source, BATCH, workers, network_threads) as loader:
        batches = loader.epoch(0)
        fixed = next(batches)

        def run(next_batch: Callable[[], "Batch"]) -> float:
            start = time.perf_counter()
            for _ in range(steps):
                trainer.train_batch(next_batch(), lambda step: 1e-4)
            return (time.perf_counter() - start) / steps

        trainer.train_batch(fixed, lambda step: 1e-4)
        memory = run(lambda: fixed)
        for _ in range(PREFETCH * workers):  # what was read ahead meanwhile would flatter
            next(batches)
        disk = run(lambda: next(batches))
        memory = min(memory, run(lambda: fixed))

    def network_alone() -> None:
        with engine.autocast():
            result = trainer.model(fixed.images)
        result.sum().backward()
        trainer.optimizer.zero_grad(set_to_none=True)

    with FlopCounterMode(display=False) as counter:
        network_alone()
    peak = peak_flops()
    alone = best_seconds(network_alone, steps)
    return {
        "disk_s": disk / BATCH,
        "memory_s": memory / BATCH,
        "share_of_peak": counter.get_total_flops() / alone / max(peak, peak_flops()),
        "peak_tflops": peak / 1e12,
        "workers": workers,
        "tcmalloc": float("tcmalloc" in Path("/proc/self/maps").read_text()),
        "threads": torch.get_num_threads(),
    }


def reference(folder: Path, threads: int, steps: int) -> dict[str, float]:
    """Measure the reference's way of the same work."""
    import numpy as np
    import rasterio
    import segmentation_models_pytorch as smp
    import torch

    if threads:
        torch.set_num_threads(threads)
    net = smp.Unet(
        "resnet34", encoder_weights=None, classes=8, decoder_channels=(256, 128, 64, 64, 32), decoder_use_norm=False
    )
    optimizer = torch.optim.Adam(net.parameters(), 1e-4)
    rng = np.random.default_rng(0)

    def crop() -> tuple[np.ndarray, np.ndarray]:
        number = rng.integers(4)
        with rasterio.open(folder / f"{number}.tif") as file:
            image = file.read().transpose(1, 2, 0)
        with rasterio.open(folder / f"{number}_bands.tif") as file:
            mask = file.read().transpose(1, 2, 0)
        y, x = rng.integers(0, 1300 - CROP_PX, 2)
        place = slice(y, y + CROP_PX), slice(x, x + CROP_PX)
        image, mask = (np.moveaxis(pixels[place], -1, 0)[:, ::-1] / np.float32(255) for pixels in (image, mask))
        return np.ascontiguousarray(image), np.ascontiguousarray(mask)

    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        images, masks = (
            torch.from_numpy(np.stack(part)) for part in zip(*(crop() for _ in range(BATCH)), strict=True)
        )
        probability = torch.sigmoid(net(images)).clamp(1e-8, 1 - 1e-8)
        hit = torch.where(masks > 0, probability, 1 - probability)
        dice = 1 - (2 * (probability * masks).sum() + 1) / (probability.sum() + masks.sum() + 1)
        loss = 0.75 * (-((1 - hit) ** 2) * hit.log()).mean() + 0.25 * dice
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    return {"reference_s": sum(seconds[1:]) / (steps - 1) / BATCH}


def memory(folder: Path, threads: int) -> dict[str, float]:
    """Train one short epoch on all chips and return the peak memory."""
    from roadspeed.speedbins import SpeedBins
    from roadspeed.train.fold import train_fold
    from roadspeed.train.settings import TrainSettings

    settings = TrainSettings.checked(
        {"encoder": "resnet18", "weights": "random", "crop_px": 128, "crops_per_chip": 4, "epochs": 1}
    )
    tables = (folder / "folds.csv", [folder / "rgb.csv"], [folder / "masks.csv"])
    train_fold(*tables, 0, folder / "out", settings, SpeedBins(), threads)
    return {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def child(arguments: list[str], pinned_threads: int = 0) -> dict[str, float]:
    """Run a part of this benchmark in a process of its own, pinned or not, and return its figures."""
    pin = (
        [sys.executable, "-m", "roadspeed.cli", "pin", "--threads", str(pinned_threads), "--"]
        if pinned_threads
        else []
    )
    command = [*pin, sys.executable, __file__, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="cores for each way")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way is run")
    parser.add_argument("--steps", type=int, default=6, help="steps timed in each run")
    parser.add_argument(
        "--part", choices=("ours", "reference", "memory"), help="run one part (used by the benchmark)"
    )
    parser.add_argument("--folder", type=Path, help="folder of the chips (used by the benchmark)")
    args = parser.parse_args()
    if args.part:
        work = {"ours": ours, "reference": reference}.get(args.part)
        found = work(args.folder, args.threads, args.steps) if work else memory(args.folder, args.threads)
        print(json.dumps(found))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_chips(folder, 8)
        rest = ["--folder", name, "--steps", str(args.steps), "--threads"]
        rounds = []
        for _ in range(args.rounds):
            row = child(["--part", "ours", *rest, str(args.threads)], args.threads)
            row |= child(["--part", "reference", *rest, str(args.threads)], args.threads)
            row["bare_s"] = child(["--part", "reference", *rest, "0"])["reference_s"]
            rounds.append(row)
            print({key: round(value, 3) for key, value in row.items()}, flush=True)
        best = {key: min(row[key] for row in rounds) for key in ("disk_s", "memory_s", "reference_s", "bare_s")}
        peaks = []
        for count in (16, 64):
            make_chips(folder / str(count), count)
            part = ["--part", "memory", "--folder", str(folder / str(count)), "--threads", str(args.threads)]
            peaks.append(child(part)["peak_mb"])
    print(f"\nours, from disk               {1 / best['disk_s']:6.2f} images/s")
    print(f"ours, one batch in memory     {1 / best['memory_s']:6.2f} images/s")
    print(f"reference, same launcher      {1 / best['reference_s']:6.2f} images/s")
    print(f"reference, no launcher        {1 / best['bare_s']:6.2f} images/s")
    ratios = (best["memory_s"], best["reference_s"], best["bare_s"])
    for (what, bar), other in zip(BARS.items(), ratios, strict=True):
        print(f"{what:32} {other / best['disk_s']:6.2f}   (bar {bar})")
    share = max(row["share_of_peak"] for row in rounds)
    print(f"{'network alone / BF16 peak':32} {share:6.2f}   (bar 0.7)")
    print(
        f"{'peak memory, 64 / 16 chips':32} {peaks[1] / peaks[0]:6.2f}   (bar 1.1; {peaks[0]:.0f}, {peaks[1]:.0f} MB)"
    )


if __name__ == "__main__":
    main()
