"""Where a score is lost: each piece of road of one network looked for in the other, and drawn."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from shapely.ops import substring

from roadspeed.files import atomic
from roadspeed.score.apls import Pair, apls, pair_distances, path_losses
from roadspeed.score.network import Network, Points, cut_edges
from roadspeed.score.settings import ScoreSettings

FOUND, MISSING, TOO_LONG, TOO_SHORT = range(4)
COLOURS = ("#2a9d4a", "#d7191c", "#f58220", "#7b3fb5")
NAMES = {
    "length": ("found", "missing", "too long", "too short"),
    "time": ("found", "missing", "too slow", "too fast"),
}
TOLERANCE = 0.1
"""Share of a piece's length or time by which the other may differ and still counts as found."""


@dataclass(frozen=True)
class Diagnosis:
    """The pieces of one network between neighbouring control points, and how the other network has them."""

    lines: NDArray[np.object_]
    """(p,) LineStrings in the networks' projection."""
    state: NDArray[np.int64]
    """(p,) FOUND, MISSING (an end or the path is not there), TOO_LONG or TOO_SHORT (by time: too slow, too fast)."""
    own: NDArray[np.float64]
    """(p,) metres or seconds in the network itself."""
    other: NDArray[np.float64]
    """(p,) metres or seconds in the other network, infinite where missing."""


def diagnose(network: Network, other: Network, settings: ScoreSettings, weight: str = "length") -> Diagnosis:
    """Look for each piece of a network in the other.

    Snapping may move both ends by `snap_m`, so lengths count as different beyond that and `TOLERANCE`; times beyond
    `TOLERANCE` and the time that moving takes.

    Args:
        network: the network to explain.
        other: the network to find it in, in the same projection.
        settings: `control_spacing_m`, `snap_m`.
        weight: `length` or `time`.
    """
    start, end = cut_edges(network, settings.control_spacing_m)
    count = len(start)
    both = _joined(start, end)
    pairs = np.column_stack([np.arange(count), np.arange(count) + count])
    own = pair_distances(network, both, pairs, weight)
    found = pair_distances(other, other.snap(both.xy, settings.snap_m), pairs, weight)
    slack_m = 2 * settings.snap_m
    slack = slack_m * own / (end.position_m - start.position_m) if weight == "time" else np.full(count, slack_m)
    limit = TOLERANCE * own + np.minimum(slack, own / 2)
    state = np.full(count, FOUND)
    state[found > own + limit] = TOO_LONG
    state[found < own - limit] = TOO_SHORT
    state[np.isinf(found)] = MISSING
    lines = network.edge_lines()
    cut = [
        substring(lines[edge], first, last)
        for edge, first, last in zip(start.edge, start.position_m, end.position_m, strict=True)
    ]
    return Diagnosis(np.array(cut, object), state, own, found)


def draw_diagnosis(pair: Pair, path: Path, settings: ScoreSettings, title: str, threads: int = 1) -> None:
    """Draw where the score is lost: a row by length and, where speeds are known, one by travel time.

    Left the truth's pieces as the proposal has them, right the proposal's as the truth has them; a dot at each
    control point grows with what its paths lose on average.

    Args:
        pair: truth and proposal.
        path: PNG to write.
        settings: as for the score.
        title: what is compared.
        threads: cores to use.
    """
    weights = ["length", "time"] if pair.has_times and not any(pair.empty) else ["length"]
    figure = Figure(figsize=(15, 7.6 * len(weights)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(weights), 2, squeeze=False, sharex=True, sharey=True)
    sides = (
        ("truth in the proposal", pair.truth, pair.truth_points, pair.proposal, pair.truth_in_proposal),
        ("proposal in the truth", pair.proposal, pair.proposal_points, pair.truth, pair.proposal_in_truth),
    )
    totals = []
    for row, weight in zip(axes, weights, strict=True):
        scores = None if any(pair.empty) else apls(pair, weight, threads)
        if scores:
            totals.append(f"APLS by {weight} {scores.score:.3f}")
        directions = (scores.truth_onto_proposal, scores.proposal_onto_truth) if scores else (None, None)
        for axis, direction, (name, network, points, other, in_other) in zip(row, directions, sides, strict=True):
            text = f"{name}, by {weight}"
            if direction:
                _, missing, too_long, too_short = NAMES[weight]
                text += (
                    f": {direction.score:.3f} = 1 - {direction.missing:.3f} {missing} - {direction.too_long:.3f} "
                    f"{too_long} - {direction.too_short:.3f} {too_short}"
                )
            axis.set_title(text, fontsize=10)
            _draw_side(axis, network, other, settings, weight)
            if direction:
                losses = path_losses((network, points), (other, in_other), weight, threads)
                _draw_points(axis, points, losses)
    axes[0, 0].autoscale_view()
    figure.suptitle(f"{title}\n{', '.join(totals) or 'truth or proposal has no road'}", fontsize=11)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=90, format="png", metadata={"Software": None})


def _draw_side(axis: Any, network: Network, other: Network, settings: ScoreSettings, weight: str) -> None:
    background = [shapely.get_coordinates(line) for line in other.edge_lines()] if len(other) else []
    axis.add_collection(LineCollection(background, colors="#c8c8c8", linewidths=5, capstyle="round"))
    handles = [Line2D([], [], color="#c8c8c8", linewidth=5, label="the other")]
    if len(network):
        pieces = diagnose(network, other, settings, weight)
        for state, colour in enumerate(COLOURS):
            mine = pieces.state == state
            paths = [shapely.get_coordinates(line) for line in pieces.lines[mine]]
            axis.add_collection(LineCollection(paths, colors=colour, linewidths=1.8, capstyle="round"))
            km = shapely.length(pieces.lines[mine]).sum() / 1000
            label = f"{NAMES[weight][state]}, {km:.2f} km"
            handles.append(Line2D([], [], color=colour, linewidth=2, label=label))
    axis.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=5, fontsize=8, frameon=False)
    axis.set_aspect("equal")
    axis.set_xticks([])
    axis.set_yticks([])


def _draw_points(axis: Any, points: Points, losses: NDArray[np.float64]) -> None:
    mean_loss = losses[:, 1:].sum(1) / np.maximum(losses[:, 0], 1)
    axis.scatter(*points.xy.T, s=45 * mean_loss, c="black", alpha=0.55, linewidths=0, zorder=3)


def _joined(first: Points, second: Points) -> Points:
    return Points(
        np.concatenate([first.edge, second.edge]),
        np.concatenate([first.position_m, second.position_m]),
        np.concatenate([first.position_s, second.position_s]),
        np.concatenate([first.xy, second.xy]),
    )
