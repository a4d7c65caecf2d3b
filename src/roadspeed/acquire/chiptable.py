"""The chip table of a city, from the files that were unpacked: pairs, label states, grid, oddities."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import shapely
from numpy.typing import NDArray

from roadspeed.chips import Chip, LabelState
from roadspeed.errors import InputError
from roadspeed.geojson import read_lines
from roadspeed.names import LABELS, PLAIN_LABELS, ChipName, parse_name
from roadspeed.parallel import map_ordered
from roadspeed.raster import open_raster
from roadspeed.tiff import is_cut_short

OVERLAP_SHARE = 0.01
OFF_GRID_SHARE = 0.05


@dataclass(frozen=True)
class _Files:
    """The files of one chip."""

    name: ChipName
    image: Path | None
    label: Path | None
    note: str


def build_chips(
    folder: Path,
    files: Sequence[str],
    city: str,
    split: str,
    unreadable_labels: Literal["stop", "missing"] = "stop",
    threads: int = 1,
) -> list[Chip]:
    """Make a city's chip table, sorted by AOI and number.

    Images and labels are joined by AOI and number. Every image and every label is in the table, with a note where it
    cannot be used or is odd. Labels with speeds are preferred over those without.

    Args:
        folder: where the files are.
        files: paths inside it, with SpaceNet names.
        city: the city's name in the config.
        split: the split's name.
        unreadable_labels: whether one ends the work or counts as missing.
        threads: cores to use.

    Raises:
        InputError: a label is unreadable, and that is to stop the work.
    """
    pairs = _pair(folder, files)
    work = partial(_read_chip, city=city, split=split, unreadable_labels=unreadable_labels)
    chips = list(map_ordered(work, pairs, len(pairs), threads, f"chip table {city} {split}"))
    if any(chip.label_state != "missing" for chip in chips):
        chips = [
            _noted(chip, "no label file") if chip.label is None and chip.image is not None else chip for chip in chips
        ]
    return _place(chips)


def _pair(folder: Path, files: Sequence[str]) -> list[_Files]:
    images: dict[tuple[int, int], list[tuple[ChipName, Path]]] = defaultdict(list)
    labels: dict[tuple[int, int], list[tuple[ChipName, Path]]] = defaultdict(list)
    for file in sorted(files):
        name = parse_name(file)
        assert name is not None, file
        group = labels if name.product in (LABELS, PLAIN_LABELS) else images
        group[name.aoi, name.number].append((name, folder / file))
    pairs = []
    for key in sorted(images | labels):
        # With speeds first, then by name.
        found = sorted(labels.get(key, []), key=lambda label: (label[0].product != LABELS, str(label[1])))
        label = found[0] if found else None
        note = "" if len(images[key]) < 2 else f"{len(images[key])} images have this AOI and number"
        pairs += [_Files(name, path, label[1] if label else None, note) for name, path in images[key]]
        if not images[key] and label:
            pairs.append(_Files(label[0], None, label[1], "no image"))
    return pairs


def _read_chip(files: _Files, city: str, split: str, unreadable_labels: str) -> Chip:
    name, notes = files.name, [files.note]
    state: LabelState = "missing"
    label = files.label
    if label is not None:
        try:
            state = "roads" if len(read_lines(label).lines) else "empty"
        except InputError as error:
            if unreadable_labels == "stop":
                raise InputError(f"{error}; repair it, or set unreadable_labels: missing") from error
            notes.append(f"label is unreadable: {_short(error, label)}")
            label = None
    chip = Chip(
        name.chip_id, city, split, name.aoi, name.number, files.image, label, state, -1, -1, 0, 0, 0, 0, 0, 0, ""
    )
    if files.image is not None:
        try:
            chip = _with_grid(chip, files.image)
        except InputError as error:
            notes.append(f"image is damaged: {_short(error, files.image)}")
    return replace(chip, note=_joined([*notes, chip.note]))


def _with_grid(chip: Chip, image: Path) -> Chip:
    with open_raster(image) as source:
        west, south, east, north = source.bounds
        found = replace(
            chip, width=source.width, height=source.height, west=west, south=south, east=east, north=north
        )
        if source.crs is None:
            return replace(found, note="image has no georeference")
        found = replace(found, crs=source.crs.to_string())
    with image.open("rb") as file:
        return replace(found, note="image is damaged: the file is cut short") if is_cut_short(file) else found


def _place(chips: list[Chip]) -> list[Chip]:
    """Give each chip its row and column, and name those that overlap or lie off the grid."""
    usable = [i for i, chip in enumerate(chips) if chip.crs]
    if not usable:
        return chips
    common = Counter((chips[i].crs, chips[i].width, chips[i].height) for i in usable).most_common(1)[0][0]
    for i in usable:
        chip = chips[i]
        if (chip.width, chip.height) != common[1:]:
            chips[i] = _noted(chip, f"size {chip.width}×{chip.height}, most have {common[1]}×{common[2]}")
        if chip.crs != common[0]:
            chips[i] = _noted(chip, f"CRS {chip.crs}, most have {common[0]}")
    usable = [i for i in usable if chips[i].crs == common[0]]
    columns, off_x = _grid_index(np.array([(chips[i].west, chips[i].east - chips[i].west) for i in usable]))
    rows, off_y = _grid_index(np.array([(-chips[i].north, chips[i].north - chips[i].south) for i in usable]))
    for k, i in enumerate(usable):
        chips[i] = replace(chips[i], row=int(rows[k]), column=int(columns[k]))
        off = max(off_x[k], off_y[k])
        if off > OFF_GRID_SHARE:
            chips[i] = _noted(chips[i], f"off the grid by {off:.0%} of a chip")
    boxes = shapely.box(*np.array([(chips[i].west, chips[i].south, chips[i].east, chips[i].north) for i in usable]).T)
    for a, b in shapely.STRtree(boxes).query(boxes, predicate="intersects").T:
        share = shapely.area(boxes[a] & boxes[b]) / min(shapely.area(boxes[a]), shapely.area(boxes[b]))
        if a != b and share > OVERLAP_SHARE:
            chips[usable[a]] = _noted(chips[usable[a]], f"overlaps {chips[usable[b]].chip_id} by {share:.0%}")
    return chips


def _grid_index(starts: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the grid index from 0 of each chip along one axis, and how far it lies off, in steps.

    Counting goes from neighbour to neighbour, so a step that is not quite a chip's width does not add up.

    Args:
        starts: (n, 2) where each chip starts, and its width.
    """
    places = starts[:, 0]
    width = float(np.median(starts[:, 1]))
    order = np.argsort(places, kind="stable")
    gaps = np.diff(places[order])
    near = gaps[(gaps > 0.5 * width) & (gaps < 1.5 * width)]
    step = float(np.median(near)) if len(near) else width
    # Begin on the grid that most chips share, not on one that lies off it.
    phase = (places - places[order[0]]) / step % 1
    around = np.sort(np.concatenate([phase - 1, phase, phase + 1]))
    first, last = (np.searchsorted(around, phase + side * OFF_GRID_SHARE) for side in (-1, 1))
    start = phase[np.argmax(last - first)]
    index, off = np.empty(len(places), np.int64), np.empty(len(places))
    count, anchor = 0, places[order[0]] + (start - (start > 0.5)) * step
    for k in order:
        steps = (places[k] - anchor) / step
        index[k] = count + round(steps)
        off[k] = abs(steps - round(steps))
        if off[k] <= OFF_GRID_SHARE:
            count, anchor = int(index[k]), places[k]
    return index - index.min(), off


def _noted(chip: Chip, note: str) -> Chip:
    return replace(chip, note=_joined([chip.note, note]))


def _joined(notes: Sequence[str]) -> str:
    return "; ".join(note for note in notes if note)


def _short(error: InputError, path: Path) -> str:
    return " ".join(str(error).removeprefix(f"{path}: ").split())
