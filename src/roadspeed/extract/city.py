"""The extract stage of a city: one graph a chip, and one network over all chips, continued across their borders.

Strategy: chips are independent of each other and go to the job's cores. For the joined network the chips are
one mosaic, reduced window by window to its centre-line pixels, again on all cores; the network is built from
those at the end. So memory holds one window a core and the network, never the city's pixels. What is finished
is kept in a hidden folder until the outputs are written, so that a kill costs seconds.
"""

import logging
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray

from roadspeed import __version__
from roadspeed.chips import read_chips
from roadspeed.errors import InputError
from roadspeed.extract.chip import build_graph, check_bands, extract_raster, windows
from roadspeed.extract.mosaic import Mosaic, place, single
from roadspeed.extract.roads import RoadGraph, empty_graph, make_graph, write_geopackage, write_graphml
from roadspeed.extract.settings import ExtractSettings
from roadspeed.extract.skeleton import Skeleton, extract_skeleton, halo_px
from roadspeed.files import atomic, file_stamp, fingerprint, locked, provenance, read_table, write_json
from roadspeed.parallel import map_ordered
from roadspeed.progress import track
from roadspeed.raster import Grid, open_raster, read_raster
from roadspeed.speedbins import SpeedBins

log = logging.getLogger(__name__)

STATE = ".extract-state"


def extract_city(
    chips: Path,
    shards: Sequence[Path],
    folder: Path,
    settings: ExtractSettings,
    bins: SpeedBins,
    threads: int = 1,
) -> None:
    """Write roads.gpkg and roads.graphml (the joined network) and chips.gpkg (one graph a chip).

    Args:
        chips: the city's chip table.
        shards: tables of predictions: chip_id, probability (path relative to the table, or empty).
        folder: where the files go.
        settings: see there.
        bins: the speed bins the predictions' bands stand for.
        threads: cores this job may use.

    Raises:
        InputError: a table or a prediction cannot be used.
    """
    predictions = read_predictions(chips, shards)
    with locked(folder, "extract"):
        state = folder / STATE
        graphs = extract_chips(predictions, settings, bins, threads, state)
        roads = extract_mosaic(list(predictions.values()), settings, bins, threads, state)
        write_geopackage(graphs, folder / "chips.gpkg")
        write_geopackage(roads, folder / "roads.gpkg")
        write_graphml(roads, folder / "roads.graphml")
        record = provenance(settings.model_dump(), bins=bins.model_dump(), chips=len(predictions))
        write_json(folder / "roads.json", record)
        shutil.rmtree(state, ignore_errors=True)
    log.info(
        "%s: %.1f km of road, %d nodes, %d edges",
        folder,
        roads.length_m.sum() / 1000,
        len(roads.node_xy),
        len(roads.u),
    )


def read_predictions(chips: Path, shards: Sequence[Path]) -> dict[str, Path]:
    """Return the prediction of each chip that has one, in the chip table's order.

    Raises:
        InputError: a table is missing or is not one, or a prediction's file is missing.
    """
    found: dict[str, Path] = {}
    for shard in shards:
        if not shard.is_file():
            raise InputError(f"{shard}: no such table of predictions; run the predict stage first")
        for row in read_table(shard):
            if "chip_id" not in row or "probability" not in row:
                raise InputError(f"{shard}: has no columns chip_id and probability; make it again")
            if row["probability"]:
                found[row["chip_id"]] = shard.parent / row["probability"]
    ordered = {chip.chip_id: found[chip.chip_id] for chip in read_chips(chips) if chip.chip_id in found}
    for path in ordered.values():
        if not path.is_file():
            raise InputError(f"{path}: no such prediction; run the predict stage again")
    return ordered


def extract_chips(
    predictions: dict[str, Path], settings: ExtractSettings, bins: SpeedBins, threads: int, state: Path | None = None
) -> list[RoadGraph]:
    """Return one graph a chip; finished ones are kept in `state` and not made again."""
    key = fingerprint(__version__, settings.model_dump(), bins.model_dump())
    work = partial(_chip, settings=settings, bins=bins, state=state and state / "chips", key=key)
    return list(map_ordered(work, predictions.items(), len(predictions), threads, "roads"))


