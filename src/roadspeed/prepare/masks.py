"""Labels to speed masks: one band, 0 background, 1 and up the speed bin, the faster road on top.

Strategy: all roads of a chip are buffered in metres in one call in the local UTM zone (or the image's own
projection), projected to the image, and burnt by GDAL in one call, slowest first. The image is read only where it has
pixels without data.
"""

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.enums import ColorInterp
from rasterio.features import rasterize

from roadspeed.chips import Chip, read_chips
from roadspeed.errors import InputError
from roadspeed.files import file_stamp, fingerprint, locked, provenance, read_table, write_json, write_table
from roadspeed.geo import LONLAT, project, transformer, utm_crs
from roadspeed.parallel import map_ordered
from roadspeed.prepare.done import DoneChips
from roadspeed.prepare.labels import Labels, read_labels
from roadspeed.prepare.settings import MaskSettings
from roadspeed.raster import FAST, Grid, open_raster, read_grid, read_raster, write_raster
from roadspeed.speedbins import SpeedBins

log = logging.getLogger(__name__)

MASK_COLUMNS = ("chip_id", "mask", "road_share", "note")
QUADRANT_SEGMENTS = 8
"""Corners of a quarter of a round road end: off a circle by 0.5 % of the radius."""


@dataclass(frozen=True)
class _Job:
    """One chip to mask."""

    chip: Chip
    rgb: Path
    valid_share: float
    fingerprint: str


def mask_city(
    chips: Path, rgb: Path, folder: Path, settings: MaskSettings, bins: SpeedBins, threads: int = 1
) -> None:
    """Write `masks/{chip_id}.tif` for each chip with a label and a usable image, and `masks.csv`, which appears last.

    Every chip has a row. A chip without label file has no mask: it is not known to be without roads. A label without
    roads gives an empty mask. `masks.json` holds the pixels of each class, the class weights, and what made them.

    Args:
        chips: a chip table.
        rgb: the table of the 8-bit images of these chips; masks are cut where these have no data.
        folder: where the table and the masks go.
        settings: road width.
        bins: classes of speed.
        threads: cores to use.

    Raises:
        InputError: a table or a label cannot be read.
    """
    folder, rgb = Path(folder), Path(rgb)
    with locked(folder, "masks"), DoneChips(folder / ".masks.jsonl") as done:
        table = read_chips(chips)
        label = f"{table[0].city} {table[0].split}" if table else "no chips"
        images = _read_rgb(rgb)
        found: dict[str, dict[str, Any]] = {}
        jobs = []
        for chip in table:
            row = images.get(chip.chip_id)
            if row is None:
                raise InputError(f"{rgb}: chip {chip.chip_id} is not in it; run the prepare stage of this city again")
            empty = {"chip_id": chip.chip_id, "mask": "", "road_share": "", "classes": None}
            found[chip.chip_id] = empty
            if not row["rgb"]:
                empty["note"] = row["note"] or "no usable image"
            elif chip.label is None:
                empty["note"] = chip.note or "no label file"
            else:
                image = rgb.parent / row["rgb"]
                stamps = [file_stamp(path) if path.is_file() else None for path in (chip.label, image)]
                made_for = fingerprint(settings.model_dump(), bins.model_dump(), stamps, chip.note)
                entry = done.get(chip.chip_id, made_for)
                if entry is not None and (folder / entry["mask"]).is_file():
                    found[chip.chip_id] = entry
                else:
                    jobs.append(_Job(chip, image, float(row["valid_share"]), made_for))
        work = partial(_mask_chip, folder=folder, settings=settings, bins=bins)
        for entry in map_ordered(work, jobs, len(jobs), threads, f"masks {label}"):
            done.add(entry)
            found[entry["chip_id"]] = entry
            for note in entry["label_notes"]:
                log.info("%s: %s", entry["chip_id"], note)
        kept = {Path(entry["mask"]).name for entry in found.values() if entry["mask"]}
        for path in (folder / "masks").glob("*.tif"):
            if path.name not in kept:
                path.unlink()
        write_json(
            folder / "masks.json",
            {
                "bins": bins.model_dump(),
                **class_statistics([e["classes"] for e in found.values() if e["classes"]], bins),
                **provenance(settings.model_dump()),
            },
        )
        write_table(
            folder / "masks.csv", MASK_COLUMNS, ({name: e[name] for name in MASK_COLUMNS} for e in found.values())
        )


