"""From lines to a metric road network: where edges meet, how long they are, and which point lies where on them.

Lines are joined where they share a vertex, as the labels mean it and as the reference metric does; lines that only
cross are not joined. Vertices with exactly two neighbours are the shape of an edge, all others are its ends.
Strategy: everything is arrays; nodes are numbered by their place, so the network is the same whatever the order,
direction or cutting of the lines.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from roadspeed.errors import InputError
from roadspeed.score.shortest import Hierarchy, adjacency, build_hierarchy, distance_rows, walk_chains
from roadspeed.speedbins import MPH_TO_MPS

GRID_M = 0.001
"""Vertices closer than about a millimetre are one: rounding in files and projections must not cut roads."""
AT_NODE_M = 0.05
"""A point this close to an edge's end, along the edge, is the end (as in the reference)."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Points:
    """Places on a network's edges; all arrays have one entry a point."""

    edge: Ints
    """(n,) edge, or -1 for a point that is not on the network."""
    position_m: Floats
    """(n,) metres from the edge's first end, along it."""
    position_s: Floats
    """(n,) seconds from the edge's first end; NaN where speeds are unknown."""
    xy: Floats
    """(n, 2) metres in the network's projection."""

    def __len__(self) -> int:
        return len(self.edge)

    def take(self, index: Ints) -> "Points":
        """Return some of the points."""
        return Points(self.edge[index], self.position_m[index], self.position_s[index], self.xy[index])


