"""Our graphs beside the reference's: scores at each level of spoiling, seconds a chip, and whole cities.

Run: python benchmarks/graph.py [scores] [fresh] [caps] [choices] [chips] [city] [linear] [options]
FOLDER holds `data` and `reference`; by default it is `shared` beside the checkout. Without a part's name all
parts run.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.transform import Affine
from scipy.spatial import cKDTree

from roadspeed.extract.chip import extract_raster
from roadspeed.extract.city import extract_mosaic
from roadspeed.extract.settings import ExtractSettings
from roadspeed.geo import LONLAT, project, utm_crs
from roadspeed.prepare.labels import read_labels
from roadspeed.prepare.masks import draw_mask
from roadspeed.prepare.settings import MaskSettings
from roadspeed.raster import Grid, read_raster, write_raster
from roadspeed.score.evaluate import evaluate
from roadspeed.score.roads import Roads
from roadspeed.score.settings import ScoreSettings
from roadspeed.speedbins import SpeedBins, expand_mask

CHIPS = ("img0", "img990", "img991", "img995", "img998")
TARGETS = {
    "clean": ((0.970, 0.950), (0.985, 0.970)),
    "blur": ((0.955, 0.940), (0.975, 0.960)),
    "light": ((0.930, 0.900), (0.960, 0.935)),
    "blurgap": ((0.910, 0.880), (0.950, 0.920)),
    "blurnoise": ((0.880, 0.840), (0.930, 0.900)),
    "blurnoisegap": ((0.830, 0.780), (0.900, 0.860)),
}
SPOILT = {
    "light": (0.15, 1 / 900),
    "blurgap": (0.0, 1 / 300),
    "blurnoise": (0.3, 0.0),
    "blurnoisegap": (0.3, 1 / 300),
}
"""Standard deviation of the noise and holes a pixel of road, as measured in `vegas_predictions`."""
CHOICES: tuple[dict[str, float], ...] = (
    {},
    {"smooth_m": 0.5},
    {"smooth_m": 0.9},
    {"low": 0.15},
    {"low": 0.25},
    {"relative": 0.45},
    {"relative": 0.55},
    {"around_m": 2.5},
    {"around_m": 3.5},
    {"seen": 0.4},
    {"side_m": 6.0},
    {"side_m": 8.0},
    {"near_m": 10.0},
    {"gap_m": 15.0},
    {"spur_m": 9.0},
)
"""The defaults and their neighbours: what leaving one chip out chooses from."""


class Data:
    """The real chips, their predictions and labels."""

    def __init__(self, shared: Path) -> None:
        self.predictions = shared / "data" / "vegas_predictions"
        labels = shared / "data" / "vegas_labels"
        self.truth = {
            chip: self._roads(labels / f"SN3_roads_train_AOI_2_Vegas_geojson_roads_speed_{chip}.geojson")
            for chip in CHIPS
        }
        self.reference = json.loads((shared / "reference" / "cresi_postprocessing.json").read_text())

    @staticmethod
    def _roads(path: Path) -> Roads:
        labels = read_labels(path)
        return Roads(labels.lines, labels.speed_mph)

    def score(self, chip: str, variant: str, settings: ExtractSettings) -> tuple[float, float]:
        """Return APLS by length and by time of our graph of one prediction."""
        graph = extract_raster(*read_raster(self.predictions / f"{chip}_{variant}.tif"), settings)
        scores = evaluate(self.truth[chip], Roads(graph.geometry, graph.speed_mph), ScoreSettings())
        return scores.apls_length or 0.0, scores.apls_time or 0.0


def scores(data: Data) -> None:
    """Print APLS length/time of each variant, mean of the five chips, ours beside the reference's."""
    print("APLS length/time, mean of five chips, default settings")
    print(f"{'variant':14s} {'reference':>11s} {'required':>11s} {'aim':>11s} {'ours':>11s}   chips (ours)")
    reference = data.reference["mean_over_5_shared_chips"]
    for variant, (required, aim) in TARGETS.items():
        rows = np.array([data.score(chip, variant, ExtractSettings()) for chip in CHIPS])
        theirs = reference[variant]["apls_length"], reference[variant]["apls_time"]
        cells = " ".join(f"{pair[0]:.3f}/{pair[1]:.3f}" for pair in (theirs, required, aim, rows.mean(axis=0)))
        print(f"{variant:14s} {cells}   " + " ".join(f"{row[0]:.3f}/{row[1]:.3f}" for row in rows), flush=True)


