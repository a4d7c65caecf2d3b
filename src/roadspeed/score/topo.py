"""TOPO: from places in the truth, walk both networks and match what is met on the way, point by point.

Biagioni, Eriksson, Inferring road maps from GPS traces: survey and comparative evaluation, TRR 2291, 2012. The
truth's points are holes, the proposal's are marbles; a marble fills one hole within reach, matched so that the most
are filled.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial import KDTree

from roadspeed.score.network import Floats, Network, Points, control_points
from roadspeed.score.settings import ScoreSettings


@dataclass(frozen=True)
class Topo:
    """TOPO over all origins, each 0 to 1."""

    precision: float
    """Share of marbles that fill a hole."""
    recall: float
    """Share of holes that are filled."""
    f1: float


def topo(truth: Network, proposal: Network, settings: ScoreSettings) -> Topo | None:
    """Return TOPO of a proposal, from origins drawn with the seed among the truth's control points.

    An origin that the proposal does not pass within `snap_m` leaves its holes empty. None without any truth.

    Args:
        truth: the true network.
        proposal: the network to score, in the same projection.
        settings: `topo_origins`, `topo_radius_m`, `topo_spacing_m`, `control_spacing_m`, `snap_m`, `seed`.
    """
    origins = control_points(truth, settings.control_spacing_m)
    if not len(origins):
        return None
    if len(origins) > settings.topo_origins:
        rng = np.random.default_rng(settings.seed)
        origins = origins.take(np.sort(rng.choice(len(origins), settings.topo_origins, replace=False)))
    starts = proposal.snap(origins.xy, settings.snap_m)
    holes = marbles = filled = 0
    for number in range(len(origins)):
        hole_xy = reachable(truth, origins, number, settings.topo_radius_m, settings.topo_spacing_m)
        holes += len(hole_xy)
        if starts.edge[number] < 0:
            continue
        marble_xy = reachable(proposal, starts, number, settings.topo_radius_m, settings.topo_spacing_m)
        marbles += len(marble_xy)
        filled += _matched(hole_xy, marble_xy, settings.snap_m)
    precision = filled / marbles if marbles else 0.0
    recall = filled / holes
    f1 = 2 * precision * recall / (precision + recall) if filled else 0.0
    return Topo(precision, recall, f1)


def reachable(network: Network, points: Points, number: int, radius_m: float, spacing_m: float) -> Floats:
    """Return the places at 0, spacing, 2 × spacing … up to radius metres from a point, along all roads.

    Args:
        network: the network.
        points: points on it.
        number: which of them is the start.
        radius_m: how far to go.
        spacing_m: distance between places along the way.

    Returns:
        (m, 2) metres; a place that can be met from two sides at the same distance comes once.
    """
    edge, at_m = int(points.edge[number]), float(points.position_m[number])
    ends, length_m = network.edge_ends[edge], network.edge_length_m
    rows = network.distances(ends)
    to_node = np.minimum(rows[0] + at_m, rows[1] + length_m[edge] - at_m)
    found_edge, found_at = [np.array([edge])], [np.array([at_m])]
    steps = np.arange(1, int(radius_m / spacing_m + 1e-9) + 1) * spacing_m
    for sign in (-1, 1):
        at = at_m + sign * steps
        at = at[(at >= 0) & (at <= length_m[edge])]
        through = np.minimum(to_node[ends[0]] + at, to_node[ends[1]] + length_m[edge] - at)
        at = at[np.abs(at - at_m) <= through + 1e-6]
        found_edge.append(np.full(len(at), edge))
        found_at.append(at)
    # All edges are entered from both ends; a place belongs to the way by which it is nearest.
    enter = to_node[network.edge_ends]
    for end in (0, 1):
        which = np.flatnonzero(enter[:, end] < radius_m)
        into = steps[None, :] - enter[which, end][:, None]
        whole = length_m[which][:, None]
        along = into if end == 0 else whole - into
        nearest = steps[None, :] <= enter[which, 1 - end][:, None] + whole - into + 1e-6
        nearest &= (which[:, None] != edge) | (steps[None, :] <= np.abs(along - at_m) + 1e-6)
        keep = (into > 1e-6) & (into <= whole + 1e-6) & nearest
        row, _ = np.nonzero(keep)
        found_edge.append(which[row])
        found_at.append(np.clip(along[keep], 0.0, length_m[which[row]]))
    places = network.points_at(np.concatenate(found_edge), np.concatenate(found_at)).xy
    cells = np.unique(np.rint(places / 0.01).astype(np.int64), axis=0, return_index=True)[1]
    return places[np.sort(cells)]


def _matched(holes: Floats, marbles: Floats, limit_m: float) -> int:
    """Return how many marbles can fill a hole of their own within the limit."""
    near = KDTree(holes).query_ball_tree(KDTree(marbles), limit_m)
    hole = np.repeat(np.arange(len(holes)), [len(found) for found in near])
    marble = np.array([m for found in near for m in found], dtype=np.int64)
    if not len(marble):
        return 0
    graph = coo_array((np.ones(len(hole), np.int8), (hole, marble)), shape=(len(holes), len(marbles)))
    return int((maximum_bipartite_matching(graph.tocsr(), perm_type="column") >= 0).sum())
