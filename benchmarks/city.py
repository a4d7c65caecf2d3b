"""Acquire and prepare of a whole synthetic city: times, and peak memory of all its processes together.

Run: python benchmarks/city.py [--chips 1400] [--threads 2] [--folder DIR]

One image of 1300×1300 pixels, 8 bands of 16 bits, deflated, is repeated under other names and places, so drawing is
quick; needs about 15 MB of disk a chip, removed at the end.
"""

import argparse
import gzip
import io
import os
import struct
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from prepare import NORTH, PIXEL, SIZE, WEST, draw_image, draw_label
from roadspeed.acquire.city import acquire_city
from roadspeed.acquire.settings import AcquireSettings, Tarball
from roadspeed.prepare.folds import FoldInput, make_folds
from roadspeed.prepare.masks import mask_city
from roadspeed.prepare.settings import FoldSettings, MaskSettings, StretchSettings
from roadspeed.prepare.stretch import stretch_city
from roadspeed.speedbins import SpeedBins

NAME = "SN5_roads_train_AOI_7_Moscow"


def draw_city(path: Path, chips: int, folder: Path) -> None:
    """Write the tarball: the image's corner is changed in its bytes, the labels are drawn once."""
    rng = np.random.default_rng(0)
    draw_image(folder / "one.tif", rng, "deflate", noise=0.3)
    draw_label(folder / "one.geojson", rng)
    image, label = (folder / "one.tif").read_bytes(), (folder / "one.geojson").read_bytes()
    corner = struct.pack("<dd", WEST, NORTH)
    assert image.count(corner) == 1
    wide = int(np.ceil(np.sqrt(chips)))
    with gzip.open(path, "wb", compresslevel=0) as zipped, tarfile.open(fileobj=zipped, mode="w|") as archive:
        for n in range(chips):
            west, north = WEST + n % wide * SIZE * PIXEL, NORTH - n // wide * SIZE * PIXEL
            for product, suffix, content in (
                ("PS-MS", "tif", image.replace(corner, struct.pack("<dd", west, north))),
                ("geojson_roads_speed", "geojson", label),
            ):
                info = tarfile.TarInfo(f"a/{product}/{NAME}_{product}_chip{n}.{suffix}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


class PeakMemory:
    """Watches the memory of this process and its children, shared pages counted once (PSS)."""

    def __init__(self) -> None:
        self.peak_mb = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.25):
            self.peak_mb = max(self.peak_mb, sum(map(pss_mb, family(os.getpid()))))


def family(pid: int) -> list[int]:
    found = [pid]
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [p for child in tasks.read_text().split() for p in family(int(child))]
        except OSError:
            continue
    return found


def pss_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chips", type=int, default=1400)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        (folder / "bucket").mkdir()
        draw_city(folder / "bucket/t.tar.gz", args.chips, folder)
        size = (folder / "bucket/t.tar.gz").stat().st_size / 1e9
        print(f"{args.chips} chips, tarball {size:.2f} GB, {args.threads} cores", flush=True)
        chips, out, bucket = folder / "acquire", folder / "prepare", f"file://{folder / 'bucket'}"
        table, rgb, masks = chips / "chips.csv", out / "rgb.csv", out / "masks.csv"
        tarballs = [Tarball(key="t.tar.gz")]
        steps = {
            "acquire": lambda: acquire_city(
                "m", "train", bucket, tarballs, chips, folder, AcquireSettings(), args.threads
            ),
            "stretch": lambda: stretch_city(table, out, StretchSettings(), args.threads),
            "masks": lambda: mask_city(table, rgb, out, MaskSettings(), SpeedBins(), args.threads),
            "folds": lambda: make_folds([FoldInput(table, rgb, masks)], FoldSettings(), folder / "folds.csv"),
        }
        for label, step in steps.items():
            with PeakMemory() as memory:
                start = time.perf_counter()
                step()
                wall = time.perf_counter() - start
            rate = f"{wall / args.chips * 1e3:6.1f} ms a chip"
            print(f"  {label:8} {wall:7.1f} s, {rate}, peak memory {memory.peak_mb:6.0f} MB", flush=True)


if __name__ == "__main__":
    sys.exit(main())
