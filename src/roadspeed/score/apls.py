"""APLS, the average path length similarity of two road networks, by length and by travel time, all pairs exactly.

Van Etten, Lindenbaum, Bacastow, SpaceNet: a remote sensing dataset and challenge series, arXiv:1807.01232.
Strategy: a control point lies on an edge, so its paths follow from those between the ends of edges. Only these are
searched, in blocks of sources, so memory stays far below points × points; the combinations of ends are tried in a
compiled loop over pairs.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from roadspeed.geo import LONLAT, project
from roadspeed.score.network import Floats, Ints, Network, Points, build_network, control_points
from roadspeed.score.roads import Roads, local_crs
from roadspeed.score.settings import ScoreSettings
from roadspeed.score.shortest import compare_pairs

MIN_PATH = 0.001
"""Paths that are not longer (metres or seconds) are not compared, as in the reference."""
BLOCK = 512
"""Sources at a time, at most."""
BLOCK_BYTES = 48_000_000
"""About what the distances of a block may take; the larger the networks, the smaller the blocks."""


@dataclass(frozen=True)
class Direction:
    """One direction of APLS: the paths of one network looked for in the other."""

    score: float
    """1 - the mean of min(1, |L - L'| / L) over all pairs with a path L; 0 without any pair."""
    control_nodes: int
    """Control points of the first network."""
    compared: int
    """Control points whose paths were compared: all, or the size of the sample."""
    pairs: int
    """Ordered pairs of control points with a path."""
    missing: float
    """What paths that the other network lacks take from the score."""
    too_long: float
    """What paths that are longer in the other network take from it."""
    too_short: float
    """What paths that are shorter there take from it."""


@dataclass(frozen=True)
class Apls:
    """APLS for one weight."""

    score: float
    """Harmonic mean of both directions, 0 to 1."""
    truth_onto_proposal: Direction
    proposal_onto_truth: Direction


@dataclass(frozen=True)
class Pair:
    """A truth and a proposal in the same projection, with their control points, each also in the other network."""

    truth: Network
    proposal: Network
    truth_points: Points
    truth_in_proposal: Points
    proposal_points: Points
    proposal_in_truth: Points
    control_nodes: tuple[int, int]
    """Control points of truth and proposal before sampling."""

    @property
    def empty(self) -> tuple[bool, bool]:
        """Whether truth and proposal have no road at all."""
        return not len(self.truth), not len(self.proposal)

    @property
    def has_times(self) -> bool:
        """Whether both state speeds everywhere."""
        return self.truth.has_times and self.proposal.has_times


def prepare_pair(truth: Roads, proposal: Roads, settings: ScoreSettings) -> Pair:
    """Project two road sets into one UTM zone, build their networks, and place the control points of each in both.

    Raises:
        InputError: the coordinates do not fit one local projection.
    """
    target = local_crs(truth if len(truth.lines) else proposal)
    networks = []
    for roads, least_m in (
        (truth, settings.min_component_truth_m),
        (proposal, settings.min_component_proposal_m),
    ):
        speed_mph = roads.speed_mph
        if settings.default_speed_mph is not None:
            speed_mph = np.where(np.isnan(speed_mph), settings.default_speed_mph, speed_mph)
        networks.append(build_network(project(roads.lines, LONLAT, target), speed_mph, least_m))
    points, sizes = [], []
    for network in networks:
        controls = control_points(network, settings.control_spacing_m)
        sizes.append(len(controls))
        if len(controls) > settings.max_control_nodes:
            rng = np.random.default_rng(settings.seed)
            chosen = np.sort(rng.choice(len(controls), settings.max_control_nodes, replace=False))
            controls = controls.take(chosen)
        points.append(controls)
    return Pair(
        truth=networks[0],
        proposal=networks[1],
        truth_points=points[0],
        truth_in_proposal=networks[1].snap(points[0].xy, settings.snap_m),
        proposal_points=points[1],
        proposal_in_truth=networks[0].snap(points[1].xy, settings.snap_m),
        control_nodes=(sizes[0], sizes[1]),
    )


def apls(pair: Pair, weight: str = "length", threads: int = 1) -> Apls:
    """Return APLS of a pair.

    Args:
        pair: from `prepare_pair`; both networks must have roads for a score above 0.
        weight: `length` or `time`.
        threads: cores to use.
    """
    onto_proposal = _direction(
        (pair.truth, pair.truth_points),
        (pair.proposal, pair.truth_in_proposal),
        pair.control_nodes[0],
        weight,
        threads,
    )
    onto_truth = _direction(
        (pair.proposal, pair.proposal_points),
        (pair.truth, pair.proposal_in_truth),
        pair.control_nodes[1],
        weight,
        threads,
    )
    c1, c2 = onto_proposal.score, onto_truth.score
    return Apls(2 * c1 * c2 / (c1 + c2) if min(c1, c2) > 0 else 0.0, onto_proposal, onto_truth)


def _direction(
    home: tuple[Network, Points], other: tuple[Network, Points], control_nodes: int, weight: str, threads: int
) -> Direction:
    losses = 2 * path_losses(home, other, weight, threads, once=True).sum(0)
    pairs = int(losses[0])
    missing, too_long, too_short = (float(value) for value in losses[1:] / max(pairs, 1))
    score = max(0.0, 1.0 - missing - too_long - too_short) if pairs else 0.0
    return Direction(score, control_nodes, len(home[1]), pairs, missing, too_long, too_short)


def path_losses(
    home: tuple[Network, Points],
    other: tuple[Network, Points],
    weight: str,
    threads: int = 1,
    once: bool = False,
) -> Floats:
    """Return what each control point's paths lose in the other network.

    Args:
        home: a network and n points on it.
        other: the other network and the same points on it, edge -1 where they are not.
        weight: `length` or `time`.
        threads: cores to use.
        once: count each path for the first of its two points only, which takes half the time.

    Returns:
        (n, 4) number of paths compared, and their summed losses: missing, too long, too short.
    """
    (network_x, points_x), (network_y, points_y) = home, other
    if not len(points_x):
        return np.zeros((0, 4))
    x, y = _Side(network_x, points_x, weight), _Side(network_y, points_y, weight)
    nodes = len(network_x.node_xy) + len(network_y.node_xy)
    block = min(BLOCK, max(1, BLOCK_BYTES // (8 * nodes)))
    blocks = np.array_split(np.arange(len(points_x)), -(-len(points_x) // block))
    work = partial(_compare_block, x, y, once)
    if threads <= 1 or len(blocks) == 1:
        return np.concatenate([work(block) for block in blocks])
    with ThreadPoolExecutor(threads) as pool:
        return np.concatenate(list(pool.map(work, blocks)))


class _Side:
    """A network and points on it, as flat arrays for the compiled loops."""

    def __init__(self, network: Network, points: Points, weight: str) -> None:
        self.network, self.weight, self.edge = network, weight, points.edge
        self.ends, self.offsets = network.offsets(points, weight)
        if len(network):
            _ = network.hierarchy  # built here once, not by several threads at a time

    def rows(self, sources: Ints) -> tuple[Floats, Ints]:
        """Return distance rows from the ends of the sources' edges, and each node's row number."""
        nodes = np.unique(self.ends[:, sources][:, self.edge[sources] >= 0])
        row_of = np.zeros(max(len(self.network.node_xy), 1), np.int64)
        row_of[nodes] = np.arange(len(nodes))
        if not len(nodes):
            return np.zeros((1, len(row_of))), row_of
        return self.network.distances(nodes, self.weight), row_of


def _compare_block(x: _Side, y: _Side, once: bool, sources: Ints) -> NDArray[np.float64]:
    rows_x, row_of_x = x.rows(sources)
    rows_y, row_of_y = y.rows(sources)
    return np.asarray(
        compare_pairs(
            sources, rows_x, row_of_x, x.edge, x.ends, x.offsets,
            rows_y, row_of_y, y.edge, y.ends, y.offsets, MIN_PATH, once,
        )
    )  # fmt: skip


def pair_distances(network: Network, points: Points, pairs: Ints, weight: str = "length") -> Floats:
    """Return the shortest distances between pairs of points, infinite where there is no path.

    Args:
        network: the network.
        points: n points on it; a point with edge -1 has no path.
        pairs: (m, 2) which points.
        weight: `length` (metres) or `time` (seconds).
    """
    side = _Side(network, points, weight)
    result = np.full(len(pairs), np.inf)
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    for block in np.array_split(order, max(1, -(-len(order) // BLOCK))):
        block = block[(points.edge[pairs[block]] >= 0).all(1)]
        if not len(block):
            continue
        i, j = pairs[block].T
        rows, row_of = side.rows(np.unique(i))
        near, far = side.offsets.T[i][:, :, None], side.offsets.T[j][:, None, :]
        between = rows[row_of[side.ends.T[i]][:, :, None], side.ends.T[j][:, None, :]]
        best = (near + between + far).min((1, 2))
        along = np.abs(side.offsets[0, i] - side.offsets[0, j])
        result[block] = np.where(side.edge[i] == side.edge[j], np.minimum(best, along), best)
    return result
