"""Losses on logits: focal and soft Dice, per channel or as the reference has them."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from roadspeed.train.settings import LossSettings

DICE_SMOOTH = 1.0
"""Pixels added to both sides of the Dice ratio, so that an absent channel is no division by zero."""


def focal_map(logits: torch.Tensor, target: torch.Tensor, gamma: float) -> torch.Tensor:
    """Return the binary focal loss of each pixel (Lin et al. 2017, without the balance factor α).

    Args:
        logits: (N, C, H, W) float.
        target: (N, C, H, W) float, 0 or 1.
        gamma: 0 gives cross-entropy.

    Returns:
        (N, C, H, W), ≥ 0.
    """
    entropy = F.softplus(logits) - logits * target
    if gamma == 0:
        return entropy
    # entropy = −log p_t, so p_t comes without another sigmoid and is safe for large logits.
    miss = -torch.expm1(-entropy)
    return entropy * (miss if gamma == 1 else miss.pow(gamma))


def soft_dice(
    overlap: torch.Tensor, predicted: torch.Tensor, true: torch.Tensor, smooth: float = DICE_SMOOTH
) -> torch.Tensor:
    """Return 1 − Dice of each of some ratios, from their sums over pixels.

    Args:
        overlap: sum of probability × target.
        predicted: sum of the probability.
        true: sum of the target.
        smooth: pixels added to both sides of the ratio.
    """
    return 1 - (2 * overlap + smooth) / (predicted + true + smooth)


class RoadLoss(nn.Module):
    """The weighted sum of focal loss and soft Dice that a fold is trained with.

    `per_channel`: the focal loss is averaged over the channels with the weight `road_weight` for all roads (the last
    channel) and 1 for each speed bin; in the bins' channels a road's pixel counts `road_pixel_weight` times. Dice is
    that of all roads, or with `dice_on: all` a mean over the channels likewise, without those that do not occur in
    the batch. `reference`: CRESI's, with one mean and one Dice over everything.
    """

    weights: torch.Tensor

    def __init__(self, settings: LossSettings, channels: int) -> None:
        super().__init__()
        self.settings = settings
        weights = torch.ones(channels)
        weights[-1] = settings.road_weight
        self.register_buffer("weights", weights / weights.sum())

    def forward(
        self, logits: torch.Tensor, target: torch.Tensor, add: Callable[[torch.Tensor], None] | None = None
    ) -> torch.Tensor:
        """Return the loss of a batch.

        All ratios are of sums over the pixels. So processes that share a batch need only add their sums up: each gets
        the loss of the whole batch, and its gradient with respect to its own pixels; these gradients are to be added.

        Args:
            logits: (N, C, H, W); computed in FP32 whatever comes.
            target: (N, C, H, W), 0 or 1.
            add: replaces a vector by its sum over all processes that share the batch.
        """
        settings = self.settings
        reference = settings.variant == "reference"
        first = 0 if reference or settings.dice_on == "all" else -1
        logits, target = logits.float(), target.float()
        focal = focal_map(logits, target, settings.focal_gamma)
        probability, truth = torch.sigmoid(logits[:, first:]), target[:, first:]
        weighted, weight = focal[:, :-1], target.new_zeros(1)
        if not reference:
            pixels = 1 + (settings.road_pixel_weight - 1) * target[:, -1:]
            weighted, weight = weighted * pixels, pixels.sum().reshape(1)
        each = (0, 2, 3)
        sums = [
            weighted.sum(each),
            focal[:, -1:].sum(each),
            weight,
            logits.new_tensor([logits[:, 0].numel()]),
            (probability * truth).sum(each),
            probability.sum(each),
            truth.sum(each),
        ]
        bins, road, weight, area, overlap, predicted, true = sums if add is None else _added(sums, add)
        if reference:
            dice = soft_dice(overlap.sum(), predicted.sum(), true.sum())
            focal_mean = (bins.sum() + road.sum()) / (area.sum() * logits.shape[1])
            return settings.focal_weight * focal_mean + settings.dice_weight * dice
        loss = settings.focal_weight * (torch.cat([bins / weight, road / area]) * self.weights).sum()
        dice = soft_dice(overlap, predicted, true)
        present = self.weights[first:] * (true > 0)
        if bool(present.sum() > 0):
            loss = loss + settings.dice_weight * (dice * present).sum() / present.sum()
        return loss


def _added(sums: list[torch.Tensor], add: Callable[[torch.Tensor], None]) -> list[torch.Tensor]:
    """Return vectors with the values of all processes and the gradient of this one's part."""
    own = torch.cat(sums)
    whole = own.detach().clone()
    add(whole)
    return list((own + (whole - own.detach())).split([len(part) for part in sums]))