def fresh(data: Data) -> None:
    """Print the scores on rasters that no parameter was chosen on: drawn from real roads, spoilt with other noise."""
    print("APLS length/time on rasters spoilt anew (three seeds each), default settings")
    folder = data.predictions.parent / "vegas_labels"
    drawn = {f"OpenStreetMap's roads of {chip}": folder / f"osm_AOI_2_Vegas_{chip}.geojson" for chip in CHIPS[1:]}
    means = []
    for chip in CHIPS:
        clean, grid = read_raster(data.predictions / f"{chip}_clean.tif")
        means.append(_fresh_scores(f"labels of {chip}", data.truth[chip], clean, grid))
    print(f"  {'mean of the labels':34s} " + _cells(np.mean(means, axis=0)))
    for name, path in drawn.items():
        grid = read_raster(data.predictions / f"{name.split()[-1]}_clean.tif")[1]
        roads = read_labels(path)
        mask = draw_mask(roads, grid, MaskSettings(), SpeedBins())
        _fresh_scores(name, Roads(roads.lines, roads.speed_mph), expand_mask(mask, SpeedBins()), grid)


def _fresh_scores(name: str, truth: Roads, clean: NDArray[np.uint8], grid: Grid) -> NDArray[np.float64]:
    inside = shapely.box(*grid.bounds)
    kept = shapely.intersects(truth.lines, inside)
    truth = Roads(shapely.intersection(truth.lines[kept], inside), truth.speed_mph[kept])
    table = np.zeros((len(SPOILT), 3, 2))
    for i, (noise, holes) in enumerate(SPOILT.values()):
        for seed in range(3):
            graph = extract_raster(spoil(clean, truth, grid, noise, holes, seed), grid)
            scores = evaluate(truth, Roads(graph.geometry, graph.speed_mph), ScoreSettings())
            table[i, seed] = scores.apls_length or 0.0, scores.apls_time or 0.0
    print(f"  {name:34s} " + _cells(table.mean(axis=1)), flush=True)
    return table.mean(axis=1)


def _cells(rows: NDArray[np.float64]) -> str:
    return "  ".join(f"{name} {row[0]:.3f}/{row[1]:.3f}" for name, row in zip(SPOILT, rows, strict=True))


def spoil(
    clean: NDArray[np.uint8], truth: Roads, grid: Grid, noise: float, holes_per_px: float, seed: int
) -> NDArray[np.uint8]:
    """Spoil clean bands as `vegas_predictions` were: blur of 6 px, smooth multiplicative noise, holes of 20 × 20 px.

    Args:
        clean: (bands, rows, columns) 0 and 255.
        truth: roads, on which the holes lie.
        grid: of the raster.
        noise: its standard deviation.
        holes_per_px: holes for each pixel of road.
        seed: of noise and holes.
    """
    rng = np.random.default_rng(seed)
    bands = np.stack([cv2.GaussianBlur(band.astype(np.float32), (0, 0), 6) for band in clean])
    field = cv2.GaussianBlur(rng.normal(size=(grid.height, grid.width)).astype(np.float32), (0, 0), 7)
    bands *= np.maximum(1 + noise * field / field.std(), 0)
    pixels = shapely.transform(truth.lines, lambda xy: np.column_stack(~grid.transform * tuple(xy.T)))
    length = shapely.length(pixels)
    for _ in range(round(length.sum() * holes_per_px)):
        at = shapely.line_interpolate_point(
            pixels[rng.choice(len(pixels), p=length / length.sum())], rng.random(), normalized=True
        )
        row, column = max(0, int(at.y) - 10), max(0, int(at.x) - 10)
        bands[:, row : row + 20, column : column + 20] = 0
    return bands.clip(0, 255).round().astype(np.uint8)


