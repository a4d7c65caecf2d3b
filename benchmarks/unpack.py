"""Time of unpacking, beside `tar -xzf` of the same members to the same disk.

Run: python benchmarks/unpack.py [--chips 40] [--folder DIR]

A tarball like SpaceNet 5's is drawn: PS-MS and PS-RGB images with the entropy of real ones, PAN and MS, and labels.
Both take the PS-MS images and the labels out of it.
"""

import argparse
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from roadspeed.acquire.city import place_of
from roadspeed.acquire.unpack import file_blocks, unpack

PREFIX = "nfs/data/cosmiq/spacenet/competitions/SN5_roads/tiles_upload/train/AOI_7_Moscow"


def draw_tarball(path: Path, chips: int) -> None:
    """Write the tarball; the pixels are noise over a gradient, which gzip brings to about seven tenths."""
    rng = np.random.default_rng(0)

    def pixels(side: int, bands: int, dtype: type) -> bytes:
        values = rng.normal(400, 30, (side, side, bands)) + np.linspace(0, 200, side)[:, None, None]
        return (values if dtype is np.uint16 else values / 4).astype(dtype).tobytes()

    products = {
        "PS-MS": pixels(1300, 8, np.uint16),
        "PS-RGB": pixels(1300, 3, np.uint8),
        "PAN": pixels(1300, 1, np.uint16),
        "MS": pixels(325, 8, np.uint16),
    }
    with subprocess.Popen(["gzip", "-6"], stdin=subprocess.PIPE, stdout=path.open("wb")) as gzip:
        assert gzip.stdin is not None
        with tarfile.open(fileobj=gzip.stdin, mode="w|") as archive:
            for product, content in products.items():
                for n in range(chips):
                    info = tarfile.TarInfo(f"{PREFIX}/{product}/SN5_roads_train_AOI_7_Moscow_{product}_chip{n}.tif")
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
            for n in range(chips):
                label = os.urandom(100) * 150
                name = f"SN5_roads_train_AOI_7_Moscow_geojson_roads_speed_chip{n}.geojson"
                info = tarfile.TarInfo(f"{PREFIX}/geojson_roads_speed/{name}")
                info.size = len(label)
                archive.addfile(info, io.BytesIO(label))
        gzip.stdin.close()


def theirs(path: Path, out: Path) -> None:
    out.mkdir()
    patterns = ["*_PS-MS_chip*.tif", "*_geojson_roads_speed_chip*.geojson"]
    subprocess.run(["tar", "-xzf", path, "-C", out, "--wildcards", *patterns], check=True)


def ours(path: Path, out: Path) -> None:
    unpack(file_blocks(path), out, lambda name: place_of(name, "PS-MS"), path.name, 1 << 30)


def measure(work: Callable[[Path, Path], None], path: Path, out: Path) -> tuple[float, float]:
    shutil.rmtree(out, ignore_errors=True)
    start, cpu = time.perf_counter(), sum(os.times()[:4])
    work(path, out)
    return time.perf_counter() - start, sum(os.times()[:4]) - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chips", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3, help="taken in turn; the best counts")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        draw_tarball(folder / "t.tar.gz", args.chips)
        best = {theirs: [1e9, 1e9], ours: [1e9, 1e9]}
        for _ in range(args.rounds):
            for work in best:
                best[work] = [
                    min(a, b)
                    for a, b in zip(best[work], measure(work, folder / "t.tar.gz", folder / "o"), strict=True)
                ]
        size = (folder / "t.tar.gz").stat().st_size
        print(f"{args.chips} chips, tarball {size / 1e6:.0f} MB, best of {args.rounds}")
        for label, work in (("tar -xzf", theirs), ("ours", ours)):
            wall, cpu = best[work]
            print(f"  {label:9} {wall:6.2f} s, CPU {cpu:6.2f} s, {size / wall / 1e6:6.1f} MB/s")
        ratio = [a / b for a, b in zip(best[theirs], best[ours], strict=True)]
        print(f"  speed of ours over tar's: wall {ratio[0]:.2f}, CPU {ratio[1]:.2f}")


if __name__ == "__main__":
    main()
