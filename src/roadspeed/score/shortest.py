"""Compiled kernels over road networks: chains of segments, shortest distances, and the comparison of all pairs.

Strategy: road networks are nearly planar, so eliminating node by node, the one with the fewest neighbours first, adds
few shortcuts: some 8 edges a node in all. With these, the distances from a node to all others are one short walk up
and one pass down over the nodes, without a queue: Delling, Goldberg, Nowatzyk, Werneck, PHAST: hardware-accelerated
shortest path trees, 2011, on the elimination order of Dibbelt, Strasser, Wagner, Customizable contraction
hierarchies, 2014. Exact, and in a city some 20 times as fast as a Dijkstra from each node. All kernels release the
interpreter's lock, so that threads work on blocks of sources side by side.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
LANES = 8
"""Sources that one pass down serves together, in the lanes of a vector register."""


class Hierarchy(NamedTuple):
    """A graph of n nodes ready for distances; nodes are in the order of their elimination."""

    rank: Ints
    """(n,) place of each node in the order."""
    up_ptr: Ints
    """(n + 1,) where each place's list of later neighbours begins."""
    up: Ints
    """(m,) places of these neighbours."""
    weights: Floats
    """(2, m) costs of going there, for two kinds of weight."""
    parent: Ints
    """(n,) the first of a place's later neighbours, -1 without any."""


def adjacency(first: Ints, second: Ints, nodes: int) -> tuple[Ints, Ints, Ints]:
    """Return CSR adjacency of an undirected multigraph.

    Args:
        first: (e,) int64 node at one end of each edge.
        second: (e,) int64 node at the other end; a self-loop is entered twice.
        nodes: number of nodes.

    Returns:
        indptr (nodes + 1,), neighbour (2e,), edge (2e,): all int64.
    """
    here, there = np.concatenate([first, second]), np.concatenate([second, first])
    order = np.argsort(here, kind="stable")
    indptr = np.zeros(nodes + 1, np.int64)
    np.cumsum(np.bincount(here, minlength=nodes), out=indptr[1:])
    return indptr, there[order], order % max(len(first), 1)


@njit(cache=True, nogil=True)
def walk_chains(first: Ints, second: Ints, indptr: Ints, incident: Ints, is_key: NDArray[np.bool_]) -> Any:
    """Join segments into edges that run from key node to key node.

    Args:
        first: (s,) node at each segment's start.
        second: (s,) node at its end, never the same as its start.
        indptr: (n + 1,) CSR offsets.
        incident: (2s,) segments at each node.
        is_key: (n,) whether edges end at a node; all other nodes have exactly two segments.

    Returns:
        order (s,): segments in the order they are walked; flipped (s,): walked from second to first;
        edge_first (e + 1,): where each edge begins in `order`. Chains without any key node are not walked.
    """
    segments = len(first)
    order = np.empty(segments, np.int64)
    flipped = np.empty(segments, np.bool_)
    edge_first = np.empty(segments + 1, np.int64)
    used = np.zeros(segments, np.bool_)
    edges = 0
    count = 0
    for start in range(len(is_key)):
        if not is_key[start]:
            continue
        for slot in range(indptr[start], indptr[start + 1]):
            segment = incident[slot]
            if used[segment]:
                continue
            edge_first[edges] = count
            edges += 1
            node = start
            while True:
                used[segment] = True
                order[count] = segment
                flipped[count] = first[segment] != node
                count += 1
                node = first[segment] if flipped[count - 1] else second[segment]
                if is_key[node]:
                    break
                at = indptr[node]
                segment = incident[at + 1] if incident[at] == segment else incident[at]
    edge_first[edges] = count
    return order[:count], flipped[:count], edge_first[: edges + 1]


