"""Images to 8-bit bands: 0 is no data, 1 to 255 the stretched values of pixels with data.

Strategy: with the range of a whole city, one pass counts how often each 16-bit value occurs, in a sixteenth of the
rows where there are many chips; percentiles come from these counts. A second pass maps the values. Chips are worked
on in parallel, one whole chip in memory a core; each finished one is noted, so a kill costs seconds. Strips of
16 bits, as satellite images come, are unpacked by `strips`, all else by GDAL.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rasterio import Env
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.windows import Window

from roadspeed.chips import Chip, read_chips
from roadspeed.errors import InputError
from roadspeed.files import file_stamp, fingerprint, locked, provenance, write_json, write_table
from roadspeed.parallel import map_ordered
from roadspeed.prepare.done import DoneChips
from roadspeed.prepare.settings import StretchSettings
from roadspeed.prepare.strips import read_strips
from roadspeed.raster import FAST, Grid, open_raster, rgb_bands, write_raster

log = logging.getLogger(__name__)

FORKED = "roadspeed.prepare.forked"
ENTRY = 2
"""Version of what is kept for a finished chip."""
RGB_COLUMNS = ("chip_id", "rgb", "valid_share", "note")
COUNTED_ROWS, OF_ROWS = 2, 32
"""Of so many rows of an image, so many are counted for the range of a large city."""
SAMPLED_FROM = 16
"""Images from which on only some of their rows are counted."""
LEVELS = 65536
ALL_ROWS_UP_TO = 256
"""Smaller images are counted whole."""

Ranges = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class _Job:
    """One chip to stretch."""

    chip: Chip
    fingerprint: str
    ranges: Ranges | None


def stretch_city(
    chips: Path, folder: Path, settings: StretchSettings, threads: int = 1, ranges_of: Path | None = None
) -> None:
    """Write `rgb/{chip_id}.tif` for each chip with a usable image, and `rgb.csv`, which appears last.

    Every chip has a row; one whose image is missing, damaged or black has no picture and the reason in `note`.
    `rgb.json` holds the ranges used, the mean and deviation of each 8-bit band, and what made them.

    Args:
        chips: a chip table.
        folder: where the table and the pictures go.
        settings: method, bands, percentiles.
        threads: cores to use.
        ranges_of: `rgb.json` of the city's other split, whose ranges are taken with method `city` where it has some.

    Raises:
        InputError: there is no chip table, an image is not 8-bit with method `none`, or the other split's ranges
            are not of these bands.
    """
    folder = Path(folder)
    with locked(folder, "stretch"), DoneChips(folder / ".rgb.jsonl") as done:
        table = read_chips(chips)
        label = f"{table[0].city} {table[0].split}" if table else "no chips"
        stamps = {chip.chip_id: _stamp(chip) for chip in table}
        ranges: Ranges | None = settings.ranges if settings.method == "fixed" else None
        if settings.method == "city":
            ranges = read_ranges(ranges_of, settings) if ranges_of is not None else None
        if settings.method == "city" and ranges is None:
            ranges = _city_ranges(table, list(stamps.values()), settings, done, threads, label)
        prints = {c: fingerprint(ENTRY, settings.model_dump(), ranges, stamp) for c, stamp in stamps.items()}
        found = {chip.chip_id: done.get(chip.chip_id, prints[chip.chip_id]) for chip in table}
        for chip_id, entry in found.items():
            if entry is not None and entry["rgb"] and not (folder / entry["rgb"]).is_file():
                found[chip_id] = None
        jobs = [_Job(c, prints[c.chip_id], ranges) for c in table if found[c.chip_id] is None]
        if len(jobs) < len(table):
            log.info("8-bit %s: %d of %d chips are done", label, len(table) - len(jobs), len(table))
        work = partial(_stretch_chip, folder=folder, settings=settings)
        for entry in map_ordered(work, jobs, len(jobs), threads, f"8-bit {label}", preload=FORKED):
            done.add(entry)
            found[entry["chip_id"]] = entry
        entries = [entry for entry in found.values() if entry is not None]
        _remove_strangers(folder / "rgb", [entry["rgb"] for entry in entries])
        write_json(
            folder / "rgb.json", {"ranges": ranges, **_statistics(entries), **provenance(settings.model_dump())}
        )
        write_table(folder / "rgb.csv", RGB_COLUMNS, ({name: e[name] for name in RGB_COLUMNS} for e in entries))


def read_ranges(path: Path, settings: StretchSettings) -> Ranges | None:
    """Return the ranges that another split of the city was stretched with; None where all of it was 8-bit already.

    Raises:
        InputError: the file cannot be read, or has ranges of other bands.
    """
    try:
        stored = json.loads(Path(path).read_text(encoding="utf-8"))["ranges"]
        ranges = None if stored is None else tuple((float(low), float(high)) for low, high in stored)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: ranges cannot be read ({error}); expected the rgb.json of the city's train split: prepare "
            "that again"
        ) from error
    if ranges is not None and len(ranges) != settings.count:
        raise InputError(
            f"{path}: has ranges of {len(ranges)} bands, expected {settings.count}; prepare both splits alike"
        )
    if ranges is not None:
        log.info("ranges of %s: %s", path, _text(ranges))
    return ranges


def stretch(
    pixels: NDArray[Any], ranges: Sequence[tuple[float, float]] | None, valid: NDArray[np.bool_] | None = None
) -> NDArray[np.uint8]:
    """Map pixel values to 8 bits: a range's lower end and all below become 1, its upper end and all above 255.

    Args:
        pixels: (bands, rows, columns) uint8 or uint16.
        ranges: lower and upper value of each band; None passes uint8 pixels through, zeros with data becoming 1.
        valid: (rows, columns), where there is data; everywhere by default. The rest becomes 0.

    Returns:
        (bands, rows, columns) uint8.
    """
    if ranges is None:
        assert pixels.dtype == np.uint8, pixels.dtype
        scaled = np.maximum(pixels, 1)
    else:
        scaled = np.empty(pixels.shape, np.uint8)
        for band, (low, high), out in zip(pixels, ranges, scaled, strict=True):
            low = round(low)
            # subtract stops at 0, so everything below the range becomes beta.
            above = cv2.subtract(np.ascontiguousarray(band), float(low))  # type: ignore[call-overload]
            cv2.convertScaleAbs(above, dst=out, alpha=254 / max(high - low, 1), beta=1)
    if valid is not None and not valid.all():
        scaled *= valid
    return scaled


def percentile(counts: NDArray[np.integer[Any]], percent: float) -> float:
    """Return the percentile of values given by how often each occurs, as `numpy.percentile` does (linear).

    Args:
        counts: (levels,) how often each value occurs, at least one in all.
        percent: 0 to 100.
    """
    below = np.cumsum(counts)
    rank = percent / 100 * (int(below[-1]) - 1)
    low, high = np.searchsorted(below, [np.floor(rank), np.ceil(rank)], side="right")
    return float(low + (rank - np.floor(rank)) * (high - low))


def chip_bands(count: int, settings: StretchSettings) -> tuple[int, ...]:
    """Return the band numbers that are taken of an image with `count` bands.

    Raises:
        InputError: the image has too few bands.
    """
    bands: tuple[int, ...]
    if isinstance(settings.bands, str):
        bands = rgb_bands(count) if settings.bands == "rgb" else tuple(range(1, settings.count + 1))
    else:
        bands = settings.bands
    if max(bands) > count:
        raise InputError(f"has {count} bands, expected bands {list(bands)}; set bands")
    return bands


def read_bands(
    path: Path, settings: StretchSettings, sampled: bool = False
) -> tuple[NDArray[Any], NDArray[np.bool_], Grid]:
    """Read the wanted bands of an image and where it has data.

    A pixel has data unless all of these bands are 0, or the file's no-data value, or its alpha band is 0.

    Args:
        path: the image.
        settings: which bands.
        sampled: read only about a sixteenth of the rows of a large image, one below the other.

    Returns:
        (bands, rows, columns) uint8 or uint16, (rows, columns) bool, and the grid of the whole image.

    Raises:
        InputError: the image cannot be used.
    """
    with Env(GTIFF_VIRTUAL_MEM_IO="YES"), open_raster(path) as source:
        bands = list(chip_bands(source.count, settings))
        if any(source.dtypes[band - 1] not in ("uint8", "uint16") for band in bands):
            raise InputError(f"{path}: pixels are {source.dtypes[bands[0] - 1]}, expected uint8 or uint16")
        alpha = [i for i, kind in enumerate(source.colorinterp, 1) if kind == ColorInterp.alpha]
        sampled = sampled and source.height > ALL_ROWS_UP_TO
        pixels = read_strips(path, bands + alpha, sampled)
        if pixels is None:
            pixels = _read_by_gdal(source, bands + alpha, sampled)
        pixels, opacity = pixels[: len(bands)], pixels[len(bands) :]
        valid = np.bitwise_or.reduce(pixels, axis=0) > 0
        if alpha:
            valid &= (opacity > 0).all(axis=0)
        if source.nodata:
            valid &= (pixels != source.nodata).any(axis=0)
        return pixels, valid, Grid(source.width, source.height, source.crs, source.transform)


def _read_by_gdal(source: Any, bands: list[int], sampled: bool) -> NDArray[Any]:
    step, count = (OF_ROWS, COUNTED_ROWS) if sampled else (source.height, source.height)
    try:
        parts = [
            source.read(bands, window=Window(0, row, source.width, min(count, source.height - row)))
            for row in range(0, source.height, step)
        ]
    except RasterioError as error:
        raise InputError(f"{source.name}: pixels cannot be read ({error}); the file may be cut short") from error
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def _stretch_chip(job: _Job, folder: Path, settings: StretchSettings) -> dict[str, Any]:
    """Stretch one chip; return its row of the table and what the statistics need."""
    entry: dict[str, Any] = {
        "chip_id": job.chip.chip_id,
        "fingerprint": job.fingerprint,
        "rgb": "",
        "valid_share": 0.0,
    }
    if job.chip.image is None:
        return entry | {"note": job.chip.note or "no image"}
    try:
        pixels, valid, grid = read_bands(job.chip.image, settings)
    except InputError as error:
        note = f"image cannot be used: {' '.join(str(error).removeprefix(f'{job.chip.image}: ').split())}"
        return entry | {"note": note}
    share = round(float(np.count_nonzero(valid)) / valid.size, 6)
    if share == 0 or share < settings.min_valid_share:
        return entry | {"valid_share": share, "note": f"only {share:.2%} of its pixels have data"}
    rgb = stretch(pixels, _chip_ranges(pixels, valid, job, settings), valid)
    path = folder / "rgb" / f"{job.chip.chip_id}.tif"
    write_raster(path, rgb, grid, nodata=0, **({"photometric": "RGB"} if len(rgb) == 3 else {}), **FAST)
    return entry | {
        "rgb": f"rgb/{path.name}",
        "valid_share": share,
        "note": job.chip.note,
        "pixels": int(np.count_nonzero(valid)),
        "sums": [int(cv2.sumElems(band)[0]) for band in rgb],
        "squares": [int(cv2.norm(band, cv2.NORM_L2SQR)) for band in rgb],
    }


def _chip_ranges(
    pixels: NDArray[Any], valid: NDArray[np.bool_], job: _Job, settings: StretchSettings
) -> Sequence[tuple[float, float]] | None:
    if pixels.dtype == np.uint8 and settings.method in ("city", "none"):
        return None
    if settings.method == "none":
        raise InputError(
            f"{job.chip.image}: pixels are {pixels.dtype}, expected uint8 with method 'none'; use another"
        )
    if settings.method == "chip":
        return [_percentiles(np.bincount(band[valid], minlength=1), settings) for band in pixels]
    return job.ranges


def _percentiles(counts: NDArray[np.integer[Any]], settings: StretchSettings) -> tuple[float, float]:
    """Return the range of one band from the counts of its values; zeros do not count, as in the reference."""
    counts = counts.copy()
    counts[0] = 0
    if not counts.any():
        return 0.0, 1.0
    low, high = (percentile(counts, percent) for percent in settings.percentiles)
    return low, max(high, low + 1)


def _city_ranges(
    table: list[Chip],
    stamps: list[object],
    settings: StretchSettings,
    done: DoneChips,
    threads: int,
    label: str,
) -> Ranges | None:
    """Return the city's range of each band, from an earlier run where nothing changed; None when all is 8-bit."""
    made_for = fingerprint(settings.model_dump(), stamps)
    before = done.get("", made_for)
    if before is None:
        total: NDArray[np.int64] | None = None
        images = [chip.image for chip in table if chip.image is not None]
        work = partial(_histogram, settings=settings, sampled=len(images) >= SAMPLED_FROM)
        for counts in map_ordered(work, images, len(images), threads, f"histogram {label}", preload=FORKED):
            if counts is not None:
                total = np.zeros((len(counts), LEVELS), np.int64) if total is None else total
                total[:, : counts.shape[1]] += counts
        ranges = None if total is None else [_percentiles(counts, settings) for counts in total]
        before = {"chip_id": "", "fingerprint": made_for, "ranges": ranges}
        done.add(before)
        if ranges is not None:
            log.info("8-bit %s: the city's ranges are %s", label, _text(ranges))
    return None if before["ranges"] is None else tuple((low, high) for low, high in before["ranges"])


