"""One shard of a city: its chips through the networks to probability rasters, resumable chip by chip."""

import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from roadspeed.chips import Chip, read_chips
from roadspeed.errors import InputError
from roadspeed.files import (
    file_stamp,
    fingerprint,
    locked,
    provenance,
    read_table,
    write_json,
    write_table,
    write_text,
)
from roadspeed.host.cpus import use_own_cpus
from roadspeed.host.engine import choose_engine
from roadspeed.predict.calibration import training_images
from roadspeed.predict.context import Placed, bordered_size, neighbours_of, place, read_bordered
from roadspeed.predict.inference import Network, Predictor, load_networks
from roadspeed.predict.openvino import calibration_mark
from roadspeed.predict.settings import PredictSettings
from roadspeed.progress import Progress
from roadspeed.raster import Grid, write_raster
from roadspeed.train.checkpoint import read_record
from roadspeed.train.loader import bound_gdal_cache

log = logging.getLogger(__name__)

COLUMNS = ("chip_id", "probability", "role", "models", "note")
Role = Literal["validation", "train", "unseen"]
STATE = ".state"
NEUTRAL = {"engine", "window_px", "overlap_px", "whole_px"}
"""Settings that do not change a chip's result, beyond rounding."""
AHEAD = 2
"""Chips read ahead, and chips waiting to be written."""


@dataclass(frozen=True)
class Job:
    """One chip to predict."""

    chip_id: str
    image: Placed
    neighbours: tuple[Placed, ...]
    models: tuple[int, ...]
    """Places of the networks to average."""
    target: Path
    mark: str
    """Fingerprint of all that the result depends on."""


def predict_shard(
    rgb: Path,
    chips: Path,
    models: Sequence[Path],
    folds: Path | None,
    shard: int,
    shards: int,
    folder: Path,
    settings: PredictSettings,
    threads: int = 1,
    calibration: Sequence[Path] = (),
) -> None:
    """Predict one shard of a city's chips: neighbours on its grid, row by row.

    A chip that was validation in the fold of one of the networks is predicted by that one alone (role
    `validation`: the network never saw it); one that all were trained on by all (`train`); so is one that has no
    fold (`unseen`). Writes folder/prob/{chip_id}.tif and, last, folder/shard{shard}.csv with every chip of the
    shard. Chips finished earlier from the same inputs are kept.

    Args:
        rgb: table of the images: chip_id, rgb, note.
        chips: the chip table, which orders the chips and names all of them.
        models: checkpoints (model.safetensors).
        folds: table of the folds, or None when no chip was trained on.
        shard: number of this shard, from 0.
        shards: how many there are.
        folder: where the results go.
        settings: of the prediction.
        threads: cores to use.
        calibration: tables of the images of all cities that were trained on; INT8 is calibrated on those of each
            network's training chips.

    Raises:
        InputError: a checkpoint, table or image is missing or cannot be used.
    """
    if not 0 <= shard < shards:
        raise InputError(f"shard {shard} of {shards}; expected 0 to {shards - 1}")
    bound_gdal_cache()
    model_folds = [read_record(path).get("fold") for path in models]
    trained_on: list[list[Path]] = [[] for _ in models]
    if settings.precision == "int8" and folds is not None:
        known = {chip: path for table in calibration for chip, (path, _) in _images(table).items()}
        trained_on = [training_images(folds, known, fold) for fold in model_folds]
    state = folder / STATE
    with locked(state / f"shard{shard}", f"prediction of shard {shard}"):
        rows, jobs = plan_shard(
            read_chips(chips), _images(rgb), folds, models, model_folds, (shard, shards), folder, settings, trained_on
        )
        todo = _unfinished(jobs, state)
        if todo:
            engine = choose_engine(settings.engine, settings.precision, threads)
            shapes = list(dict.fromkeys(_bordered_shape(job.image.grid, settings.context_px) for job in todo))
            networks = load_networks(models, engine, shapes, settings.flips, trained_on)
            for job in run_jobs(todo, networks, settings, f"prediction of shard {shard}"):
                write_text(state / f"{job.chip_id}.mark", job.mark)
            made_by = {"models": [str(path) for path in models], "engine": engine.record()}
            write_json(folder / f"shard{shard}.json", provenance(settings.model_dump(mode="json"), **made_by))
        write_table(folder / f"shard{shard}.csv", COLUMNS, rows)


def plan_shard(
    table: Sequence[Chip],
    images: Mapping[str, tuple[Path | None, str]],
    folds: Path | None,
    models: Sequence[Path],
    model_folds: Sequence[int | None],
    shard: tuple[int, int],
    folder: Path,
    settings: PredictSettings,
    trained_on: Sequence[Sequence[Path]] = (),
) -> tuple[list[dict[str, str]], list[Job]]:
    """Return the shard's table, and a job for each of its chips that has an image."""
    mine = shard_of(table, *shard)
    placed: dict[str, Placed] = {}
    for chip in _near(table, mine):
        path, _ = images.get(chip.chip_id, (None, ""))
        if path is not None:
            placed[chip.chip_id] = place(path)
    numbers = {chip_id: number for number, chip_id in enumerate(placed)}
    surroundings = list(placed.values())
    fold_of = _folds(folds, table)
    stamps: list[object] = [file_stamp(path) for path in models]
    if settings.precision == "int8":
        stamps = [(stamp, calibration_mark(images)) for stamp, images in zip(stamps, trained_on, strict=True)]
    rows: list[dict[str, str]] = []
    jobs: list[Job] = []
    for chip in mine:
        _, note = images.get(chip.chip_id, (None, chip.note or "not in the table of images"))
        role, which = role_of(fold_of.get(chip.chip_id), model_folds)
        target = folder / "prob" / f"{chip.chip_id}.tif"
        image = placed.get(chip.chip_id)
        rows.append(
            {
                "chip_id": chip.chip_id,
                "probability": f"prob/{target.name}" if image else "",
                "role": role,
                "models": " ".join(f"fold{model_folds[i]}" for i in which) if image else "",
                "note": note,
            }
        )
        if image is not None:
            near = tuple(neighbours_of(surroundings, numbers[chip.chip_id], settings.context_px))
            made_of = [file_stamp(place.path) for place in (image, *near)]
            values = {k: v for k, v in settings.model_dump(mode="json").items() if k not in NEUTRAL}
            mark = fingerprint(values, [stamps[i] for i in which], made_of)
            jobs.append(Job(chip.chip_id, image, near, tuple(which), target, mark))
    return rows, jobs


