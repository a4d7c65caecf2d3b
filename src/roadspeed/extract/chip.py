"""From the probabilities of one chip, or of a mosaic of them, to its road graph."""

import numpy as np
import shapely
from numpy.typing import NDArray

from roadspeed.errors import InputError
from roadspeed.extract.centre import centre_junctions
from roadspeed.extract.evidence import Evidence
from roadspeed.extract.georef import lonlat_lines
from roadspeed.extract.join import close_gaps, reach_border
from roadspeed.extract.mosaic import Mosaic, single
from roadspeed.extract.network import Network
from roadspeed.extract.prune import contract_clusters, drop_doubles, drop_small, prune_spurs
from roadspeed.extract.roads import RoadGraph, empty_graph, make_graph
from roadspeed.extract.settings import ExtractSettings
from roadspeed.extract.skeleton import CELL_PX, Skeleton, extract_skeleton
from roadspeed.extract.speed import edge_speeds, split_at_changes
from roadspeed.extract.trace import trace
from roadspeed.geo import lengths_m
from roadspeed.raster import Grid
from roadspeed.speedbins import SpeedBins

FORK_M = 3.0
"""Thinning splits the end of a road towards its two corners; such branches are no longer than half its width."""


def extract_raster(
    pixels: NDArray[np.uint8],
    grid: Grid,
    settings: ExtractSettings | None = None,
    bins: SpeedBins | None = None,
    name: str = "",
) -> RoadGraph:
    """Return the road graph of one raster of probabilities.

    Args:
        pixels: (bins + 1, rows, columns) uint8, probability × 255: one band a speed bin, then all roads.
        grid: where the raster lies.
        settings: defaults if None.
        bins: the speed bins the bands stand for; defaults if None.
        name: name of the chip, for the graph and for messages.

    Raises:
        InputError: the number of bands is not bins + 1, or the raster has no place on the ground.
    """
    settings, bins = settings or ExtractSettings(), bins or SpeedBins()
    check_bands(pixels.shape[0], str(pixels.dtype), bins, name or "raster")
    mosaic = single(pixels, grid, name or "raster")
    skeletons = [extract_skeleton(mosaic, *window, bins.bands, settings) for window in windows(mosaic, settings)]
    return build_graph(mosaic, skeletons, settings, bins, name)


def windows(mosaic: Mosaic, settings: ExtractSettings) -> list[tuple[int, int, int, int]]:
    """Return row, column, height, width of the windows that have data: of equal size, about `window_px` a side.

    The size may be up to a quarter larger, so that no narrow windows are left over.
    """
    top, left, bottom, right = mosaic.extent
    top, left = top // CELL_PX * CELL_PX, left // CELL_PX * CELL_PX
    cuts = []
    for first, end in ((top, bottom), (left, right)):
        count = max(1, round((end - first) / settings.window_px + 0.25))
        side = max(CELL_PX, -(-(end - first) // (count * CELL_PX)) * CELL_PX)
        cuts.append([(start, min(side, end - start)) for start in range(first, end, side)])
    boxes = [(row, column, height, width) for row, height in cuts[0] for column, width in cuts[1]]
    return [box for box in boxes if mosaic.touches(*box)]


def check_bands(count: int, dtype: str, bins: SpeedBins, name: str) -> None:
    """Raise InputError where a raster is not a prediction."""
    if count != bins.bands:
        raise InputError(
            f"{name}: has {count} bands, expected {bins.bands} ({bins.count} speed bins, then all roads)"
        )
    if dtype != "uint8":
        raise InputError(f"{name}: pixels are {dtype}, expected uint8 (probability × 255)")


def build_graph(
    mosaic: Mosaic, skeletons: list[Skeleton], settings: ExtractSettings, bins: SpeedBins, name: str = ""
) -> RoadGraph:
    """Return the road graph of all centre-line pixels of a mosaic's windows."""
    rows = np.concatenate([s.rows for s in skeletons])
    columns = np.concatenate([s.columns for s in skeletons])
    values = np.concatenate([np.column_stack([s.probability / np.float32(255), s.bins]) for s in skeletons])
    order = np.lexsort((columns, rows))
    rows, columns = rows[order], columns[order]
    frame = mosaic.frame
    network = trace(rows, columns, frame.metres(rows, columns), values[order].astype(np.float32))
    if not network.lines:
        return empty_graph()
    prune_spurs(network, FORK_M, np.zeros(len(network.xy), bool), forks=True)
    reach_border(network, mosaic, settings)
    evidence = Evidence(skeletons, frame)
    # Twice, since what the first round leaves as spurs keeps ends from meeting.
    for _ in range(2):
        close_gaps(network, evidence, settings)
        prune_spurs(network, settings.spur_m, _leaving(network, mosaic))
    contract_clusters(network, settings.cluster_m)
    network.merge()
    drop_doubles(network, settings.cluster_m)
    centre_junctions(network)
    drop_small(network, settings.component_m, settings.high, _leaving(network, mosaic))
    if not network.lines:
        return empty_graph()
    split_at_changes(network, bins, settings)
    speeds = edge_speeds(network, bins, settings)
    flat, offsets = network.flat()
    counts = np.diff(offsets)
    lines = shapely.linestrings(network.xy[flat], indices=np.repeat(np.arange(len(counts)), counts))
    lines = shapely.simplify(lines, settings.simplify_m, preserve_topology=False)
    geometry = lonlat_lines(frame, shapely.get_coordinates(lines), shapely.get_num_coordinates(lines))
    ends = network.ends()
    nodes, index = np.unique(ends, return_inverse=True)
    index = index.reshape(-1, 2)
    return make_graph(
        frame.lonlat(network.xy[nodes]), index[:, 0], index[:, 1], geometry, lengths_m(geometry), speeds, name
    )


def _leaving(network: Network, mosaic: Mosaic) -> NDArray[np.bool_]:
    """Tell which points are line ends at the border of the data: within two pixels of no data."""
    result = np.zeros(len(network.xy), bool)
    ends = np.unique(network.ends())
    if len(ends):
        step = 2 * mosaic.frame.pixel_m
        offsets = np.array([[step, 0], [-step, 0], [0, step], [0, -step]])
        around = (network.xy[ends][:, None] + offsets[None]).reshape(-1, 2)
        result[ends] = ~mosaic.inside(around).reshape(-1, 4).all(axis=1)
    return result
