"""Speed of each edge: what the bins say along it, with a prior where they say little."""

import numpy as np
from numpy.typing import NDArray

from roadspeed.extract.network import Network
from roadspeed.extract.settings import ExtractSettings
from roadspeed.speedbins import SpeedBins

JUNCTION_M = 6.0
"""Near a junction the other road's speed shows too; so much of each end is left out where the edge is long."""


def edge_speeds(network: Network, bins: SpeedBins, settings: ExtractSettings) -> NDArray[np.float64]:
    """Return the speed in mph of each line: the bins' values weighted by evidence and prior, clamped."""
    speeds = np.empty(len(network.lines))
    value = np.asarray(bins.value_mph)
    for number, line in enumerate(network.lines):
        evidence = network.values[line, 1:]
        step = np.sqrt((np.diff(network.xy[line], axis=0) ** 2).sum(axis=1))
        along = np.concatenate([[0], np.cumsum(step)])
        margin = min(JUNCTION_M, along[-1] / 3)
        inner = (along >= margin) & (along <= along[-1] - margin)
        weights = evidence[inner].mean(axis=0) if inner.any() else evidence.mean(axis=0)
        speeds[number] = _expected(weights, value, settings)
    return np.clip(speeds, settings.slowest_mph, settings.fastest_mph)


def _expected(weights: NDArray[np.float32], value: NDArray[np.float64], settings: ExtractSettings) -> float:
    prior = settings.prior_weight
    return float((weights @ value + prior * settings.prior_mph) / (weights.sum() + prior))