def caps(data: Data) -> None:
    """Print what no raster can pass: the labels against themselves, crossing lines joined, and ends 1 m apart."""
    print("APLS length/time of the labels themselves, changed as any raster changes them")
    for chip in CHIPS:
        truth = data.truth[chip]
        noded = shapely.node(shapely.multilinestrings(list(truth.lines)))
        pieces = shapely.get_parts(noded)
        given = set(map(tuple, shapely.get_coordinates(truth.lines)))
        unshared = len(set(map(tuple, shapely.get_coordinates(pieces))) - given)
        crossings = Roads(pieces, truth.speed_mph[_beside(truth.lines, pieces)])
        near = _ends_joined(crossings, apart_m=1.0)
        cells = []
        for name, roads in (("crossings joined", crossings), ("and ends within 1 m", near)):
            scores = evaluate(truth, roads, ScoreSettings())
            cells.append(f"{name} {scores.apls_length:.3f}/{scores.apls_time:.3f}")
        print(
            f"  {chip:7s} {len(truth.lines):3d} lines, crossings without a common vertex {unshared}   "
            + "   ".join(cells),
            flush=True,
        )


def _beside(lines: NDArray[np.object_], pieces: NDArray[np.object_]) -> NDArray[np.intp]:
    """Return for each piece the line it was cut from: the one nearest to its middle."""
    return shapely.STRtree(lines).nearest(shapely.line_interpolate_point(pieces, 0.5, normalized=True))


def _ends_joined(roads: Roads, apart_m: float) -> Roads:
    """Return the roads with line ends that lie closer together than `apart_m` put in one place."""
    west, south, east, north = shapely.total_bounds(roads.lines)
    crs = utm_crs((west + east) / 2, (south + north) / 2)
    lines = project(roads.lines, LONLAT, crs)
    coordinates, number = shapely.get_coordinates(lines, return_index=True)
    first = np.flatnonzero(np.diff(number, prepend=-1))
    ends = np.concatenate([first, np.append(first[1:], len(number)) - 1])
    for a, b in sorted(cKDTree(coordinates[ends]).query_pairs(apart_m)):
        coordinates[ends[b]] = coordinates[ends[a]]
    return Roads(project(shapely.set_coordinates(lines.copy(), coordinates), crs, LONLAT), roads.speed_mph)


def choices(data: Data) -> None:
    """Print what leaving each chip out chooses on the other four, and what that scores on the one left out."""
    table = np.zeros((len(CHOICES), len(CHIPS), len(TARGETS), 2))
    print("mean APLS length/time over all variants, each setting alone changed from the defaults")
    for i, choice in enumerate(CHOICES):
        for (j, chip), (k, variant) in _pairs():
            table[i, j, k] = data.score(chip, variant, ExtractSettings(**choice))
        print(
            f"  {choice or 'defaults'!s:22s} {table[i, ..., 0].mean():.4f}/{table[i, ..., 1].mean():.4f}", flush=True
        )
    print("leave one chip out: setting chosen on the other four, score on the chip left out (defaults there)")
    held = []
    for j, chip in enumerate(CHIPS):
        others = np.delete(table, j, axis=1).mean(axis=(1, 2, 3))
        best = int(others.argmax())
        held.append(table[best, j])
        print(f"  {chip}: {CHOICES[best] or 'defaults'!s:22s} {table[best, j].mean():.4f} ({table[0, j].mean():.4f})")
    for k, variant in enumerate(TARGETS):
        length, travel = np.mean([row[k] for row in held], axis=0)
        print(f"  {variant:14s} {length:.3f}/{travel:.3f} when chosen without the chip scored")


def _pairs() -> Iterable[tuple[tuple[int, str], tuple[int, str]]]:
    return [(chip, variant) for chip in enumerate(CHIPS) for variant in enumerate(TARGETS)]


def chips(data: Data) -> None:
    """Print seconds a chip, warm, one process: read from disk, and graph with speeds."""
    print("seconds a chip, warm, one process, minimum of five (reference: file to graph with speed);")
    print("CPU seconds beside them: what the clock shows when nothing else runs on the machine")
    theirs = np.mean(
        [sum(steps.values()) for steps in data.reference["seconds_per_chip_warm_single_process"].values()]
    )
    for variant in TARGETS:
        reading, making, used = [], [], []
        for chip in CHIPS:
            path = data.predictions / f"{chip}_{variant}.tif"
            extract_raster(*read_raster(path))
            times = []
            for _ in range(5):
                started, cpu = time.perf_counter(), time.process_time()
                raster = read_raster(path)
                read = time.perf_counter()
                extract_raster(*raster)
                times.append((read - started, time.perf_counter() - read, time.process_time() - cpu))
            reading.append(min(row[0] for row in times))
            making.append(min(row[1] for row in times))
            used.append(min(row[2] for row in times))
        total = np.mean(reading) + np.mean(making)
        print(
            f"  {variant:14s} read {np.mean(reading):.4f} + graph {np.mean(making):.4f} = {total:.4f}"
            f"   CPU {np.mean(used):.4f}   reference (clean) {theirs:.3f}   1/{theirs / total:.1f}"
        )


