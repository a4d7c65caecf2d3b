"""Inference speed: GeoTIFF to GeoTIFF beside the network alone, beside the reference's way, beside the CPU's limit.

    python benchmarks/inference.py [--threads 2] [--rounds 3]

Chips are SpaceNet's size, 1300 × 1300 px, with four flips. The reference's way, after its code: FP32, eager, padded
by reflection to 1344 × 1344, four passes one by one, written as it writes. Each way runs in a process of its own
under `roadspeed pin`; figures are the best of all rounds, in chips a second.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from training import best_seconds, make_chips, peak_flops

SIDE_PX = 1300


def city(folder: Path, count: int) -> Path:
    """Write chips, their tables and a network with random weights; return the network's file."""
    from roadspeed.chips import Chip, write_chips
    from roadspeed.speedbins import SpeedBins
    from roadspeed.train.checkpoint import save_checkpoint
    from roadspeed.train.model import ModelSettings, build_model

    make_chips(folder, count)
    write_chips(
        folder / "chips.csv",
        [
            Chip(str(n), "toy", "train", 9, n, None, None, "empty", 0, n, SIDE_PX, SIDE_PX, 0, 0, 1, 1, "EPSG:4326")
            for n in range(count)
        ],
    )
    settings = ModelSettings()
    path = folder / "model.safetensors"
    save_checkpoint(path, build_model(settings).state_dict(), settings, SpeedBins(), 0)
    return path


def ours(folder: Path, threads: int) -> dict[str, float]:
    """Measure a whole shard from file to file, and the network alone on one of its images."""
    import numpy as np
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from roadspeed.chips import read_chips
    from roadspeed.host.engine import choose_engine
    from roadspeed.predict.inference import Predictor, load_networks
    from roadspeed.predict.settings import PredictSettings
    from roadspeed.predict.shard import plan_shard, run_jobs
    from roadspeed.train.model import ModelSettings, build_model

    settings = PredictSettings()
    engine = choose_engine("auto", "auto", threads)
    models = [folder / "model.safetensors"]
    networks = load_networks(models, engine, [(1312, 1312)], settings.flips)
    images = {str(n): (folder / f"{n}.tif", "") for n in range(len(read_chips(folder / "chips.csv")))}
    table = read_chips(folder / "chips.csv")
    _, jobs = plan_shard(table, images, None, models, [0], (0, 1), folder / "out", settings)
    start = time.perf_counter()
    for _ in run_jobs(jobs, networks, settings, "benchmark"):
        pass
    shard = (time.perf_counter() - start) / len(jobs)
    image = np.random.default_rng(0).integers(1, 255, (3, 1312, 1312)).astype(np.uint8)
    x = torch.from_numpy(image)[None].contiguous(memory_format=torch.channels_last)
    alone = best_seconds(lambda: networks[0].run(x), 4)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        build_model(ModelSettings())(x[..., :512, :512])
    flops = counter.get_total_flops() * (1312 / 512) ** 2
    predictor = Predictor(networks, settings.flips)
    views = best_seconds(lambda: predictor.probabilities(image), 2)
    return {
        "shard_s": shard,
        "views_s": views,
        "network_s": 4 * alone,
        "share_of_peak": flops / alone / peak_flops(),
    }


def reference(folder: Path, threads: int) -> dict[str, float]:
    """Measure the reference's way of the same work on two chips."""
    import cv2
    import numpy as np
    import rasterio
    import segmentation_models_pytorch as smp
    import torch

    torch.set_num_threads(threads)
    net = smp.Unet(
        "resnet34", encoder_weights=None, classes=8, decoder_channels=(256, 128, 64, 64, 32), decoder_use_norm=False
    ).eval()
    seconds = []
    for number in range(2):
        start = time.perf_counter()
        with rasterio.open(folder / f"{number}.tif") as file:
            image, profile = file.read().transpose(1, 2, 0), file.profile
        padded = cv2.copyMakeBorder(image, 22, 22, 22, 22, cv2.BORDER_REFLECT_101).transpose(2, 0, 1) / np.float32(
            255
        )
        total = np.zeros((8, 1344, 1344), np.float32)
        for dims in ((), (1,), (2,), (1, 2)):
            view = torch.from_numpy(np.flip(padded, dims).copy())[None]
            with torch.no_grad():
                total += np.flip(torch.sigmoid(torch.sigmoid(net(view)))[0].numpy(), dims)
        result = (total[:, 22:-22, 22:-22] / 4 * 255).astype(np.uint8)
        with rasterio.open(folder / "reference.tif", "w", **(profile | {"count": 8, "interleave": "band"})) as file:
            file.write(result)
        seconds.append(time.perf_counter() - start)
    return {"reference_s": min(seconds)}


def memory(folder: Path, threads: int) -> dict[str, float]:
    """Predict all chips with one view and return the peak memory."""
    from roadspeed.predict.settings import PredictSettings
    from roadspeed.predict.shard import predict_shard

    arguments = (folder / "rgb.csv", folder / "chips.csv", [folder / "model.safetensors"], None, 0, 1, folder / "out")
    predict_shard(*arguments, PredictSettings(flips=1), threads)
    return {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def child(part: str, folder: Path, threads: int) -> dict[str, float]:
    """Run a part of this benchmark in a pinned process of its own and return its figures."""
    pin = [sys.executable, "-m", "roadspeed.cli", "pin", "--threads", str(threads), "--"]
    own = [sys.executable, __file__, "--part", part, "--folder", str(folder), "--threads", str(threads)]
    done = subprocess.run([*pin, *own], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="cores for each way")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way is run")
    parser.add_argument("--part", choices=("ours", "reference", "memory"), help="run one part only, on --folder")
    parser.add_argument("--folder", type=Path, help="folder of the chips, for --part")
    args = parser.parse_args()
    if args.part:
        part = {"ours": ours, "reference": reference, "memory": memory}[args.part]
        print(json.dumps(part(args.folder, args.threads)))
        return
    with tempfile.TemporaryDirectory() as name:
        city(Path(name), 6)
        rounds = []
        for _ in range(args.rounds):
            rounds.append(child("ours", Path(name), args.threads) | child("reference", Path(name), args.threads))
            print({key: round(value, 3) for key, value in rounds[-1].items()}, flush=True)
        best = {key: min(row[key] for row in rounds) for key in ("shard_s", "views_s", "network_s", "reference_s")}
        peaks = []
        for count in (16, 64):
            city(Path(name) / str(count), count)
            peaks.append(child("memory", Path(name) / str(count), args.threads)["peak_mb"])
    print(f"\nours, GeoTIFF to GeoTIFF   {1 / best['shard_s']:6.3f} chips/s")
    print(f"ours, network alone        {1 / best['network_s']:6.3f} chips/s")
    print(f"reference                  {1 / best['reference_s']:6.3f} chips/s")
    print(f"{'file to file / network alone':32} {best['network_s'] / best['shard_s']:6.2f}   (bar 0.9)")
    print(f"{'ours / reference':32} {best['reference_s'] / best['shard_s']:6.2f}   (bar 3)")
    share = max(row["share_of_peak"] for row in rounds)
    print(f"{'network alone / BF16 peak':32} {share:6.2f}   (bar 0.95)")
    print(
        f"{'peak memory, 64 / 16 chips':32} {peaks[1] / peaks[0]:6.2f}   (bar 1.1; {peaks[0]:.0f}, {peaks[1]:.0f} MB)"
    )


if __name__ == "__main__":
    main()
