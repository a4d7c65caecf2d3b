"""Speed of each edge: what the bins say along it, with a prior where they say little."""

import numpy as np
from numpy.typing import NDArray

from roadspeed.extract.network import Network
from roadspeed.extract.settings import ExtractSettings
from roadspeed.speedbins import SpeedBins

JUNCTION_M = 6.0
"""Near a junction the other road's speed shows too; so much of each end is left out where the edge is long."""
EXPLAINED = 0.6
"""A change of speed is one step when it explains this share of the speed's variance along the edge."""


def edge_speeds(network: Network, bins: SpeedBins, settings: ExtractSettings) -> NDArray[np.float64]:
    """Return the speed in mph of each line: the mean of the bins' values, weighted by the mean evidence for each
    along the line and by the prior, clamped to the settings' range."""
    flat, offsets = network.flat()
    if not len(flat):
        return np.empty(0)
    along, total = _positions(network, flat, offsets)
    number = np.repeat(np.arange(len(total)), np.diff(offsets))
    margin = np.minimum(JUNCTION_M, total / 3)[number]
    inner = (along >= margin) & (along <= total[number] - margin)
    has_inner = np.add.reduceat(inner, offsets[:-1]) > 0
    chosen = inner | ~has_inner[number]
    count = np.add.reduceat(chosen, offsets[:-1])
    evidence = network.values[flat, 1:] * chosen[:, None]
    weights = np.add.reduceat(evidence, offsets[:-1], axis=0) / count[:, None]
    return np.clip(_expected(weights, bins, settings), settings.slowest_mph, settings.fastest_mph)


def _expected(weights: NDArray[np.floating], bins: SpeedBins, settings: ExtractSettings) -> NDArray[np.float64]:
    """Return the expected speed for (n, bins) evidence."""
    prior = settings.prior_weight
    value = np.asarray(bins.value_mph)
    return np.asarray((weights @ value + prior * settings.prior_mph) / (weights.sum(axis=1) + prior), np.float64)


def _positions(
    network: Network, flat: NDArray[np.int64], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how far along its line each point lies, and each line's length, metres."""
    step = np.zeros(len(flat))
    step[1:] = np.sqrt((np.diff(network.xy[flat], axis=0) ** 2).sum(axis=1))
    step[offsets[:-1]] = 0
    along = np.cumsum(step)
    along -= np.repeat(along[offsets[:-1]], np.diff(offsets))
    return along, along[offsets[1:] - 1]


def split_at_changes(network: Network, bins: SpeedBins, settings: ExtractSettings, rounds: int = 3) -> None:
    """Cut lines in place where their speed clearly changes, as labels do; each round cuts a line once at most.

    The cut is where two mean speeds explain most of the speed along the line (least squares).
    """
    if settings.split_mph == 0:
        return
    for _ in range(rounds):
        flat, offsets = network.flat()
        if not len(flat):
            return
        along, total = _positions(network, flat, offsets)
        evidence = network.values[flat, 1:]
        speed = _expected(evidence, bins, settings)
        known = evidence.sum(axis=1) > settings.prior_weight
        cuts = []
        for line in np.flatnonzero(total >= 2 * settings.split_m).tolist():
            part = slice(offsets[line], offsets[line + 1])
            here = np.flatnonzero(known[part])
            place, value = along[part][here], speed[part][here]
            n = len(value)
            if n < 2 or np.ptp(value) < settings.split_mph:
                continue
            left = np.arange(1, n)
            sums = np.cumsum(value)[:-1]
            explained = (sums - left * value.mean()) ** 2 * n / (left * (n - left))
            explained[(place[:-1] < settings.split_m) | (place[1:] > total[line] - settings.split_m)] = -1
            best = int(explained.argmax())
            if explained[best] < EXPLAINED * ((value - value.mean()) ** 2).sum():
                continue
            before, after = sums[best] / left[best], (value.sum() - sums[best]) / (n - left[best])
            if abs(after - before) >= settings.split_mph:
                cuts.append(int(flat[part][here[best]]))
        if not cuts:
            return
        network.cut(cuts)