def _chip(
    item: tuple[str, Path], settings: ExtractSettings, bins: SpeedBins, state: Path | None, key: str
) -> RoadGraph:
    name, path = item
    kept = state and state / f"{name}.{fingerprint(key, file_stamp(path))}.npz"
    if kept and kept.is_file():
        return _load_graph(kept, name)
    pixels, grid = read_raster(path)
    check_bands(pixels.shape[0], str(pixels.dtype), bins, str(path))
    graph = extract_raster(pixels, grid, settings, bins, name)
    if kept:
        _keep(kept, name, _graph_arrays(graph))
    return graph


def extract_mosaic(
    paths: Sequence[Path],
    settings: ExtractSettings,
    bins: SpeedBins,
    threads: int = 1,
    state: Path | None = None,
    name: str = "",
) -> RoadGraph:
    """Return one network over rasters that lie side by side; roads go on from one to the next.

    Raises:
        InputError: a raster is no prediction, or they cannot lie on one pixel grid.
    """
    if not paths:
        return empty_graph()
    grids = [_checked_grid(path, bins) for path in paths]
    mosaic = single(paths[0], grids[0], str(paths[0])) if len(paths) == 1 else place(paths, grids)
    boxes = windows(mosaic, settings)
    margin = halo_px(settings, mosaic.frame.pixel_m)
    items = [
        (box, mosaic.part(box[0] - margin, box[1] - margin, box[2] + 2 * margin, box[3] + 2 * margin))
        for box in boxes
    ]
    key = fingerprint(__version__, settings.model_dump(), bins.model_dump(), [f.name for f in fields(Skeleton)])
    work = partial(_window, settings=settings, bands=bins.bands, state=state and state / "windows", key=key)
    skeletons = _on_threads(work, items, threads)
    return build_graph(mosaic, skeletons, settings, bins, name)


def _on_threads(
    work: Callable[[tuple[tuple[int, int, int, int], Mosaic]], Skeleton],
    items: Sequence[tuple[tuple[int, int, int, int], Mosaic]],
    threads: int,
) -> list[Skeleton]:
    """Return `work` of each window, in order.

    Threads, not processes: reading, OpenCV and the compiled loops all let go of Python's lock, and there is
    nothing to start or to send.
    """
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    pool = ThreadPoolExecutor(threads)
    try:
        return list(track(pool.map(work, items), "road network", len(items), "window"))
    finally:
        pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(before)


def _window(
    item: tuple[tuple[int, int, int, int], Mosaic],
    settings: ExtractSettings,
    bands: int,
    state: Path | None,
    key: str,
) -> Skeleton:
    box, mosaic = item
    name = "_".join(map(str, box))
    kept = None
    if state:
        pieces = [(p.row, p.column, file_stamp(p.source)) for p in mosaic.pieces if isinstance(p.source, Path)]
        kept = state / f"{name}.{fingerprint(key, pieces)}.npz"
        if kept.is_file():
            with np.load(kept, allow_pickle=False) as arrays:
                return Skeleton(**arrays)
    skeleton = extract_skeleton(mosaic, *box, bands, settings)
    if kept:
        _keep(kept, name, vars(skeleton))
    return skeleton


def _checked_grid(path: Path, bins: SpeedBins) -> Grid:
    with open_raster(path) as source:
        check_bands(source.count, source.dtypes[0], bins, str(path))
        return Grid(source.width, source.height, source.crs, source.transform)


def _keep(path: Path, name: str, arrays: dict[str, NDArray[np.generic]]) -> None:
    """Write finished work; what an earlier run with other inputs or settings kept of the same is removed."""
    for old in path.parent.glob(f"{name}.*.npz"):
        log.info("%s: inputs or settings changed, made afresh", name)
        old.unlink(missing_ok=True)
    with atomic(path) as temporary:
        np.savez(temporary, allow_pickle=False, **arrays)


def _graph_arrays(graph: RoadGraph) -> dict[str, NDArray[np.generic]]:
    return {
        "node_xy": graph.node_xy,
        "u": graph.u,
        "v": graph.v,
        "points": shapely.get_coordinates(graph.geometry),
        "counts": shapely.get_num_coordinates(graph.geometry),
        "length_m": graph.length_m,
        "speed_mph": graph.speed_mph,
    }


def _load_graph(path: Path, name: str) -> RoadGraph:
    with np.load(path, allow_pickle=False) as arrays:
        index = np.repeat(np.arange(len(arrays["counts"])), arrays["counts"])
        lines = np.asarray(shapely.linestrings(arrays["points"], indices=index), object).reshape(-1)
        return make_graph(
            arrays["node_xy"], arrays["u"], arrays["v"], lines, arrays["length_m"], arrays["speed_mph"], name
        )
