"""Validation by the graphs that a network's probabilities become: APLS of some chips, beside loss and Dice.

Making and scoring graphs belongs to later stages. So training is handed a function for it, and only chooses the
chips, keeps their probabilities as validation passes by, and takes the mean.
"""

import logging
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from roadspeed.errors import ConfigError, InputError
from roadspeed.raster import Grid, read_grid
from roadspeed.train.chips import LabelledChip
from roadspeed.train.ranks import ALONE, Ranks
from roadspeed.train.settings import TrainSettings
from roadspeed.train.validate import Scores

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChipProbability:
    """What a network says of one chip."""

    chip_id: str
    pixels: NDArray[np.uint8]
    """(channels, rows, columns), probability × 255, 0 where the image has no data."""
    grid: Grid


class GraphScorer(Protocol):
    """Turns probabilities into graphs and compares those with the labels."""

    @property
    def chips(self) -> Collection[str]:
        """Ids of the chips whose labels have roads."""

    def __call__(self, found: Sequence[ChipProbability], threads: int) -> list[tuple[float, float]]:
        """Return APLS by length and by travel time of each chip."""


def choose_chips(
    validation: Sequence[LabelledChip], scorable: Collection[str], count: int, seed: int
) -> frozenset[str]:
    """Return the ids of the chips to score: drawn with the seed among those whose labels have roads.

    Raises:
        InputError: there are none.
    """
    ids = sorted({chip.chip_id for chip in validation}.intersection(scorable))
    if not ids:
        raise InputError(
            "train.best_by is apls, but no validation chip has a label with roads: set it to dice or loss"
        )
    order = np.random.default_rng(seed).permutation(len(ids))
    return frozenset(ids[place] for place in order[:count])


class GraphCheck:
    """The APLS of one validation pass; a fresh one for each.

    Args:
        chips: the validation chips of this process, in the order in which they are validated.
        chosen: ids of the chips to score, in all processes together.
        scorer: scores them.
        threads: cores to use.
        ranks: the processes among which the chips are divided.
    """

    def __init__(
        self,
        chips: Sequence[LabelledChip],
        chosen: Collection[str],
        scorer: GraphScorer,
        threads: int,
        ranks: Ranks = ALONE,
    ) -> None:
        self.chips, self.chosen, self.scorer, self.threads, self.ranks = chips, chosen, scorer, threads, ranks
        self.found: list[ChipProbability] = []

    def seen(self, number: int, image: torch.Tensor, logits: torch.Tensor) -> None:
        """Keep the probabilities of a chip that passes by, if it is one to score.

        Args:
            number: the chip's place among `chips`.
            image: (1, bands, H, W) uint8, perhaps padded below and right.
            logits: (1, channels, h, w), unpadded.
        """
        chip = self.chips[number]
        if chip.chip_id in self.chosen:
            height, width = logits.shape[2:]
            pixels = torch.sigmoid(logits[0]) * image[0, :, :height, :width].any(0)
            scaled = pixels.mul_(255).round_().to(torch.uint8).numpy()
            self.found.append(ChipProbability(chip.chip_id, scaled, read_grid(chip.mask)))

    def added_to(self, scores: Scores) -> Scores:
        """Return the scores with the mean APLS of the chosen chips of all processes."""
        values = self.scorer(self.found, self.threads) if self.found else []
        sums = torch.tensor([*np.reshape(values, (-1, 2)).sum(0), len(values)], dtype=torch.float64)
        self.ranks.add(sums)
        return replace(scores, apls_length=float(sums[0] / sums[2]), apls_time=float(sums[1] / sums[2]))


def check_scorer(settings: TrainSettings, scorer: GraphScorer | None) -> None:
    """Raise ConfigError where the best epoch is to be chosen by graphs that nobody can score."""
    if settings.best_by == "apls" and scorer is None:
        raise ConfigError("train.best_by is apls: training then needs the chip tables of its cities (--chips)")


def is_due(settings: TrainSettings, epoch: int) -> bool:
    """Tell whether an epoch (from 1) is one whose graphs are scored: each `apls_every`-th, and the last."""
    return settings.best_by == "apls" and (epoch % settings.apls_every == 0 or epoch == settings.epochs)


def best_score(settings: TrainSettings, scores: Scores) -> float:
    """Return what the best epoch has most of; NaN for an epoch that cannot be the best."""
    if settings.best_by == "apls":
        return (scores.apls_length + scores.apls_time) / 2
    return scores.dice if settings.best_by == "dice" else -scores.loss


def is_better(score: float, best: float | None) -> bool:
    """Tell whether a score beats the best so far."""
    return not math.isnan(score) and (best is None or score > best)
