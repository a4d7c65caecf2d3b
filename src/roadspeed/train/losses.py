"""Losses on logits: focal and soft Dice, per channel or as the reference has them."""

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
    probability: torch.Tensor, target: torch.Tensor, dims: tuple[int, ...], smooth: float = DICE_SMOOTH
) -> torch.Tensor:
    """Return 1 − Dice summed over `dims`.

    Args:
        probability: (N, C, H, W) in 0 … 1.
        target: (N, C, H, W), 0 or 1.
        dims: the dimensions that one ratio covers: (0, 2, 3) gives one a channel, (0, 1, 2, 3) one in all.
        smooth: pixels added to both sides of the ratio.
    """
    overlap = (probability * target).sum(dims)
    total = probability.sum(dims) + target.sum(dims)
    return 1 - (2 * overlap + smooth) / (total + smooth)


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

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch.

        Args:
            logits: (N, C, H, W); computed in FP32 whatever comes.
            target: (N, C, H, W), 0 or 1.
        """
        settings = self.settings
        logits, target = logits.float(), target.float()
        focal = focal_map(logits, target, settings.focal_gamma)
        probability = torch.sigmoid(logits)
        if settings.variant == "reference":
            loss = settings.focal_weight * focal.mean()
            return loss + settings.dice_weight * soft_dice(probability, target, (0, 1, 2, 3))
        pixels = 1 + (settings.road_pixel_weight - 1) * target[:, -1:]
        bins = (focal[:, :-1] * pixels).sum((0, 2, 3)) / pixels.sum()
        loss = settings.focal_weight * (torch.cat([bins, focal[:, -1:].mean((0, 2, 3))]) * self.weights).sum()
        first = 0 if settings.dice_on == "all" else -1
        dice = soft_dice(probability[:, first:], target[:, first:], (0, 2, 3))
        present = self.weights[first:] * (target[:, first:].amax((0, 2, 3)) > 0)
        if bool(present.sum() > 0):
            loss = loss + settings.dice_weight * (dice * present).sum() / present.sum()
        return loss