def tile(data: Data, variant: str, side: int, folder: Path) -> None:
    """Write side × side chips as neighbours: chip (row + column) mod 5, as the reference's city was laid out."""
    step = 1300 * 2.7e-6
    for row in range(side):
        for column in range(side):
            pixels, grid = read_raster(data.predictions / f"{CHIPS[(row + column) % 5]}_{variant}.tif")
            place = Affine(2.7e-6, 0, -115.17 + column * step, 0, -2.7e-6, 36.24 - row * step)
            write_raster(folder / f"r{row:02d}c{column:02d}.tif", pixels, Grid(1300, 1300, grid.crs, place))


def child(folder: Path, threads: int) -> None:
    """Make the graph of one city, after a first call that loads and compiles everything, and print it as JSON."""
    paths = sorted(folder.glob("*.tif"))
    extract_mosaic(paths[:1], ExtractSettings(), SpeedBins())
    started, cpu = time.perf_counter(), time.process_time()
    graph = extract_mosaic(paths, ExtractSettings(), SpeedBins(), threads)
    seconds = time.perf_counter() - started
    cpu = time.process_time() - cpu
    print(
        json.dumps(
            {"s": seconds, "cpu": cpu, "nodes": len(graph.node_xy), "edges": len(graph.u), "m": graph.length_m.sum()}
        )
    )


def measure(folder: Path, threads: int) -> dict[str, float]:
    """Run `child` in a process of its own; add the peak of the memory of it and its workers in GB (shared once)."""
    command = [sys.executable, __file__, "--child", str(folder), "--threads", str(threads)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(_memory_kb(pid) for pid in _family(process.pid)))
        time.sleep(0.05)
    assert process.stdout is not None
    return {**json.loads(process.stdout.read()), "gb": peak / 1e6}


def _family(pid: int) -> list[int]:
    found = [pid]
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for part in (task / "children").read_text().split():
                found += _family(int(part))
    except OSError:
        return found
    return found


def _memory_kb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def cities(data: Data, sides: Iterable[int], threads: int, repeats: int) -> None:
    """Print seconds and memory of cities of side × side chips."""
    theirs = data.reference["city_10400x10400"]
    for side in sides:
        for variant in ("clean", "blurnoisegap"):
            with tempfile.TemporaryDirectory() as name:
                tile(data, variant, side, Path(name))
                runs = [measure(Path(name), threads) for _ in range(repeats)]
            best = min(runs, key=lambda run: run["s"])
            beside = f"   reference {theirs[variant]['total_s']:.0f} s" if side == 8 else ""
            per_megapixel = best["cpu"] / (1.3 * side) ** 2 * 1000
            print(
                f"  {1300 * side:6d}² {variant:13s} {best['s']:6.2f} s (CPU {best['cpu']:.2f} s, "
                f"{per_megapixel:.0f} ms/Mpx) {max(run['gb'] for run in runs):.2f} GB "
                f"{best['m'] / 1000:.1f} km {best['nodes']} nodes {best['edges']} edges{beside}",
                flush=True,
            )


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("scores", "fresh", "caps", "choices", "chips", "city", "linear")
    parser.add_argument("parts", nargs="*", choices=[*parts, []], default=[])
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2, help="runs a city; the quickest is printed")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child, args.threads)
        return
    data = Data(args.shared)
    chosen = args.parts or parts
    print(f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")
    for name, part in {"scores": scores, "fresh": fresh, "caps": caps, "choices": choices, "chips": chips}.items():
        if name in chosen:
            part(data)
    if "city" in chosen:
        print(f"city, {args.threads} processes, warm; memory with workers")
        cities(data, [8], args.threads, args.repeats)
    if "linear" in chosen:
        print("growth with the city's area")
        cities(data, [2, 4, 8, 16], args.threads, 1)


if __name__ == "__main__":
    main()
