"""Losses against numbers worked out by hand."""

import math

import pytest
import torch

from roadspeed.train.losses import RoadLoss, focal_map, soft_dice
from roadspeed.train.settings import LossSettings

LOG3 = math.log(3)  # the logit of 3/4


@pytest.mark.parametrize(
    ("logit", "target", "gamma", "expected"),
    [
        (0.0, 1.0, 0.0, math.log(2)),
        (LOG3, 1.0, 0.0, -math.log(0.75)),
        (LOG3, 1.0, 2.0, -math.log(0.75) * 0.25**2),
        (LOG3, 0.0, 2.0, -math.log(0.25) * 0.75**2),
        (LOG3, 0.0, 1.0, -math.log(0.25) * 0.75),
        (-200.0, 1.0, 2.0, 200.0),
        (200.0, 1.0, 2.0, 0.0),
    ],
)
def test_focal_loss_of_one_pixel(logit, target, gamma, expected):
    found = focal_map(torch.full((1, 1, 1, 1), logit), torch.full((1, 1, 1, 1), target), gamma)
    assert found.item() == pytest.approx(expected, rel=1e-5, abs=1e-12)


def test_focal_gradient_is_finite_at_extreme_logits():
    logits = torch.tensor([-1e4, -50.0, 0.0, 50.0, 1e4]).reshape(1, 1, 1, 5).requires_grad_()
    for target in (0.0, 1.0):
        focal_map(logits, torch.full_like(logits, target), 1.0).sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_soft_dice_per_channel_and_over_all():
    # Channel 0: 2 true pixels, both predicted with 1/2 -> 2·1 / (1 + 2). Channel 1: 4 true, all predicted -> 1.
    probability = torch.tensor([[[[0.5, 0.5, 0.0, 0.0]], [[1.0, 1.0, 1.0, 1.0]]]])
    target = torch.tensor([[[[1.0, 1.0, 0.0, 0.0]], [[1.0, 1.0, 1.0, 1.0]]]])
    sums = [part.sum((0, 2, 3)) for part in (probability * target, probability, target)]
    assert soft_dice(*sums, smooth=0).tolist() == pytest.approx([1 - 2 / 3, 0.0])
    assert soft_dice(*(part.sum() for part in sums), smooth=0).item() == pytest.approx(1 - 2 * 5 / (5 + 6))


def _loss(**values):
    return RoadLoss(LossSettings(**values), 3)


def test_rare_channel_counts_per_channel_but_not_in_the_reference():
    """Missing a channel of one pixel beside one of 99 pixels costs a third of the Dice, and next to nothing there."""
    target = torch.zeros(1, 3, 10, 10)
    target[0, 0, 0, 0] = 1
    target[0, 1:, :, 1:] = 1
    logits = torch.where(target > 0, 20.0, -20.0)
    logits[0, 0, 0, 0] = -20.0
    per_channel = _loss(focal_weight=0, dice_weight=1, road_weight=1, dice_on="all")(logits, target)
    reference = _loss(focal_weight=0, dice_weight=1, variant="reference")(logits, target)
    assert per_channel.item() == pytest.approx((1 - 1 / 2) / 3, abs=1e-4)
    assert reference.item() < 0.01


def test_absent_channels_are_left_out_of_dice():
    target = torch.zeros(1, 3, 4, 4)
    target[0, 2, 0] = 1
    logits = torch.where(target > 0, 20.0, -20.0)
    logits[0, 0] = 20.0  # a bin that does not occur, predicted everywhere: left to the focal loss
    assert _loss(focal_weight=0, dice_weight=1, dice_on="all")(logits, target).item() == pytest.approx(0, abs=1e-5)
    assert _loss(focal_weight=1, dice_weight=0, focal_gamma=0)(logits, target).item() > 1
    empty = _loss(focal_weight=0, dice_weight=1)(torch.full((1, 3, 4, 4), -20.0), torch.zeros(1, 3, 4, 4))
    assert empty.item() == 0


def test_road_pixels_count_more_in_the_bins_only():
    """One road pixel of four: in the bins it counts 3 of 3 + 3, in the road channel 1 of 4."""
    logits = torch.zeros(1, 3, 2, 2)
    target = torch.zeros(1, 3, 2, 2)
    target[0, 2, 0, 0] = target[0, 0, 0, 0] = 1
    logits[0, :, 0, 0] = LOG3  # on the road pixel: right in bin 0 and the road channel, wrong in bin 1
    right, wrong, even = math.log(4 / 3), math.log(4), math.log(2)
    found = _loss(focal_weight=1, dice_weight=0, focal_gamma=0, road_weight=1, road_pixel_weight=3)(logits, target)
    expected = ((3 * right + 3 * even) / 6 + (3 * wrong + 3 * even) / 6 + (right + 3 * even) / 4) / 3
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_dice_on_roads_leaves_the_bins_out():
    target = torch.ones(1, 3, 2, 2)
    logits = torch.full((1, 3, 2, 2), 20.0)
    logits[0, :2] = -20.0
    assert _loss(focal_weight=0, dice_weight=1)(logits, target).item() == pytest.approx(0, abs=1e-4)
    assert _loss(focal_weight=0, dice_weight=1, dice_on="all", road_weight=1)(logits, target).item() > 0.5


def test_road_weight_shifts_the_mean_to_the_road_channel():
    logits = torch.zeros(1, 3, 2, 2)
    target = torch.zeros(1, 3, 2, 2)
    logits[0, 2] = LOG3  # the road channel costs ln 4, each bin ln 2
    found = _loss(focal_weight=1, dice_weight=0, focal_gamma=0, road_weight=2)(logits, target)
    assert found.item() == pytest.approx((2 * math.log(2) + 2 * math.log(4)) / 4, rel=1e-5)


def test_no_loss_at_all_is_refused():
    with pytest.raises(ValueError, match="one must be above"):
        LossSettings(focal_weight=0, dice_weight=0)


@pytest.mark.parametrize("settings", [{}, {"dice_on": "all"}, {"variant": "reference"}])
def test_processes_that_share_a_batch_have_its_loss_and_parts_of_its_gradient(settings):
    """Three crops of which one process has two: with the sums added, each has the loss of all three."""
    loss = RoadLoss(LossSettings.checked(settings), 3)
    dice = torch.Generator().manual_seed(3)
    logits = (4 * torch.randn((3, 3, 8, 8), generator=dice)).requires_grad_()
    target = (torch.rand((3, 3, 8, 8), generator=dice) > 0.7).float()
    whole = loss(logits, target)
    (expected,) = torch.autograd.grad(whole, logits)
    parts = [slice(0, 2), slice(2, 3)]
    kept = []
    for part in parts:  # first what each would send, then with what it would get back
        loss(logits[part], target[part], lambda vector: kept.append(vector.clone()))
    for part in parts:
        found = loss(logits[part], target[part], lambda vector: vector.copy_(kept[0] + kept[1]))
        assert found.item() == pytest.approx(whole.item(), rel=1e-5)
        (gradient,) = torch.autograd.grad(found, logits)
        assert torch.allclose(gradient[part], expected[part], rtol=1e-4, atol=1e-9)