@dataclass(frozen=True)
class Network:
    """An undirected road network in metres. Segments are stored edge by edge, in the order they are travelled."""

    node_xy: Floats
    """(k, 2) the nodes at which edges end."""
    edge_ends: Ints
    """(e, 2) first and last node of each edge."""
    edge_first: Ints
    """(e + 1,) where each edge's segments begin."""
    start_xy: Floats
    """(s, 2) start of each segment."""
    end_xy: Floats
    """(s, 2) end of each segment."""
    length_m: Floats
    """(s,) length of each segment."""
    time_s: Floats
    """(s,) travel time of each segment; NaN where the speed is unknown."""
    from_m: Floats
    """(s,) metres from the edge's first end to the segment's start."""
    from_s: Floats
    """(s,) seconds likewise."""

    def __len__(self) -> int:
        return len(self.edge_ends)

    @cached_property
    def edge_length_m(self) -> Floats:
        """(e,) metres."""
        return _sums(self.length_m, self.edge_first)

    @cached_property
    def edge_time_s(self) -> Floats:
        """(e,) seconds."""
        return _sums(self.time_s, self.edge_first)

    @property
    def total_m(self) -> float:
        """Metres of road."""
        return float(self.length_m.sum())

    @property
    def has_times(self) -> bool:
        """Whether every segment's travel time is known."""
        return not np.isnan(self.time_s).any()

    @cached_property
    def edge_of_segment(self) -> Ints:
        """(s,) the edge each segment belongs to."""
        return np.repeat(np.arange(len(self)), np.diff(self.edge_first))

    @cached_property
    def hierarchy(self) -> Hierarchy:
        """The nodes prepared for distances by length and by time."""
        weights = np.stack([self.edge_length_m, self.edge_time_s])
        return build_hierarchy(self.edge_ends[:, 0], self.edge_ends[:, 1], weights, len(self.node_xy))

    def distances(self, nodes: Ints, weight: str = "length") -> Floats:
        """Return shortest distances (r, k) by `length` in metres or `time` in seconds from r nodes to all k."""
        return distance_rows(nodes, self.hierarchy, int(weight == "time"))

    @cached_property
    def tree(self) -> shapely.STRtree:
        """Spatial index of the segments."""
        return shapely.STRtree(shapely.linestrings(np.stack([self.start_xy, self.end_xy], axis=1)))

    def edge_weights(self, weight: str) -> Floats:
        """Return the edges' `length` in metres or `time` in seconds."""
        return self.edge_time_s if weight == "time" else self.edge_length_m

    def edge_lines(self) -> NDArray[np.object_]:
        """Return (e,) LineStrings in the network's projection."""
        counts = np.diff(self.edge_first)
        last = self.edge_first[1:] - 1
        xy = np.insert(self.start_xy, self.edge_first[1:], self.end_xy[last], axis=0)
        return np.atleast_1d(shapely.linestrings(xy, indices=np.repeat(np.arange(len(self)), counts + 1)))

    def points_at(self, edge: Ints, position_m: Floats) -> Points:
        """Return the points at some distances along edges.

        Args:
            edge: (n,) edges.
            position_m: (n,) metres from each edge's first end, 0 to its length.
        """
        start = np.concatenate([[0.0], np.cumsum(self.edge_length_m)])
        along = start[edge] + position_m
        segment_start = start[self.edge_of_segment] + self.from_m
        segment = np.searchsorted(segment_start, along, side="right") - 1
        segment = np.clip(segment, self.edge_first[edge], self.edge_first[edge + 1] - 1)
        share = np.clip((position_m - self.from_m[segment]) / self.length_m[segment], 0.0, 1.0)
        return self._on_segments(segment, share)

    def snap(self, xy: Floats, limit_m: float) -> Points:
        """Return the nearest point of the network to each of some places, edge -1 where none is near enough.

        Of several edges at the same distance the first in the network's own order is taken, which depends on
        geometry only.

        Args:
            xy: (n, 2) metres.
            limit_m: farthest distance in metres.
        """
        segment = np.full(len(xy), -1, np.int64)
        if len(self) and len(xy):
            which, near = self.tree.query_nearest(shapely.points(xy), max_distance=limit_m, all_matches=True)
            order = np.lexsort((near, which))
            found, first = np.unique(which[order], return_index=True)
            segment[found] = near[order][first]
        hit = segment >= 0
        on = segment[hit]
        along = self.end_xy[on] - self.start_xy[on]
        share = ((xy[hit] - self.start_xy[on]) * along).sum(1) / (self.length_m[on] ** 2)
        snapped = self._on_segments(on, np.clip(share, 0.0, 1.0))
        edge, position_m, position_s = segment.copy(), np.full(len(xy), np.nan), np.full(len(xy), np.nan)
        place = np.full((len(xy), 2), np.nan)
        edge[hit], position_m[hit], place[hit] = snapped.edge, snapped.position_m, snapped.xy
        position_s[hit] = snapped.position_s
        return Points(edge, position_m, position_s, place)

    def _on_segments(self, segment: Ints, share: Floats) -> Points:
        """Return points at some shares (0 … 1) of segments; those at an edge's end are put on it exactly."""
        edge = self.edge_of_segment[segment]
        position_m = self.from_m[segment] + share * self.length_m[segment]
        position_s = self.from_s[segment] + share * self.time_s[segment]
        xy = self.start_xy[segment] + share[:, None] * (self.end_xy[segment] - self.start_xy[segment])
        rest_m = self.edge_length_m[edge] - position_m
        at_first = position_m <= np.minimum(AT_NODE_M, rest_m)
        at_last = ~at_first & (rest_m <= AT_NODE_M)
        position_m = np.where(at_first, 0.0, np.where(at_last, self.edge_length_m[edge], position_m))
        position_s = np.where(at_first, 0.0, np.where(at_last, self.edge_time_s[edge], position_s))
        return Points(edge, position_m, position_s, xy)

    def offsets(self, points: Points, weight: str) -> tuple[Ints, Floats]:
        """Return the end nodes (2, n) of the points' edges and the `length` or `time` to each (2, n).

        Points that are not on the network get node 0 and infinite offsets.
        """
        on = points.edge >= 0
        edge = np.where(on, points.edge, 0)
        if not len(self):
            return np.zeros((2, len(points)), np.int64), np.full((2, len(points)), np.inf)
        position = points.position_s if weight == "time" else points.position_m
        rest = np.maximum(self.edge_weights(weight)[edge] - position, 0.0)
        offsets = np.where(on, np.stack([position, rest]), np.inf)
        return np.where(on, self.edge_ends[edge].T, 0), offsets


