"""Draw sample cities and pack them like SpaceNet 5's tarballs, in a folder that serves as a bucket."""

import gzip
import io
import itertools
import logging
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.io import MemoryFile
from rasterio.transform import Affine

from roadspeed.acquire.sample.labels import chip_labels
from roadspeed.acquire.sample.looks import PIXEL_DEG, make_looks
from roadspeed.acquire.sample.scene import draw_chip, rgb_preview
from roadspeed.acquire.sample.spec import CitySpec, Place
from roadspeed.errors import InputError
from roadspeed.files import atomic
from roadspeed.parallel import map_ordered

log = logging.getLogger(__name__)

KEY = "spacenet/SN5_roads/tarballs"
"""Folder of the tarballs in the bucket."""
INSIDE = "nfs/data/cosmiq/spacenet/competitions/SN5_roads/tiles_upload"
"""Folder in the tarballs, as in SpaceNet's."""
MTIME = 1_567_296_000
"""Time of all members: the challenge's month. Equal seeds give equal bytes."""
CHIP_PX_RANGE = (64, 4096)
LARGEST_GRID = 200


@dataclass(frozen=True)
class Member:
    """One file of a tarball."""

    path: str
    content: bytes


def draw_sample(
    out: Path,
    cities: int = 3,
    grid: tuple[int, int] = (4, 4),
    chip_px: int = 512,
    seed: int = 7,
    threads: int = 1,
) -> list[Path]:
    """Draw sample cities into `out`, which then serves as the bucket `file://out`.

    Each city gets a train tarball; the first and the last also a test_public tarball without labels, of a block
    of half the grid's rows and columns, east of it. In each train grid of 9 chips or more a corner chip has no
    road (a label file without features); in the first city's, of 4 chips or more, one chip has no label file; the
    north-west chip's corner has no data. Memory: a few chips a core, whatever the grid.

    Args:
        out: folder, made when missing.
        cities: how many; beyond three they are mixtures drawn from the seed.
        grid: columns and rows of train chips.
        chip_px: width and height of a chip in pixels of 0.3 m.
        seed: equal seeds give equal bytes.
        threads: cores to use.

    Returns:
        The tarballs.

    Raises:
        InputError: a number is out of its range.
    """
    columns, rows = grid
    _check(cities, columns, rows, chip_px, seed)
    looks = make_looks(cities, seed)
    jobs: list[list[tuple[CitySpec, Place]]] = []
    for index, look in enumerate(looks):
        spec = CitySpec(look, index, seed, rows, columns, chip_px)
        splits = ["train", "test_public"] if index in (0, len(looks) - 1) else ["train"]
        jobs += [[(spec, place) for place in spec.places(split)] for split in splits]
    total = sum(len(chips) for chips in jobs)
    # One pool for all cities; each tarball takes its chips from the common, ordered stream.
    drawn = map_ordered(_chip_members, itertools.chain.from_iterable(jobs), total, threads, "sample cities")
    made = []
    for chips in jobs:
        spec, first = chips[0]
        path = Path(out) / KEY / f"SN5_roads_{first.split}_AOI_{spec.look.aoi}_{spec.look.name}.tar.gz"
        write_tarball(path, itertools.islice(drawn, len(chips)))
        log.info("%s: %d chips, %.1f MB", path, len(chips), path.stat().st_size / 1e6)
        made.append(path)
    # The stream's own end closes its pool and its progress line.
    for _ in drawn:
        raise AssertionError("more chips than planned")
    return made


def _chip_members(job: tuple[CitySpec, Place]) -> list[Member]:
    return chip_members(*job)


def _check(cities: int, columns: int, rows: int, chip_px: int, seed: int) -> None:
    if not 1 <= cities <= 99:
        raise InputError(f"{cities} cities; 1 to 99 are possible")
    if not (1 <= columns <= LARGEST_GRID and 1 <= rows <= LARGEST_GRID):
        raise InputError(f"a grid of {columns}x{rows} chips; 1x1 to {LARGEST_GRID}x{LARGEST_GRID} are possible")
    if not CHIP_PX_RANGE[0] <= chip_px <= CHIP_PX_RANGE[1]:
        raise InputError(f"chips of {chip_px} px; {CHIP_PX_RANGE[0]} to {CHIP_PX_RANGE[1]} are possible")
    if seed < 0:
        raise InputError(f"seed {seed}; give 0 or a positive whole number")


def chip_members(spec: CitySpec, place: Place) -> list[Member]:
    """Draw one chip and return its files as they stand in the tarball."""
    area = f"AOI_{spec.look.aoi}_{spec.look.name}"
    pixels = draw_chip(spec, place)
    transform = Affine(
        PIXEL_DEG, 0, spec.look.lon + place.column * spec.chip_px * PIXEL_DEG,
        0, -PIXEL_DEG, spec.look.lat - place.row * spec.chip_px * PIXEL_DEG,
    )  # fmt: skip

    def path(product: str, suffix: str) -> str:
        name = f"SN5_roads_{place.split}_{area}_{product}_chip{place.number}.{suffix}"
        return f"{INSIDE}/{place.split}/{area}/{product}/{name}"

    pan = np.where(pixels[:1] > 0, pixels[1:6].mean(axis=0, keepdims=True), 0).astype(np.uint16)
    rgb = rgb_preview(spec, pixels)
    members = [
        Member(path("PAN", "tif"), _geotiff(pan, transform)),
        Member(path("PS-MS", "tif"), _geotiff(pixels, transform)),
        Member(path("PS-RGB", "tif"), _geotiff(rgb, transform)),
    ]
    missing = (place.row, place.column) == spec.missing_label
    if place.split == "train" and not missing:
        members.append(Member(path("geojson_roads_speed", "geojson"), chip_labels(spec, place).encode()))
    return members


def _geotiff(pixels: NDArray[np.generic], transform: Affine) -> bytes:
    """Return a GeoTIFF without a nodata tag and without compression, as SpaceNet's are."""
    bands, rows, columns = pixels.shape
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", count=bands, height=rows, width=columns, dtype=pixels.dtype, crs=CRS.from_epsg(4326),
            transform=transform, interleave="pixel", photometric="RGB" if bands == 3 else "MINISBLACK",
        ) as target:  # fmt: skip
            target.write(pixels)
        return bytes(memory.read())


def write_tarball(path: Path, chips: Iterable[list[Member]]) -> None:
    """Write members as a gzip-compressed tarball, atomically; its bytes depend on the members only.

    Compression is light: noise hardly shrinks.
    """
    with (
        atomic(path) as temporary,
        temporary.open("wb") as raw,
        gzip.GzipFile("", "wb", 1, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        folders: set[str] = set()
        for members in chips:
            for member in members:
                for folder in _new_folders(member.path, folders):
                    tar.addfile(_entry(folder, 0, tarfile.DIRTYPE))
                tar.addfile(_entry(member.path, len(member.content), tarfile.REGTYPE), io.BytesIO(member.content))


def _new_folders(path: str, known: set[str]) -> Iterator[str]:
    """Yield the folders of a path that were not met before, outermost first."""
    for folder in reversed(PurePosixPath(path).parents[:-1]):
        if str(folder) not in known:
            known.add(str(folder))
            yield str(folder)


def _entry(path: str, size: int, kind: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.size, entry.type, entry.mtime = size, kind, MTIME
    entry.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    return entry