def build_hierarchy(first: Ints, second: Ints, weights: Floats, nodes: int) -> Hierarchy:
    """Return the hierarchy of an undirected multigraph.

    Args:
        first: (e,) int64 node at one end of each edge; loops and parallel edges are allowed.
        second: (e,) int64 node at the other end.
        weights: (2, e) cost of each edge, not negative, for two kinds of weight.
        nodes: number of nodes.
    """
    indptr, neighbour, edge = adjacency(first, second, nodes)
    return Hierarchy(*_eliminate(indptr, neighbour, np.ascontiguousarray(weights.T[edge])))


@njit(cache=True, nogil=True)
def _eliminate(indptr: Ints, neighbour: Ints, costs: Floats) -> Any:
    """Eliminate all nodes, one of least degree at a time, joining its neighbours by shortcuts.

    Lists of neighbours lie in one pool; a list that outgrows its place moves to the end. Nodes of equal degree are
    chained, so that the next one is found without a search.
    """
    nodes = len(indptr) - 1
    pool = np.empty(4 * len(neighbour) + 16, np.int64)
    cost = np.empty((len(pool), 2))
    start, size, room = indptr[:-1].copy(), np.zeros(nodes, np.int64), np.diff(indptr)
    end = len(neighbour)
    where = np.full(nodes, -1, np.int64)
    for node in range(nodes):
        for slot in range(indptr[node], indptr[node + 1]):
            other = neighbour[slot]
            if other == node:
                continue
            at = where[other]
            if at < 0:
                at = start[node] + size[node]
                where[other] = at
                pool[at] = other
                cost[at] = costs[slot]
                size[node] += 1
            else:
                cost[at, 0] = min(cost[at, 0], costs[slot, 0])
                cost[at, 1] = min(cost[at, 1], costs[slot, 1])
        for at in range(start[node], start[node] + size[node]):
            where[pool[at]] = -1

    head = np.full(nodes + 1, -1, np.int64)
    following, previous = np.full(nodes, -1, np.int64), np.full(nodes, -1, np.int64)
    for node in range(nodes - 1, -1, -1):
        _chain(node, size[node], head, following, previous)

    rank, order = np.empty(nodes, np.int64), np.empty(nodes, np.int64)
    up_ptr = np.zeros(nodes + 1, np.int64)
    up = np.empty(4 * len(neighbour) + 16, np.int64)
    up_cost = np.empty((2, len(up)))
    degree = 0
    for place in range(nodes):
        while head[degree] < 0:
            degree += 1
        node = head[degree]
        _unchain(node, degree, head, following, previous)
        rank[node], order[place] = place, node
        first, count = start[node], size[node]
        total = up_ptr[place] + count
        up_ptr[place + 1] = total
        if total > len(up):
            up = np.concatenate((up, np.empty(total + len(up), np.int64)))
            more = np.empty((2, len(up)))
            more[:, : up_cost.shape[1]] = up_cost
            up_cost = more
        for k in range(count):
            up[total - count + k] = pool[first + k]
            up_cost[0, total - count + k] = cost[first + k, 0]
            up_cost[1, total - count + k] = cost[first + k, 1]
        for k in range(count):
            mine = pool[first + k]
            _unchain(mine, size[mine], head, following, previous)
            if size[mine] - 1 + count > room[mine]:
                room[mine] = 2 * (size[mine] + count)
                if end + room[mine] > len(pool):
                    pool = np.concatenate((pool, np.empty(len(pool) + room[mine], np.int64)))
                    cost = np.concatenate((cost, np.empty((len(pool) - len(cost), 2))))
                pool[end : end + size[mine]] = pool[start[mine] : start[mine] + size[mine]]
                cost[end : end + size[mine]] = cost[start[mine] : start[mine] + size[mine]]
                start[mine] = end
                end += room[mine]
            for at in range(start[mine], start[mine] + size[mine]):
                where[pool[at]] = at
            # The eliminated node's own entry makes way for the last of the list.
            last, gone = start[mine] + size[mine] - 1, where[node]
            where[pool[last]] = gone
            where[node] = -1
            pool[gone] = pool[last]
            cost[gone] = cost[last]
            size[mine] -= 1
            for j in range(count):
                other = pool[first + j]
                if other == mine:
                    continue
                via_0, via_1 = cost[first + k, 0] + cost[first + j, 0], cost[first + k, 1] + cost[first + j, 1]
                at = where[other]
                if at < 0:
                    at = start[mine] + size[mine]
                    where[other] = at
                    pool[at] = other
                    cost[at, 0], cost[at, 1] = via_0, via_1
                    size[mine] += 1
                else:
                    cost[at, 0] = min(cost[at, 0], via_0)
                    cost[at, 1] = min(cost[at, 1], via_1)
            for at in range(start[mine], start[mine] + size[mine]):
                where[pool[at]] = -1
            _chain(mine, size[mine], head, following, previous)
            degree = min(degree, size[mine])

    parent = np.full(nodes, -1, np.int64)
    for place in range(nodes):
        for slot in range(up_ptr[place], up_ptr[place + 1]):
            up[slot] = rank[up[slot]]
            if parent[place] < 0 or up[slot] < parent[place]:
                parent[place] = up[slot]
    total = up_ptr[nodes]
    return rank, up_ptr, up[:total].copy(), up_cost[:, :total].copy(), parent