def _unfinished(jobs: Sequence[Job], state: Path) -> list[Job]:
    """Return the jobs whose result is absent or was made from something else, and say how many are which."""
    todo, changed = [], 0
    for job in jobs:
        mark = state / f"{job.chip_id}.mark"
        if mark.is_file() and job.target.is_file():
            if mark.read_text() == job.mark:
                continue
            changed += 1
        todo.append(job)
    if changed:
        log.warning("%d chips are predicted afresh: their networks, images or settings changed", changed)
    if len(todo) < len(jobs):
        log.info("%d of %d chips are predicted already", len(jobs) - len(todo), len(jobs))
    return todo


def shard_of(chips: Sequence[Chip], shard: int, shards: int) -> list[Chip]:
    """Return a shard's chips: an equal block of the grid's rows, so that neighbours mostly share a shard."""
    ordered = sorted(chips, key=lambda chip: (chip.row, chip.column, chip.chip_id))
    return [ordered[i] for i in np.array_split(np.arange(len(ordered)), shards)[shard]]


def role_of(fold: int | None, model_folds: Sequence[int | None]) -> tuple[Role, list[int]]:
    """Return a chip's role and the places of the models to average for it.

    Args:
        fold: the chip's fold; None if it was in none.
        model_folds: the fold each model was validated on.
    """
    everyone = list(range(len(model_folds)))
    if fold is None:
        return "unseen", everyone
    own = [i for i in everyone if model_folds[i] == fold]
    return ("validation", own) if own else ("train", everyone)


def run_jobs(jobs: Sequence[Job], networks: Sequence[Network], settings: PredictSettings, what: str) -> Iterator[Job]:
    """Yield each job when its file is written; reading, network and writing overlap in three threads."""
    predictor = Predictor(networks, settings.flips)

    def read(job: Job) -> tuple[NDArray[np.uint8], tuple[slice, slice]]:
        return read_bordered(job.image, job.neighbours, predictor.bands, settings.context_px)

    def write(job: Job, pixels: NDArray[np.uint8]) -> Job:
        write_raster(job.target, pixels, job.image.grid)
        return job

    with (
        Progress(what, len(jobs), "chip") as progress,
        ThreadPoolExecutor(1, initializer=use_own_cpus) as reader,
        ThreadPoolExecutor(1, initializer=use_own_cpus) as writer,
    ):
        reading: deque[Future[tuple[NDArray[np.uint8], tuple[slice, slice]]]] = deque()
        writing: deque[Future[Job]] = deque()
        reading.extend(reader.submit(read, job) for job in jobs[:AHEAD])
        for number, job in enumerate(jobs):
            image, own = reading.popleft().result()
            if number + AHEAD < len(jobs):
                reading.append(reader.submit(read, jobs[number + AHEAD]))
            probability = predictor.probabilities(image, job.models)[:, own[0], own[1]]
            writing.append(writer.submit(write, job, probability))
            if len(writing) > AHEAD:
                yield writing.popleft().result()
            progress.update()
        for future in writing:
            yield future.result()


def _bordered_shape(grid: Grid, context_px: int) -> tuple[int, int]:
    return grid.height + sum(bordered_size(grid.height, context_px)), grid.width + sum(
        bordered_size(grid.width, context_px)
    )


def _images(rgb: Path) -> dict[str, tuple[Path | None, str]]:
    """Return image (None without one) and note by chip id."""
    if not rgb.is_file():
        raise InputError(f"{rgb}: no such table of images; run the prepare stage first")
    rows = read_table(rgb)
    if rows and not {"chip_id", "rgb"} <= set(rows[0]):
        raise InputError(f"{rgb}: has columns {', '.join(rows[0])}; expected chip_id and rgb among them")
    return {row["chip_id"]: (rgb.parent / row["rgb"] if row["rgb"] else None, row.get("note") or "") for row in rows}


def _folds(folds: Path | None, chips: Sequence[Chip]) -> dict[str, int]:
    """Return the fold by chip id, of this city and split only: another split may use the same chip numbers."""
    if folds is None:
        return {}
    if not folds.is_file():
        raise InputError(f"{folds}: no such table of folds; run the prepare stage first")
    places = {(chip.city, chip.split) for chip in chips}
    rows = [row for row in read_table(folds) if (row["city"], row["split"]) in places]
    return {row["chip_id"]: int(row["fold"]) for row in rows if row["fold"]}


def _near(table: Sequence[Chip], mine: Sequence[Chip]) -> list[Chip]:
    """Return the chips of a shard and those one grid row or column away: the only ones opened."""
    if not mine:
        return []
    low, high = min(chip.row for chip in mine) - 1, max(chip.row for chip in mine) + 1
    return [chip for chip in table if low <= chip.row <= high]