def control_points(network: Network, spacing_m: float) -> Points:
    """Return the nodes of a network and evenly spaced points on its longer edges.

    An edge shorter than 0.75 × spacing gets none, one up to the spacing its middle, a longer one points at equal
    distances of at most the spacing.

    Args:
        network: the network.
        spacing_m: the spacing Δ in metres.
    """
    if not len(network):
        empty = np.empty(0)
        return Points(np.empty(0, np.int64), empty, empty, np.empty((0, 2)))
    ends = network.edge_ends
    _, first = np.unique(ends.T.ravel(), return_index=True)
    node_edge = first % len(network)
    node_position = np.where(first < len(network), 0.0, network.edge_length_m[node_edge])
    length_m = network.edge_length_m
    edge_pieces = pieces(network, spacing_m)
    inner_edge, number = _numbered(edge_pieces - 1)
    inner_position = length_m[inner_edge] * (number + 1) / edge_pieces[inner_edge]
    edge = np.concatenate([node_edge, inner_edge])
    position_m = np.concatenate([node_position, inner_position])
    order = np.lexsort((position_m, edge))
    return network.points_at(edge[order], position_m[order])


def pieces(network: Network, spacing_m: float) -> Ints:
    """Return into how many pieces the control points cut each edge; see `control_points`."""
    # A millimetre less, so that rounding does not decide about edges of round lengths.
    length_m = network.edge_length_m - GRID_M
    counts = np.where(
        length_m < 0.75 * spacing_m, 1, np.where(length_m <= spacing_m, 2, np.ceil(length_m / spacing_m))
    )
    return counts.astype(np.int64)


def cut_edges(network: Network, spacing_m: float) -> tuple[Points, Points]:
    """Return the two ends of each piece between neighbouring control points, edge by edge."""
    edge_pieces = pieces(network, spacing_m)
    edge, number = _numbered(edge_pieces)
    step_m = network.edge_length_m[edge] / edge_pieces[edge]
    return network.points_at(edge, number * step_m), network.points_at(edge, (number + 1) * step_m)


def _numbered(counts: Ints) -> tuple[Ints, Ints]:
    """Return owner and number (from 0) of each of `counts[i]` things that belong to i."""
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(len(owner)) - (np.cumsum(counts) - counts)[owner]


def build_network(lines: NDArray[np.object_], speed_mph: Floats, min_component_m: float = 0.0) -> Network:
    """Build the network of some lines.

    Args:
        lines: (n,) LineStrings in metres (a local projection); zero-length, repeated and reversed ones do no harm.
        speed_mph: (n,) speed of each line, NaN where unknown. Where lines lie on each other the fastest counts.
        min_component_m: connected parts whose longest shortest path is shorter, in metres, are left out.

    Raises:
        InputError: coordinates are not finite, or reach farther than one projection can.
    """
    xy, line = shapely.get_coordinates(lines, return_index=True)
    node, place = _nodes(xy)
    inside = line[1:] == line[:-1]
    a, b = node[:-1][inside], node[1:][inside]
    speed_mps = np.asarray(speed_mph, float)[line[:-1][inside]] * MPH_TO_MPS
    a, b, speed_mps = _unique_segments(a, b, speed_mps, len(place))
    if min_component_m > 0:
        keep = _large_enough(a, b, place, min_component_m)
        a, b, speed_mps = a[keep], b[keep], speed_mps[keep]

    degree = np.bincount(np.concatenate([a, b]), minlength=len(place))
    is_key = (degree != 2) & (degree > 0)
    is_key[_ring_starts(a, b, is_key, degree > 0)] = True
    indptr, _, incident = adjacency(a, b, len(place))
    order, flipped, edge_first = walk_chains(a, b, indptr, incident, is_key)
    start = np.where(flipped, b[order], a[order])
    end = np.where(flipped, a[order], b[order])

    length_m = np.hypot(*(place[end] - place[start]).T)
    time_s = length_m / speed_mps[order]
    key_number = np.cumsum(is_key) - 1
    last = edge_first[1:] - 1
    ends = np.column_stack([key_number[start[edge_first[:-1]]], key_number[end[last]]])
    return Network(
        node_xy=place[is_key],
        edge_ends=ends.astype(np.int64).reshape(-1, 2),
        edge_first=edge_first,
        start_xy=place[start],
        end_xy=place[end],
        length_m=length_m,
        time_s=time_s,
        from_m=_running(length_m, edge_first),
        from_s=_running(time_s, edge_first),
    )


