"""Compiled kernels over road networks: chains of segments, Dijkstra rows, and the comparison of all pairs.

Strategy: the graphs are stored as CSR adjacency (neighbours of node n at indptr[n]:indptr[n+1]). All kernels release
the interpreter's lock, so that threads work on blocks of sources side by side.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


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


@njit(cache=True, nogil=True)
def distance_rows(sources: Ints, indptr: Ints, neighbours: Ints, weights: Floats) -> Floats:
    """Return shortest distances from some nodes to all: Dijkstra with a binary heap, old entries left to expire.

    Args:
        sources: (r,) nodes.
        indptr: (n + 1,) CSR offsets.
        neighbours: (m,) node at the other end.
        weights: (m,) cost of each entry, not negative.

    Returns:
        (r, n) float64, infinite where there is no path.
    """
    nodes = len(indptr) - 1
    rows = np.full((len(sources), nodes), np.inf)
    heap_cost = np.empty(len(neighbours) + 1, np.float64)
    heap_node = np.empty(len(neighbours) + 1, np.int64)
    for r in range(len(sources)):
        row = rows[r]
        row[sources[r]] = 0.0
        heap_cost[0] = 0.0
        heap_node[0] = sources[r]
        size = 1
        while size > 0:
            cost, node = heap_cost[0], heap_node[0]
            size -= 1
            last_cost, last_node = heap_cost[size], heap_node[size]
            hole = 0
            while True:
                child = 2 * hole + 1
                if child >= size:
                    break
                if child + 1 < size and heap_cost[child + 1] < heap_cost[child]:
                    child += 1
                if heap_cost[child] >= last_cost:
                    break
                heap_cost[hole] = heap_cost[child]
                heap_node[hole] = heap_node[child]
                hole = child
            heap_cost[hole] = last_cost
            heap_node[hole] = last_node
            if cost > row[node]:
                continue
            for slot in range(indptr[node], indptr[node + 1]):
                other = neighbours[slot]
                longer = cost + weights[slot]
                if longer < row[other]:
                    row[other] = longer
                    hole = size
                    size += 1
                    while hole > 0:
                        parent = (hole - 1) // 2
                        if heap_cost[parent] <= longer:
                            break
                        heap_cost[hole] = heap_cost[parent]
                        heap_node[hole] = heap_node[parent]
                        hole = parent
                    heap_cost[hole] = longer
                    heap_node[hole] = other
    return rows


@njit(cache=True, nogil=True, inline="always")
def _point_to_nodes(rows: Floats, row_of: Ints, a: int, b: int, to_a: float, to_b: float, out: Floats) -> None:
    row_a, row_b = rows[row_of[a]], rows[row_of[b]]
    for node in range(len(out)):
        out[node] = min(to_a + row_a[node], to_b + row_b[node])


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
) -> Floats:
    """Compare the paths between points in graph x with the paths between the same points in graph y.

    A point lies on an edge, at a distance from each of the edge's two ends; its distance to another point is the
    least over the four pairs of ends, or along the edge that both lie on.

    Args:
        sources: (b,) points whose paths to all n points are compared.
        rows_x: (r, nodes of x) distances from the ends of the sources' edges.
        row_of_x: (nodes of x,) the row of each such end.
        edge_x: (n,) edge of each point.
        ends_x: (n, 2) the edge's end nodes.
        offsets_x: (n, 2) distance from the point to each end, along the edge.
        rows_y: the same in graph y.
        row_of_y: the same in graph y.
        edge_y: the same in graph y; -1 where the point is not in y.
        ends_y: the same in graph y.
        offsets_y: the same in graph y.
        min_path: paths of x that are not longer are not compared.

    Returns:
        (b, 4) for each source: number of paths compared, and the sum of min(1, |x - y| / x) over them, split into
        paths that y lacks, paths longer in y, and paths shorter in y.
    """
    result = np.zeros((len(sources), 4))
    from_x = np.empty(rows_x.shape[1])
    from_y = np.empty(rows_y.shape[1])
    for s in range(len(sources)):
        i = sources[s]
        _point_to_nodes(rows_x, row_of_x, ends_x[i, 0], ends_x[i, 1], offsets_x[i, 0], offsets_x[i, 1], from_x)
        found = edge_y[i] >= 0
        if found:
            _point_to_nodes(rows_y, row_of_y, ends_y[i, 0], ends_y[i, 1], offsets_y[i, 0], offsets_y[i, 1], from_y)
        paths, missing, longer, shorter = 0, 0.0, 0.0, 0.0
        for j in range(len(edge_x)):
            x = min(from_x[ends_x[j, 0]] + offsets_x[j, 0], from_x[ends_x[j, 1]] + offsets_x[j, 1])
            if edge_x[j] == edge_x[i]:
                x = min(x, abs(offsets_x[j, 0] - offsets_x[i, 0]))
            if j == i or not (min_path < x < np.inf):
                continue
            paths += 1
            if not found or edge_y[j] < 0:
                missing += 1.0
                continue
            y = min(from_y[ends_y[j, 0]] + offsets_y[j, 0], from_y[ends_y[j, 1]] + offsets_y[j, 1])
            if edge_y[j] == edge_y[i]:
                y = min(y, abs(offsets_y[j, 0] - offsets_y[i, 0]))
            if y == np.inf:
                missing += 1.0
            elif y > x:
                longer += min(1.0, (y - x) / x)
            else:
                shorter += (x - y) / x
        result[s, 0] = paths
        result[s, 1] = missing
        result[s, 2] = longer
        result[s, 3] = shorter
    return result
