"""Validation: loss, and F1 and IoU of each channel, over whole chips."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from roadspeed.host.engine import Engine
from roadspeed.raster import read_raster
from roadspeed.speedbins import SpeedBins, expand_mask
from roadspeed.train.chips import LabelledChip
from roadspeed.train.losses import RoadLoss
from roadspeed.train.model import MULTIPLE_PX
from roadspeed.train.ranks import ALONE, Ranks


@dataclass(frozen=True)
class Scores:
    """What validation found."""

    loss: float
    """Mean over the chips."""
    f1: tuple[float, ...]
    """Of each channel at probability 0.5 over all pixels; NaN where neither truth nor prediction has any."""
    iou: tuple[float, ...]
    """Likewise."""
    apls_length: float = math.nan
    """Mean APLS of some chips' graphs by length; NaN where it was not computed."""
    apls_time: float = math.nan
    """Likewise by travel time."""

    @property
    def dice(self) -> float:
        """Mean of the F1 (= Dice) of all roads and the mean F1 of the speed bins that occur."""
        speeds = [value for value in self.f1[:-1] if not np.isnan(value)]
        roads = 0.0 if np.isnan(self.f1[-1]) else self.f1[-1]
        return float((roads + np.mean(speeds)) / 2) if speeds else float(roads)


def scores_of(loss: float, hits: NDArray[np.int64], predicted: NDArray[np.int64], true: NDArray[np.int64]) -> Scores:
    """Turn pixel counts a channel into scores.

    Args:
        loss: mean loss.
        hits: pixels that are both predicted and true.
        predicted: pixels predicted.
        true: pixels that are true.
    """
    with np.errstate(invalid="ignore"):
        f1 = 2 * hits / (predicted + true)
        iou = hits / (predicted + true - hits)
    return Scores(loss, tuple(map(float, f1)), tuple(map(float, iou)))


def pad_to_multiple(height: int, width: int, multiple: int = MULTIPLE_PX) -> tuple[int, int]:
    """Return the rows and columns to add below and right of an image so that the network takes it."""
    return -height % multiple, -width % multiple


def read_labelled(
    chips: Sequence[LabelledChip], bands: int, bins: SpeedBins
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield image (1, bands, H, W) uint8, padded by reflection, and target (1, channels, h, w) uint8, unpadded."""
    for chip in chips:
        image, _ = read_raster(chip.image, list(range(1, bands + 1)))
        mask, _ = read_raster(chip.mask, [1])
        down, right = pad_to_multiple(*image.shape[1:])
        image = np.pad(image, ((0, 0), (0, down), (0, right)), "symmetric")
        yield torch.from_numpy(image)[None], torch.from_numpy(expand_mask(mask[0], bins))[None]


def validate(
    model: nn.Module,
    examples: Iterable[tuple[torch.Tensor, torch.Tensor]],
    loss: RoadLoss,
    engine: Engine,
    ranks: Ranks = ALONE,
    seen: Callable[[int, torch.Tensor, torch.Tensor], None] | None = None,
) -> Scores:
    """Score a model on whole chips, without gradients; the model is left in evaluation mode.

    Args:
        model: gives logits.
        examples: image and target of each chip; of this process's chips where several share them.
        loss: of a chip.
        engine: runs the model.
        ranks: the processes whose losses and counts are added up.
        seen: is given each chip's place among the examples, its image and its logits.
    """
    model.eval()
    losses = torch.zeros(2, dtype=torch.float64)
    counts = torch.zeros((3, len(loss.weights)), dtype=torch.int64)
    with torch.no_grad():
        for number, (image, target) in enumerate(examples):
            with engine.autocast():
                logits = model(image.contiguous(memory_format=torch.channels_last))
            logits = logits[..., : target.shape[2], : target.shape[3]].float()
            if seen is not None:
                seen(number, image, logits)
            truth = target > 0
            losses += torch.tensor([float(loss(logits, truth)), 1], dtype=torch.float64)
            found = logits > 0
            for row, pixels in enumerate((found & truth, found, truth)):
                counts[row] += pixels.sum((0, 2, 3))
    ranks.add(losses)
    ranks.add(counts)
    return scores_of(float(losses[0] / losses[1]), *counts.numpy())