@njit(cache=True, nogil=True)
def _chain(node: int, degree: int, head: Ints, following: Ints, previous: Ints) -> None:
    following[node], previous[node] = head[degree], -1
    if head[degree] >= 0:
        previous[head[degree]] = node
    head[degree] = node


@njit(cache=True, nogil=True)
def _unchain(node: int, degree: int, head: Ints, following: Ints, previous: Ints) -> None:
    if previous[node] >= 0:
        following[previous[node]] = following[node]
    else:
        head[degree] = following[node]
    if following[node] >= 0:
        previous[following[node]] = previous[node]


def distance_rows(sources: Ints, hierarchy: Hierarchy, kind: int = 0) -> Floats:
    """Return shortest distances from some nodes to all.

    Args:
        sources: (r,) nodes.
        hierarchy: of n nodes.
        kind: which of the two weights, 0 or 1.

    Returns:
        (r, n) float64, infinite where there is no path.
    """
    rank, up_ptr, up, weights, parent = hierarchy
    return np.asarray(_rows(sources, rank, up_ptr, up, weights[kind], parent))


@njit(cache=True, nogil=True)
def _rows(sources: Ints, rank: Ints, up_ptr: Ints, up: Ints, weights: Floats, parent: Ints) -> Floats:
    nodes = len(rank)
    rows = np.empty((len(sources), nodes))
    lanes = np.empty((nodes, LANES))
    for begin in range(0, len(sources), LANES):
        count = min(LANES, len(sources) - begin)
        lanes[:] = np.inf
        for lane in range(count):
            place = rank[sources[begin + lane]]
            lanes[place, lane] = 0.0
            while place >= 0:
                here = lanes[place, lane]
                for slot in range(up_ptr[place], up_ptr[place + 1]):
                    longer = here + weights[slot]
                    if longer < lanes[up[slot], lane]:
                        lanes[up[slot], lane] = longer
                place = parent[place]
        for place in range(nodes - 1, -1, -1):
            for slot in range(up_ptr[place], up_ptr[place + 1]):
                there, weight = up[slot], weights[slot]
                for lane in range(LANES):
                    longer = lanes[there, lane] + weight
                    lanes[place, lane] = longer if longer < lanes[place, lane] else lanes[place, lane]
        for node in range(nodes):
            for lane in range(count):
                rows[begin + lane, node] = lanes[rank[node], lane]
    return rows


@njit(cache=True, nogil=True)
def _from_point(row_a: Floats, row_b: Floats, to_a: float, to_b: float, out: Floats) -> None:
    """Write the distances from a point on an edge to all nodes."""
    for node in range(len(out)):
        by_a, by_b = to_a + row_a[node], to_b + row_b[node]
        out[node] = by_a if by_a < by_b else by_b