def _nodes(xy: Floats) -> tuple[Ints, Floats]:
    """Number the distinct vertices by x, then y; return each vertex's number and the numbered places."""
    if not len(xy):
        return np.empty(0, np.int64), np.empty((0, 2))
    if not np.isfinite(xy).all() or np.ptp(xy, axis=0).max() > 2e6:
        raise InputError(
            "roads reach farther than 2,000 km or lie outside of the local projection; score one area at a time"
        )
    cells = np.rint((xy - np.floor(xy.min(0))) / GRID_M).astype(np.int64)
    _, first, number = np.unique((cells[:, 0] << 32) | cells[:, 1], return_index=True, return_inverse=True)
    return number.astype(np.int64), xy[first]


def _unique_segments(a: Ints, b: Ints, speed_mps: Floats, nodes: int) -> tuple[Ints, Ints, Floats]:
    """Drop segments without length, and of equal ones keep the fastest; sort them by their nodes."""
    low, high = np.minimum(a, b), np.maximum(a, b)
    key = low * nodes + high
    key[low == high] = -1
    order = np.lexsort((-speed_mps, key))
    _, first = np.unique(key[order], return_index=True)
    keep = order[first]
    keep = keep[key[keep] >= 0]
    return low[keep], high[keep], speed_mps[keep]


def _components(a: Ints, b: Ints, nodes: int) -> Ints:
    graph = coo_array((np.ones(len(a), np.int8), (a, b)), shape=(nodes, nodes))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def _large_enough(a: Ints, b: Ints, place: Floats, min_m: float) -> NDArray[np.bool_]:
    """Return which segments belong to a component whose longest shortest path reaches `min_m`.

    A path is at least as long as the distance between its ends, so only components with a bounding box smaller
    than `min_m` need their paths.
    """
    if not len(a):
        return np.zeros(0, bool)
    label = _components(a, b, len(place))
    order = np.argsort(label, kind="stable")
    starts = np.flatnonzero(np.diff(label[order], prepend=-1))
    size = np.maximum.reduceat(place[order], starts) - np.minimum.reduceat(place[order], starts)
    large = size.max(1) >= min_m
    length_m = np.hypot(*(place[b] - place[a]).T)
    in_component = label[a]
    total_m = np.bincount(in_component, length_m, minlength=len(large))
    for component in np.flatnonzero(~large & (total_m >= min_m)):
        mine = in_component == component
        nodes, ends = np.unique(np.concatenate([a[mine], b[mine]]), return_inverse=True)
        weights = np.stack([length_m[mine]] * 2)
        hierarchy = build_hierarchy(ends[: mine.sum()], ends[mine.sum() :], weights, len(nodes))
        rows = distance_rows(np.arange(len(nodes)), hierarchy)
        large[component] = rows.max() >= min_m
    return np.asarray(large[in_component], bool)


def _ring_starts(a: Ints, b: Ints, is_key: NDArray[np.bool_], used: NDArray[np.bool_]) -> Ints:
    """Return one node, the first in order, of each component that has no node where edges end."""
    if not len(a) or len(a) < 3:
        return np.empty(0, np.int64)
    label = _components(a, b, len(is_key))
    has_key = np.bincount(label, is_key) > 0
    labels, first = np.unique(label, return_index=True)
    return np.asarray(first[~has_key[labels] & used[first]], np.int64)


def _running(values: Floats, edge_first: Ints) -> Floats:
    """Return, for each segment, the sum of the values before it on its edge."""
    before = np.cumsum(values) - values
    return before - np.repeat(before[edge_first[:-1]], np.diff(edge_first)) if len(values) else before


def _sums(values: Floats, edge_first: Ints) -> Floats:
    return np.add.reduceat(values, edge_first[:-1]) if len(values) else np.empty(0)
