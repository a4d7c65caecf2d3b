"""The network while it is being made: points in metres and lines through them, changed step by step.

A line is an array of point numbers; its first and last point are nodes, and lines meet where they share a
node. So joining, cutting and contracting change a few numbers and never copy coordinates.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components


class Network:
    """Points (x, y in metres), what is known at each, and the lines through them."""

    def __init__(
        self, xy: NDArray[np.float64], values: NDArray[np.float32], lines: Iterable[NDArray[np.int64]]
    ) -> None:
        self.xy = xy
        """(n, 2) metres."""
        self.values = values
        """(n, k) smoothed probability, then the speed bins; zeros where no road was seen."""
        self.lines = list(lines)

    def flat(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return all lines' points one after another, and (lines + 1,) where each begins."""
        if not self.lines:
            return np.empty(0, np.int64), np.zeros(1, np.int64)
        counts = np.fromiter((len(line) for line in self.lines), np.int64, len(self.lines))
        return np.concatenate(self.lines), np.concatenate([[0], np.cumsum(counts)])

    def lengths(self) -> NDArray[np.float64]:
        """Return the length of each line in metres."""
        flat, offsets = self.flat()
        if not len(flat):
            return np.empty(0)
        steps = np.diff(self.xy[flat], axis=0, append=self.xy[flat[-1:]])
        along = np.sqrt((steps**2).sum(axis=1))
        along[offsets[1:] - 1] = 0
        return np.add.reduceat(along, offsets[:-1])

    def ends(self) -> NDArray[np.int64]:
        """Return (lines, 2) first and last point of each line."""
        flat, offsets = self.flat()
        if not len(flat):
            return np.empty((0, 2), np.int64)
        return np.column_stack([flat[offsets[:-1]], flat[offsets[1:] - 1]])

    def degrees(self) -> NDArray[np.int64]:
        """Return for each point how many line ends it is."""
        return np.bincount(self.ends().ravel(), minlength=len(self.xy))

    def add_points(self, xy: NDArray[np.float64]) -> NDArray[np.int64]:
        """Add points without evidence; return their numbers."""
        first = len(self.xy)
        self.xy = np.concatenate([self.xy, xy])
        self.values = np.concatenate([self.values, np.zeros((len(xy), self.values.shape[1]), np.float32)])
        return np.arange(first, len(self.xy))

    def keep(self, chosen: NDArray[np.bool_]) -> None:
        """Drop the lines that are not chosen."""
        self.lines = [line for line, wanted in zip(self.lines, chosen, strict=True) if wanted]

    def components(self) -> NDArray[np.int64]:
        """Return for each line the number of the connected network it belongs to."""
        ends = self.ends()
        size = len(self.xy)
        matrix = coo_matrix((np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1])), shape=(size, size))
        return np.asarray(connected_components(matrix, directed=False)[1][ends[:, 0]], np.int64)

    def cut(self, points: Iterable[int]) -> None:
        """Cut lines where they pass through any of these points."""
        wanted = np.fromiter(points, np.int64)
        if not len(wanted):
            return
        flat, offsets = self.flat()
        hit = np.isin(flat, wanted)
        hit[offsets[:-1]] = False
        hit[offsets[1:] - 1] = False
        lines = []
        which = np.searchsorted(offsets, np.flatnonzero(hit), side="right") - 1
        places: dict[int, list[int]] = {}
        for line, place in zip(which.tolist(), np.flatnonzero(hit).tolist(), strict=True):
            places.setdefault(line, []).append(place - int(offsets[line]))
        for number, line in enumerate(self.lines):
            begin = 0
            for place in places.get(number, ()):
                lines.append(line[begin : place + 1])
                begin = place
            lines.append(line[begin:])
        self.lines = lines

    def merge(self) -> None:
        """Make one line of two wherever just two lines meet; rings without a branch become one closed line."""
        degrees = self.degrees()
        ends = self.ends()
        inner = degrees == 2
        if not inner[ends].any():
            return
        at: dict[int, list[int]] = {}
        for number, (a, b) in enumerate(ends.tolist()):
            if inner[a]:
                at.setdefault(a, []).append(number)
            if inner[b]:
                at.setdefault(b, []).append(number)
        used = np.zeros(len(self.lines), bool)
        lines: list[NDArray[np.int64]] = []

        def follow(number: int, start: int) -> list[NDArray[np.int64]]:
            """Collect lines from `number`, begun at point `start`, until a node that is not inner."""
            path = []
            while True:
                used[number] = True
                line = self.lines[number]
                if line[0] != start:
                    line = line[::-1]
                path.append(line)
                start = int(line[-1])
                if not inner[start]:
                    return path
                number = next((other for other in at[start] if not used[other]), -1)
                if number < 0:
                    return path

        for closed in (False, True):
            for number, (a, b) in enumerate(ends.tolist()):
                if used[number] or (not closed and inner[a] and inner[b]):
                    continue
                path = follow(number, b if inner[a] and not inner[b] else a)
                lines.append(np.concatenate([path[0], *(part[1:] for part in path[1:])]))
        self.lines = lines