def draw_mask(
    labels: Labels, grid: Grid, settings: MaskSettings, bins: SpeedBins, valid: NDArray[np.bool_] | None = None
) -> NDArray[np.uint8]:
    """Draw roads into the grid of an image.

    Where roads overlap, the faster one is on top.

    Args:
        labels: roads in lon/lat.
        grid: the image's size and place.
        settings: road width.
        bins: classes of speed.
        valid: (rows, columns), where the image has data; the mask is 0 elsewhere.

    Returns:
        (rows, columns) uint8, 0 background, 1 … bins.count.

    Raises:
        InputError: the image has no georeference.
    """
    if grid.crs is None:
        raise InputError("the image has no georeference, so the label cannot be placed on it")
    if len(labels.lines):
        order = np.argsort(labels.speed_mph, kind="stable")
        areas = road_areas(labels, grid, settings)[order]
        shapes = zip(areas.tolist(), bins.classes(labels.speed_mph)[order].tolist(), strict=True)
        mask = rasterize(shapes, out_shape=(grid.height, grid.width), transform=grid.transform, dtype=np.uint8)
        mask = np.asarray(mask, np.uint8)
    else:
        mask = np.zeros((grid.height, grid.width), np.uint8)
    if valid is not None:
        mask[~valid] = 0
    return mask


def road_areas(labels: Labels, grid: Grid, settings: MaskSettings) -> NDArray[np.object_]:
    """Return each road as a polygon of its width, in the grid's CRS."""
    target = CRS.from_user_input(grid.crs)
    west, south, east, north = grid.bounds
    # Metres come from the image's own projection where it is in metres, else from the UTM zone of its middle.
    metric = target
    if target.is_geographic or any(axis.unit_name != "metre" for axis in target.axis_info):
        lon, lat = transformer(target, LONLAT).transform((west + east) / 2, (south + north) / 2)
        metric = utm_crs(lon, lat)
    half_width_m: float | NDArray[np.float64] = settings.half_width_m
    if settings.width_by_lanes:
        half_width_m = np.maximum(half_width_m, labels.lanes * settings.lane_width_m / 2)
    areas = shapely.buffer(project(labels.lines, LONLAT, metric), half_width_m, quad_segs=QUADRANT_SEGMENTS)
    return np.asarray(areas if metric == target else project(areas, metric, target), dtype=object)


def read_valid(image: Path) -> tuple[NDArray[np.bool_], Grid]:
    """Return where an image has data, (rows, columns), and its grid: a band other than 0 and no alpha band of 0.

    Raises:
        InputError: the image cannot be read.
    """
    pixels, grid = read_raster(image)
    with open_raster(image) as source:
        alpha = np.array([kind == ColorInterp.alpha for kind in source.colorinterp])
    valid = (pixels[~alpha] != 0).any(axis=0) & (pixels[alpha] != 0).all(axis=0)
    return np.asarray(valid, bool), grid


def class_statistics(counts: list[list[int]], bins: SpeedBins) -> dict[str, object]:
    """Return what is known of the classes over many masks.

    Args:
        counts: for each mask, the pixels of class 0 … bins.count.
        bins: the bins.

    Returns:
        `class_pixels`: pixels of each class; `class_weights`: for each class with pixels, the median share of such
        classes over its own (median frequency balancing, Eigen and Fergus 2015), 0 for classes without.
    """
    total = np.sum(counts, axis=0) if counts else np.zeros(bins.count + 1, np.int64)
    present = total > 0
    weights = np.zeros(len(total))
    if present.any():
        weights[present] = np.median(total[present]) / total[present]
    return {"class_pixels": total.tolist(), "class_weights": weights.round(6).tolist()}


def _mask_chip(job: _Job, folder: Path, settings: MaskSettings, bins: SpeedBins) -> dict[str, Any]:
    """Draw one chip's mask; return its row of the table and what the statistics need."""
    assert job.chip.label is not None
    labels = read_labels(job.chip.label)
    valid = None
    if job.valid_share < 1:
        valid, grid = read_valid(job.rgb)
    else:
        grid = read_grid(job.rgb)
    entry: dict[str, Any] = {"chip_id": job.chip.chip_id, "fingerprint": job.fingerprint, "label_notes": labels.notes}
    if grid.crs is None:
        return entry | {"mask": "", "road_share": "", "classes": None, "note": "image has no georeference"}
    mask = draw_mask(labels, grid, settings, bins, valid)
    counts = np.bincount(mask.ravel(), minlength=bins.count + 1)
    with_data = mask.size if valid is None else int(np.count_nonzero(valid))
    counts[0] -= mask.size - with_data
    notes = [job.chip.note]
    if len(labels.lines) and not mask.any():
        notes.append("its labelled roads lie outside the image's data")
    path = folder / "masks" / f"{job.chip.chip_id}.tif"
    write_raster(path, mask[None], grid, **FAST)
    return entry | {
        "mask": f"masks/{path.name}",
        "road_share": round(float(counts[1:].sum() / max(with_data, 1)), 6),
        "classes": counts.tolist(),
        "note": "; ".join(note for note in notes if note),
    }


def _read_rgb(path: Path) -> dict[str, dict[str, str]]:
    if not path.is_file():
        raise InputError(f"{path}: no such table of 8-bit images; run the prepare stage of this city first")
    return {row["chip_id"]: row for row in read_table(path)}
