"""What a raster still shows of a road near loose ends: the evidence by which gaps are closed."""

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roadspeed.compiled import compiled
from roadspeed.extract.georef import Frame
from roadspeed.extract.skeleton import CELL_PX, TILE, Skeleton

STEP_M = 0.5
"""Distance of the points at which a path is looked at."""


class Evidence:
    """The mean probability near loose ends, looked up at any place in metres of the frame."""

    def __init__(self, skeletons: list[Skeleton], frame: Frame) -> None:
        rows = np.concatenate([s.tile_rows for s in skeletons]).astype(np.int64)
        columns = np.concatenate([s.tile_columns for s in skeletons]).astype(np.int64)
        self.keys, place = np.unique(_tile_key(rows, columns), return_inverse=True)
        self.tiles = np.zeros((len(self.keys), TILE, TILE), np.uint8)
        # Windows overlap: what one of them knows of a tile adds to what another does.
        begin = 0
        for skeleton in skeletons:
            own = place[begin : begin + len(skeleton.tiles)]
            self.tiles[own] = np.maximum(self.tiles[own], skeleton.tiles)
            begin += len(own)
        self.cell_m = np.array([frame.width_m, frame.height_m]) * CELL_PX

    def at(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probability, 0 … 1, at (..., 2) points, interpolated; 0 far from all loose ends."""
        cells = np.ascontiguousarray(points / self.cell_m).reshape(-1, 2)
        return np.asarray(_interpolate(self.keys, self.tiles, cells)).reshape(points.shape[:-1])

    def unseen_m(self, path: NDArray[np.float64], below: float) -> float:
        """Return how many metres of a path have a probability lower than `below` (0 … 1)."""
        points = densify(path, STEP_M)
        step = np.sqrt((np.diff(points, axis=0) ** 2).sum(axis=1))
        return float(step[self.at((points[1:] + points[:-1]) / 2) < below].sum())


@compiled
def _tile_key(row: Any, column: Any) -> Any:
    return (row + (1 << 30)) * (1 << 32) + column + (1 << 30)


@compiled
def _interpolate(keys: Any, tiles: Any, cells: Any) -> Any:
    """Return the bilinear value / 255 at (n, 2) places: column and row in cells; a cell's value is its middle's."""
    values = np.zeros(len(cells))
    known = -1
    place = -1
    for i in range(len(cells)):
        x, y = cells[i, 0] - 0.5, cells[i, 1] - 0.5
        column, row = int(np.floor(x)), int(np.floor(y))
        x -= column
        y -= row
        for r in range(2):
            for c in range(2):
                key = _tile_key((row + r) // TILE, (column + c) // TILE)
                if key != known:
                    known = key
                    place = np.searchsorted(keys, key)
                    if place == len(keys) or keys[place] != key:
                        place = -1
                if place >= 0:
                    weight = (y if r else 1 - y) * (x if c else 1 - x)
                    values[i] += weight * tiles[place, (row + r) % TILE, (column + c) % TILE]
    return values / 255


def densify(path: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Return points along a path at most `step` apart, corners included."""
    parts = []
    for start, end in itertools.pairwise(path):
        count = max(1, int(np.ceil(np.linalg.norm(end - start) / step)))
        parts.append(start + (end - start) * np.linspace(0, 1, count, endpoint=False)[:, None])
    return np.concatenate([*parts, path[-1:]])
