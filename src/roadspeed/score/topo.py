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

from roadspeed.score.network import Floats, Ints, Network, Points, control_points
from roadspeed.score.settings import ScoreSettings

SLACK_M = 1e-6
"""Rounding of distances along roads."""


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
    found = np.flatnonzero(starts.edge >= 0)
    reach = (settings.topo_radius_m, settings.topo_spacing_m)
    hole_origin, hole_xy = reachable(truth, origins, *reach)
    marble_origin, marble_xy = reachable(proposal, starts.take(found), *reach)
    filled = _matched(hole_origin, hole_xy, found[marble_origin], marble_xy, settings.snap_m)
    precision = filled / len(marble_xy) if filled else 0.0
    recall = filled / len(hole_xy)
    return Topo(precision, recall, 2 * precision * recall / (precision + recall) if filled else 0.0)


def reachable(network: Network, starts: Points, radius_m: float, spacing_m: float) -> tuple[Ints, Floats]:
    """Return the places at 0, spacing, 2 × spacing … up to radius metres from points, along all roads.

    Args:
        network: the network.
        starts: n points on it.
        radius_m: how far to go.
        spacing_m: distance between places along the way.

    Returns:
        (m,) number of the start, and (m, 2) metres; a place that can be met from two sides at the same distance
        comes once.
    """
    if not len(starts):
        return np.empty(0, np.int64), np.empty((0, 2))
    length_m, at_m = network.edge_length_m, starts.position_m
    ends, offsets = network.offsets(starts, "length")
    nodes, row = np.unique(ends, return_inverse=True)
    rows = network.distances(nodes)
    to_node = np.minimum(rows[row[0]] + offsets[0][:, None], rows[row[1]] + offsets[1][:, None])
    steps = np.arange(1, int(radius_m / spacing_m + 1e-9) + 1) * spacing_m
    every = np.arange(len(starts))
    owner, edge, at = [every], [starts.edge], [at_m]

    # The start's own edge, both ways, as long as no way round is shorter.
    whole = length_m[starts.edge][:, None]
    for sign in (-1, 1):
        place = at_m[:, None] + sign * steps
        around = np.minimum(
            to_node[every, ends[0]][:, None] + place, to_node[every, ends[1]][:, None] + whole - place
        )
        keep = (place >= 0) & (place <= whole) & (steps <= around + SLACK_M)
        owner.append(np.nonzero(keep)[0])
        edge.append(starts.edge[owner[-1]])
        at.append(place[keep])
    # All edges are entered from both ends; a place belongs to the way by which it is nearest.
    for end in (0, 1):
        enter = to_node[:, network.edge_ends[:, end]]
        start, which = np.nonzero(enter < radius_m)
        into = steps - enter[start, which][:, None]
        whole = length_m[which][:, None]
        place = into if end == 0 else whole - into
        other_way = to_node[start, network.edge_ends[which, 1 - end]][:, None] + whole - into
        keep = (into > SLACK_M) & (into <= whole + SLACK_M) & (steps <= other_way + SLACK_M)
        own = (which == starts.edge[start])[:, None]
        keep &= ~own | (steps <= np.abs(place - at_m[start][:, None]) + SLACK_M)
        kept, _ = np.nonzero(keep)
        owner.append(start[kept])
        edge.append(which[kept])
        at.append(np.clip(place[keep], 0.0, length_m[which[kept]]))
    origin, xy = np.concatenate(owner), network.points_at(np.concatenate(edge), np.concatenate(at)).xy
    cells = np.column_stack([origin, np.rint(xy / 0.01).astype(np.int64)])
    first = np.sort(np.unique(cells, axis=0, return_index=True)[1])
    return origin[first], xy[first]


def _matched(hole_of: Ints, holes: Floats, marble_of: Ints, marbles: Floats, limit_m: float) -> int:
    """Return how many marbles can fill a hole of their own within the limit, each with those of its origin."""
    if not len(holes) or not len(marbles):
        return 0
    # Origins are laid out far apart in a third dimension, so that one search and one matching serve them all.
    apart = 10 * limit_m
    here = KDTree(np.column_stack([holes, hole_of * apart]))
    there = KDTree(np.column_stack([marbles, marble_of * apart]))
    near = here.sparse_distance_matrix(there, limit_m, output_type="coo_matrix")
    graph = coo_array((np.ones(near.nnz, np.int8), (near.row, near.col)), shape=near.shape)
    return int((maximum_bipartite_matching(graph.tocsr(), perm_type="column") >= 0).sum())
