"""Time of 8-bit images and speed masks a chip, beside the reference pipeline's ways, on one core.

Run: python benchmarks/prepare.py [--chips 48] [--threads 1 2]

Chips are drawn: a 1300×1300 image of 8 bands of 16 bits, and 40 roads. The reference's ways are written anew from
what its code does: for 8-bit, each band is read, flattened, its percentiles are taken of the pixels above 0 with
NumPy, then the program gdal_translate is run (`apt install gdal-bin`; without it the same work is done in this
process, which spares it the start); for masks, GeoPandas reads the label, dissolves by speed, buffers in UTM, a first
raster is burnt, read back, and split into eight bands. The reference's own start (Python, its imports) is left out.

On one core, ratios are of CPU times, so other work on the computer hardly matters. On more cores wall times count,
and need an idle computer: "each" is what one more chip costs, from runs with all chips and with half of them;
"start" is the rest, once a run.
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import geopandas as gpd
import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.features import rasterize
from rasterio.transform import Affine

from roadspeed.chips import Chip, write_chips
from roadspeed.prepare.masks import mask_city
from roadspeed.prepare.settings import MaskSettings, StretchSettings
from roadspeed.prepare.stretch import stretch_city
from roadspeed.prepare.strips import read_strips
from roadspeed.speedbins import SpeedBins

SIZE, PIXEL = 1300, 2.7e-6
WEST, NORTH = 37.5, 55.7
WHAT, TABLES = ("8-bit", "mask"), ("half.csv", "chips.csv")


def draw_image(path: Path, rng: np.random.Generator, compress: str | None, noise: float = 8) -> None:
    """Write an image with the entropy of a real one: smooth shapes, edges and sensor noise."""
    coarse = rng.uniform(100, 900, (SIZE // 20, SIZE // 20)).astype(np.float32)
    scene = cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_NEAREST)
    pixels = np.stack([scene * (1 + 0.1 * band) + rng.normal(0, noise, scene.shape) for band in range(8)])
    profile = {"driver": "GTiff", "width": SIZE, "height": SIZE, "count": 8, "dtype": "uint16", "interleave": "pixel"}
    place = {"crs": CRS.from_epsg(4326), "transform": Affine(PIXEL, 0, WEST, 0, -PIXEL, NORTH)}
    with rasterio.open(path, "w", **profile, **place, compress=compress) as target:
        target.write(pixels.clip(1, 2000).astype(np.uint16))


def draw_label(path: Path, rng: np.random.Generator) -> None:
    """Write 40 bent roads."""
    features = []
    for _ in range(40):
        start, step = rng.uniform(0, SIZE, 2), rng.normal(0, 80, (5, 2))
        points = (start + np.cumsum(step, axis=0)) * PIXEL
        coordinates = [[WEST + x, NORTH - y] for x, y in points]
        mph = float(rng.choice([15, 18.75, 20, 25, 35, 45, 65]))
        properties = {
            "inferred_speed_mph": mph,
            "inferred_speed_mps": mph * 0.44704,
            "lanes": "2",
            "surface": "asphalt",
        }
        features.append(
            {
                "type": "Feature",
                "properties": properties,
                "geometry": {"type": "LineString", "coordinates": coordinates},
            }
        )
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def reference_8bit(image: Path, out: Path) -> None:
    """The reference's way to 8 bits."""
    scales = []
    with rasterio.open(image) as source:
        for band in (5, 3, 2):
            flat = source.read(band).flatten()
            np.min(flat), np.max(flat)
            positive = flat[flat > 0]
            if 1 - len(positive) / len(flat) >= 0.3:
                return
            scales.append((max(1, np.percentile(positive, 2)), np.percentile(positive, 98)))
    program = shutil.which("gdal_translate")
    if program:
        command = [program, "-q", "-ot", "Byte", "-of", "GTiff", "-a_nodata", "0", "-co", "PHOTOMETRIC=rgb"]
        for i, (band, (low, high)) in enumerate(zip((5, 3, 2), scales, strict=True), 1):
            command += ["-b", str(band), f"-scale_{i}", str(low), str(high), "0", "255"]
        subprocess.run([*command, str(image), str(out)], check=True)
        return
    with rasterio.open(image) as source:
        pixels, profile = source.read([5, 3, 2]), source.profile
    scaled = np.empty(pixels.shape, np.uint8)
    for band, (low, high), into in zip(pixels, scales, scaled, strict=True):
        into[:] = np.clip((band - low) / (high - low) * 255 + 0.5, 0, 255)
    profile = {k: v for k, v in profile.items() if k in ("driver", "width", "height", "crs", "transform")}
    with rasterio.open(out, "w", **profile, count=3, dtype="uint8", photometric="rgb", nodata=0) as target:
        target.write(scaled)


def reference_mask(image: Path, label: Path, out: Path) -> None:
    """The reference's way to a speed mask of eight bands."""
    roads = gpd.read_file(label)
    local = roads.to_crs(roads.estimate_utm_crs())
    local["geometry"] = local.buffer(2, quad_segs=1)
    dissolved = local.dissolve(by="inferred_speed_mps").to_crs(4326)
    dissolved["burn"] = np.ceil(dissolved["inferred_speed_mph"] / 10).astype(int) * 36
    with rasterio.open(image) as source:
        profile = {"crs": source.crs, "transform": source.transform, "width": source.width, "height": source.height}
        black = source.read(1) == 0
    shapes = list(zip(dissolved.geometry, dissolved["burn"], strict=True))
    burnt = rasterize(shapes, (SIZE, SIZE), transform=profile["transform"], dtype=np.uint8)
    burnt[black] = 0
    first = out.with_suffix(".one.tif")
    with rasterio.open(first, "w", driver="GTiff", count=1, dtype="uint8", compress="lzw", **profile) as target:
        target.write(burnt, 1)
    with rasterio.open(first) as source:
        bins = (source.read(1) / 36).astype(int)
    bands = [np.zeros((SIZE, SIZE), np.uint8) for _ in range(8)]
    for number, band in enumerate(bands[:7], 1):
        band[np.where(bins == number)] = 255
    bands[7][np.where(bins > 0)] = 255
    with rasterio.open(out, "w", driver="GTiff", count=8, dtype="uint8", compress="lzw", **profile) as target:
        target.write(np.stack(bands))


