"""OpenVINO beside IPEX: the network alone, GeoTIFF to GeoTIFF, and what BF16 and INT8 cost in APLS.

    python benchmarks/openvino_engine.py [--run results/sample] [--data data/sample] [--threads 2] [--rounds 3]

Needs the extra roadspeed[openvino], and the sample's results (make demo) for a trained network and its chips, none of
which it changes. Engines take turns, each in a process of its own under `roadspeed pin`; times are the best of all
rounds. From file to file: 1300 × 1300 px, four flips. APLS: mean of the chips of each role (validation: never seen in
training), from the same road extraction, beside FP32.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from inference import city

KINDS = {
    "FP32": ("auto", "fp32"),
    "IPEX BF16": ("ipex", "bf16"),
    "OpenVINO BF16": ("openvino", "bf16"),
    "OpenVINO INT8": ("openvino", "int8"),
}
SIDES_PX = (512, 1312)
CHIPS = 6
SAMPLE_PX = (544, 544)
"""The sample's chips with their border."""


def networks_of(kind: str, model: Path, images: list[Path], shapes: list[tuple[int, int]], threads: int) -> list:
    """Return the network ready for inference."""
    from roadspeed.host.engine import choose_engine
    from roadspeed.predict.inference import load_networks

    return load_networks([model], choose_engine(*KINDS[kind], threads), shapes, 4, [images])