def _histogram(image: Path, settings: StretchSettings, sampled: bool) -> NDArray[np.uint32] | None:
    """Count the values, up to the highest, of each 16-bit band where there is data; None for images without such."""
    try:
        pixels, valid, _ = read_bands(image, settings, sampled)
    except InputError:
        return None  # its row will say why
    if pixels.dtype != np.uint16:
        return None
    levels = int(pixels.max(initial=0)) + 1
    counts = np.stack([np.bincount(band.ravel(), minlength=levels) for band in pixels])
    if not valid.all():
        counts -= np.stack([np.bincount(band, minlength=levels) for band in pixels[:, ~valid]])
    return counts.astype(np.uint32)


def _text(ranges: Sequence[tuple[float, float]]) -> str:
    return ", ".join(f"{low:.0f} to {high:.0f}" for low, high in ranges)


def _stamp(chip: Chip) -> object:
    return None if chip.image is None or not chip.image.is_file() else file_stamp(chip.image)


def _statistics(entries: list[dict[str, Any]]) -> dict[str, object]:
    """Return mean and deviation of each 8-bit band over all pixels with data, 0 to 255."""
    made = [entry for entry in entries if entry["rgb"]]
    pixels = sum(entry["pixels"] for entry in made)
    if not pixels:
        return {"pixels": 0, "mean": None, "deviation": None}
    sums, squares = (np.array([entry[name] for entry in made], np.int64).sum(axis=0) for name in ("sums", "squares"))
    mean = sums / pixels
    deviation = np.sqrt(np.maximum(squares / pixels - mean**2, 0))
    return {"pixels": pixels, "mean": mean.round(3).tolist(), "deviation": deviation.round(3).tolist()}


def _remove_strangers(folder: Path, kept: list[str]) -> None:
    """Remove pictures of chips that are no longer used."""
    names = {Path(path).name for path in kept if path}
    for path in folder.glob("*.tif"):
        if path.name not in names:
            path.unlink()