def reference_8bits(folder: Path, chips: range) -> None:
    for n in chips:
        reference_8bit(folder / f"{n}.tif", folder / "r.tif")


def reference_masks(folder: Path, chips: range) -> None:
    for n in chips:
        reference_mask(folder / f"{n}.tif", folder / f"{n}.geojson", folder / "m.tif")


def best_ms(rounds: int, chips: int, work: Callable[..., object], *arguments: object) -> tuple[float, float]:
    """Return the least wall and CPU time of a chip, children's time included; what `work` made is removed before."""
    best = [float("inf"), float("inf")]
    for _ in range(rounds):
        if work in MADE:
            MADE[work](arguments[0])
        wall, cpu = time.perf_counter(), sum(os.times()[:4])
        work(*arguments)
        now = (time.perf_counter() - wall, sum(os.times()[:4]) - cpu)
        best = [min(a, b * 1e3 / chips) for a, b in zip(best, now, strict=True)]
    return best[0], best[1]


def stretch_chips(folder: Path, table: str, threads: int) -> None:
    stretch_city(folder / table, folder / "out", StretchSettings(), threads)


def mask_chips(folder: Path, table: str, threads: int) -> None:
    mask_city(folder / table, folder / "out/rgb.csv", folder / "out", MaskSettings(), SpeedBins(), threads)


def remove_chips(folder: Path) -> None:
    shutil.rmtree(folder / "out", ignore_errors=True)


def remove_masks(folder: Path) -> None:
    (folder / "out/.masks.jsonl").unlink(missing_ok=True)


MADE: dict[Callable[..., object], Callable[[Path], None]] = {stretch_chips: remove_chips, mask_chips: remove_masks}


def unpack(folder: Path, chips: range, gdal: bool) -> None:
    for n in chips:
        if gdal:
            with rasterio.open(folder / f"{n}.tif") as source:
                source.read([5, 3, 2])
        else:
            assert read_strips(folder / f"{n}.tif", [5, 3, 2]) is not None


def seconds(rounds: int, work: Callable[..., object], *arguments: object) -> float:
    return best_ms(rounds, 1, work, *arguments)[0] / 1e3


def draw_city(folder: Path, count: int, compress: str | None) -> None:
    rng = np.random.default_rng(0)
    draw_image(folder / "0.tif", rng, compress)
    chips = []
    for n in range(count):
        image, label = folder / f"{n}.tif", folder / f"{n}.geojson"
        if n:
            shutil.copyfile(folder / "0.tif", image)
        draw_label(label, rng)
        chips.append(
            Chip(f"c{n}", "b", "train", 1, n, image, label, "roads", 0, n, SIZE, SIZE, 0, 0, 1, 1, "EPSG:4326")
        )
    write_chips(folder / "chips.csv", chips)
    write_chips(folder / "half.csv", chips[: count // 2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chips", type=int, default=48, help="chips of a city")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="cores for ours")
    parser.add_argument("--rounds", type=int, default=3, help="the best round counts")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    program = "gdal_translate" if shutil.which("gdal_translate") else "in one process, without gdal_translate's start"
    print(f"ms a chip, best of {args.rounds}: wall (CPU); ratios are of CPU times. Reference's 8-bit: {program}")
    for compress in (None, "lzw"):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            draw_city(folder, args.chips, compress)
            few = range(min(args.chips, 8))
            theirs = [
                best_ms(args.rounds, len(few), reference_8bits, folder, few),
                best_ms(args.rounds, len(few), reference_masks, folder, few),
            ]
            print(f"images {'uncompressed' if compress is None else compress}")
            line = "  reference       "
            line += "".join(f"  {what} {w:6.1f} ({c:6.1f})" for what, (w, c) in zip(WHAT, theirs, strict=True))
            print(line)
            ours = [
                best_ms(args.rounds, args.chips, work, folder, "chips.csv", 1) for work in (stretch_chips, mask_chips)
            ]
            line = "  ours, one core  "
            for what, (wall, cpu), their in zip(WHAT, ours, theirs, strict=True):
                line += f"  {what} {wall:6.1f} ({cpu:6.1f}) {their[1] / cpu:5.1f} ×"
            print(line)
            mine, gdals = (best_ms(args.rounds, len(few), unpack, folder, few, gdal)[1] for gdal in (False, True))
            share = f"{mine / ours[0][1]:.0%} of ours; through GDAL {gdals:.1f}"
            print(f"  reading and unpacking the source once: {mine:.1f}, {share}")
            alone: dict[str, float] = {}
            for threads in args.threads:
                line = f"  ours, {threads} core(s), wall"
                for what, work in zip(WHAT, (stretch_chips, mask_chips), strict=True):
                    half, whole = (seconds(args.rounds, work, folder, table, threads) for table in TABLES)
                    each_s = (whole - half) / (args.chips - args.chips // 2)
                    alone.setdefault(what, each_s)
                    start_s = whole - each_s * args.chips
                    line += (
                        f"  {what} each {each_s * 1e3:5.1f} ({alone[what] / each_s:4.2f} ×), start {start_s:4.1f} s"
                    )
                print(line)


if __name__ == "__main__":
    main()