def speed(kind: str, folder: Path, model: Path, images: list[Path], threads: int) -> dict[str, float]:
    """Measure the network alone in seconds an image, and chips from file to file in seconds a chip."""
    import torch

    from roadspeed.chips import read_chips
    from roadspeed.predict.settings import PredictSettings
    from roadspeed.predict.shard import plan_shard, run_jobs

    settings = PredictSettings()
    found = {}
    networks = networks_of(kind, model, images, [(side, side) for side in SIDES_PX], threads)
    for side in SIDES_PX:
        x = torch.randint(0, 255, (1, 3, side, side), dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
        best = float("inf")
        for _ in range(20 if side == SIDES_PX[0] else 6):
            start = time.perf_counter()
            networks[0].run(x)
            best = min(best, time.perf_counter() - start)
        found[f"network_{side}_s"] = best
    table = read_chips(folder / "chips.csv")
    rgb = {str(n): (folder / f"{n}.tif", "") for n in range(len(table))}
    _, jobs = plan_shard(table, rgb, None, [model], [0], (0, 1), folder / f"out {kind}", settings)
    start = time.perf_counter()
    for _ in run_jobs(jobs, networks, settings, kind):
        pass
    found["file_to_file_s"] = (time.perf_counter() - start) / len(jobs)
    return found


def scores(kind: str, folder: Path, model: Path, args: argparse.Namespace) -> dict[str, list]:
    """Return role, city, APLS by length and by time of each chip."""
    from roadspeed.chips import read_chips
    from roadspeed.extract.city import extract_chips, read_predictions
    from roadspeed.extract.roads import write_geopackage
    from roadspeed.extract.settings import ExtractSettings
    from roadspeed.files import read_table, write_table
    from roadspeed.predict.settings import PredictSettings
    from roadspeed.predict.shard import COLUMNS, plan_shard, run_jobs
    from roadspeed.score.city import score_city
    from roadspeed.score.settings import ScoreSettings
    from roadspeed.train.checkpoint import load_checkpoint

    settings, fold = PredictSettings(), load_checkpoint(model).fold
    networks = networks_of(kind, model, training_chips(args, fold), [SAMPLE_PX], args.threads)
    result = {}
    for prepared in sorted((args.data / "prepare").glob("*/train/rgb.csv")):
        city = prepared.parent.parent.name
        chips, out = args.data / "acquire" / city / "train" / "chips.csv", folder / kind / city
        table = read_chips(chips)
        rgb = {r["chip_id"]: (prepared.parent / r["rgb"] if r["rgb"] else None, "") for r in read_table(prepared)}
        rows, jobs = plan_shard(table, rgb, args.run / "folds.csv", [model], [fold], (0, 1), out, settings)
        wanted = {row["chip_id"] for row in rows if row["role"] in args.roles}
        jobs, rows = [job for job in jobs if job.chip_id in wanted], [row for row in rows if row["chip_id"] in wanted]
        for _ in run_jobs(jobs, networks, settings, f"{kind} {city}"):
            pass
        shard = out / "shard0.csv"
        write_table(shard, COLUMNS, rows)
        bins = networks[0].bins
        predictions = {chip: path for chip, path in read_predictions(chips, [shard]).items() if chip in wanted}
        graphs = extract_chips(predictions, ExtractSettings(), bins, args.threads, out / "state")
        write_geopackage(graphs, out / "chips.gpkg")
        score_city(chips, out / "chips.gpkg", [shard], out / "scores.csv", ScoreSettings(), args.threads)
        for row in read_table(out / "scores.csv"):
            if row["chip_id"] in wanted and row["apls_length"]:
                result[row["chip_id"]] = [row["role"], city, float(row["apls_length"]), float(row["apls_time"])]
    return result


def training_chips(args: argparse.Namespace, fold: int | None) -> list[Path]:
    """Return the images that the network was trained on."""
    from roadspeed.files import read_table
    from roadspeed.predict.calibration import training_images

    images = {}
    for table in (args.data / "prepare").glob("*/train/rgb.csv"):
        images |= {row["chip_id"]: table.parent / row["rgb"] for row in read_table(table) if row["rgb"]}
    return training_images(args.run / "folds.csv", images, fold)


def child(args: argparse.Namespace, part: str, kind: str, folder: Path) -> dict:
    """Run a part of this benchmark for one engine in a pinned process of its own."""
    command = [sys.executable, "-m", "roadspeed", "pin", "--threads", str(args.threads), "--", sys.executable]
    command += [__file__, "--part", part, "--kind", kind, "--folder", str(folder), "--run", str(args.run)]
    command += ["--data", str(args.data), "--threads", str(args.threads), "--roles", *args.roles]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def show_speed(rounds: list[dict[str, dict[str, float]]]) -> None:
    """Print times and ratios."""
    names = [f"network_{side}_s" for side in SIDES_PX] + ["file_to_file_s"]
    best = {kind: {name: min(row[kind][name] for row in rounds) for name in names} for kind in rounds[0]}
    print(f"\n{'ms an image or chip':16}" + "".join(f"{name.removesuffix('_s'):>16}" for name in names))
    for kind, row in best.items():
        print(f"{kind:16}" + "".join(f"{1000 * row[name]:16.0f}" for name in names))
    for other in ("IPEX BF16", "OpenVINO BF16"):
        ratios = (best[other][name] / best["OpenVINO INT8"][name] for name in names)
        print(f"{other + ' / INT8':20}" + "".join(f"{ratio:12.2f}    " for ratio in ratios) + "  (bar 1.7)")
    close = best["IPEX BF16"]["network_512_s"] / min(row["network_512_s"] for k, row in best.items() if "BF16" in k)
    print(f"IPEX BF16 / the faster BF16, 512 px: {close:.2f} (bar 1.05)")


def show_scores(found: dict[str, dict[str, list]]) -> None:
    """Print the mean of each role's chips, and the mean change from FP32 with its standard error."""
    import numpy as np

    exact = found["FP32"]
    print(f"\n{'APLS of chips':14} {'role':12} {'chips':>5} {'length':>8} {'time':>8}   change from FP32 ± its error")
    for kind, rows in found.items():
        for role in sorted({row[0] for row in rows.values()}):
            mine = [chip for chip, row in rows.items() if row[0] == role]
            values = np.array([rows[chip][2:] for chip in mine])
            change = values - np.array([exact[chip][2:] for chip in mine])
            error = change.std(0) / len(mine) ** 0.5
            text = "  ".join(f"{c:+.4f} ± {e:.4f}" for c, e in zip(change.mean(0), error, strict=True))
            mean = values.mean(0)
            print(f"{kind:14} {role:12} {len(mine):5} {mean[0]:8.4f} {mean[1]:8.4f}   {text}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("results/sample"), help="results of a run")
    parser.add_argument("--data", type=Path, default=Path("data/sample"), help="what the run was made from")
    parser.add_argument("--threads", type=int, default=2, help="cores for each engine")
    parser.add_argument("--rounds", type=int, default=3, help="how often each engine is timed; 0: APLS only")
    roles = ("validation", "unseen", "train")
    parser.add_argument("--roles", nargs="+", choices=roles, default=["validation", "unseen"], help="chips to score")
    parser.add_argument("--part", choices=("speed", "scores"), help=argparse.SUPPRESS)
    parser.add_argument("--kind", choices=tuple(KINDS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        model = args.folder / "model.safetensors"
        if args.part == "scores":
            print(json.dumps(scores(args.kind, args.folder, model, args)))
        else:
            from roadspeed.train.checkpoint import load_checkpoint

            images = training_chips(args, load_checkpoint(model).fold)
            print(json.dumps(speed(args.kind, args.folder, model, images, args.threads)))
        return
    from roadspeed.errors import HostError
    from roadspeed.host.engine import import_nncf, import_openvino

    try:
        import_openvino(), import_nncf()
    except HostError as error:
        print(f"skipped: {error}")
        return
    models = sorted(args.run.glob("train/fold*/model.safetensors"))
    if not models:
        print(f"skipped: {args.run} has no trained network; make demo trains one")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        city(folder, CHIPS)
        shutil.copy(models[0], folder / "model.safetensors")  # what is exported stays out of the results
        rounds = []
        for _ in range(args.rounds):
            rounds.append({kind: child(args, "speed", kind, folder) for kind in KINDS if kind != "FP32"})
            print(json.dumps(rounds[-1]), flush=True)
        if rounds:
            show_speed(rounds)
        show_scores({kind: child(args, "scores", kind, folder) for kind in KINDS})


if __name__ == "__main__":
    main()
