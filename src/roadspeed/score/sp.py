"""SP, the share of shortest paths between random truth nodes that the proposal has with nearly the same length.

Wegner, Montoya-Zegarra, Schindler, A higher-order CRF model for road network extraction, CVPR 2013.
"""

import numpy as np

from roadspeed.score.apls import pair_distances
from roadspeed.score.network import Network, control_points
from roadspeed.score.settings import ScoreSettings


def sp(truth: Network, proposal: Network, settings: ScoreSettings) -> float | None:
    """Return the matched share, 0 to 1, of pairs of truth nodes drawn with the seed.

    A pair matches when both networks have a path and the lengths differ by at most `sp_tolerance` of the true one.
    Pairs without a path in either do not count. None when no pair counts.

    Args:
        truth: the true network.
        proposal: the network to score, in the same projection.
        settings: `sp_pairs`, `sp_tolerance`, `snap_m`, `seed`.
    """
    nodes = control_points(truth, np.inf)
    count = len(nodes)
    if count < 2:
        return None
    rng = np.random.default_rng(settings.seed)
    first = rng.integers(count, size=settings.sp_pairs)
    second = (first + rng.integers(1, count, size=settings.sp_pairs)) % count
    pairs = np.column_stack([first, second])
    true_m = pair_distances(truth, nodes, pairs)
    found_m = pair_distances(proposal, proposal.snap(nodes.xy, settings.snap_m), pairs)
    counts = np.isfinite(true_m) | np.isfinite(found_m)
    if not counts.any():
        return None
    both = np.isfinite(true_m) & np.isfinite(found_m)
    match = np.zeros(len(pairs), bool)
    match[both] = np.abs(found_m[both] - true_m[both]) <= settings.sp_tolerance * true_m[both]
    return float(match.sum() / counts.sum())