@njit(cache=True, nogil=True)
def _to_points(
    first: int, nodes: Floats, ends: Ints, offsets: Floats, edge: Ints, own_edge: int, own_offset: float, out: Floats
) -> None:
    """Write the distances from one point to the points numbered `first` and up."""
    for j in range(first, len(out)):
        by_a, by_b = nodes[ends[0, j]] + offsets[0, j], nodes[ends[1, j]] + offsets[1, j]
        best = by_a if by_a < by_b else by_b
        along = abs(offsets[0, j] - own_offset)
        out[j] = along if edge[j] == own_edge and along < best else best


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "nsz"})
def _losses(first: int, own: int, x: Floats, y: Floats, min_path: float, result: Floats) -> None:
    """Sum up what paths y lose against paths x, for the points numbered `first` and up."""
    paths, missing, longer, shorter = 0.0, 0.0, 0.0, 0.0
    for j in range(first, len(x)):
        counts = x[j] > min_path and x[j] < np.inf and j != own
        gone = y[j] == np.inf
        change = (y[j] - x[j]) / x[j]
        paths += 1.0 if counts else 0.0
        missing += 1.0 if counts and gone else 0.0
        longer += (change if change < 1.0 else 1.0) if counts and not gone and change > 0.0 else 0.0
        shorter += -change if counts and change < 0.0 else 0.0
    result[0], result[1], result[2], result[3] = paths, missing, longer, shorter


@njit(cache=True, nogil=True)
def compare_pairs(
    sources: Ints,
    rows_x: Floats,
    row_of_x: Ints,
    edge_x: Ints,
    ends_x: Ints,
    offsets_x: Floats,
    rows_y: Floats,
    row_of_y: Ints,
    edge_y: Ints,
    ends_y: Ints,
    offsets_y: Floats,
    min_path: float,
    once: bool,
) -> Floats:
    """Compare the paths between points in graph x with the paths between the same points in graph y.

    A point lies on an edge, at a distance from each of the edge's two ends; its distance to another point is the
    least over the four pairs of ends, or along the edge that both lie on.

    Args:
        sources: (b,) points whose paths to the n points are compared.
        rows_x: (r, nodes of x) distances from the ends of the sources' edges.
        row_of_x: (nodes of x,) the row of each such end.
        edge_x: (n,) edge of each point.
        ends_x: (2, n) the edge's end nodes.
        offsets_x: (2, n) distance from the point to each end, along the edge.
        rows_y: the same in graph y.
        row_of_y: the same in graph y.
        edge_y: the same in graph y; -1, with infinite offsets, where the point is not in y.
        ends_y: the same in graph y.
        offsets_y: the same in graph y.
        min_path: paths of x that are not longer are not compared.
        once: compare each source with the points after it only; a path there is a path back.

    Returns:
        (b, 4) for each source: number of paths compared, and the sum of min(1, |x - y| / x) over them, split into
        paths that y lacks, paths longer in y, and paths shorter in y.
    """
    result = np.zeros((len(sources), 4))
    nodes_x, nodes_y = np.empty(rows_x.shape[1]), np.empty(rows_y.shape[1])
    x, y = np.empty(len(edge_x)), np.full(len(edge_x), np.inf)
    for s in range(len(sources)):
        i = sources[s]
        first = i + 1 if once else 0
        _from_point(
            rows_x[row_of_x[ends_x[0, i]]], rows_x[row_of_x[ends_x[1, i]]], offsets_x[0, i], offsets_x[1, i], nodes_x
        )
        _to_points(first, nodes_x, ends_x, offsets_x, edge_x, edge_x[i], offsets_x[0, i], x)
        if edge_y[i] >= 0:
            row_a, row_b = rows_y[row_of_y[ends_y[0, i]]], rows_y[row_of_y[ends_y[1, i]]]
            _from_point(row_a, row_b, offsets_y[0, i], offsets_y[1, i], nodes_y)
            _to_points(first, nodes_y, ends_y, offsets_y, edge_y, edge_y[i], offsets_y[0, i], y)
        else:
            y[:] = np.inf
        _losses(first, i, x, y, min_path, result[s])
    return result
