"""Crops: image and mask stay together, the same numbers give the same crops, rare roads are shown."""

import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.toy_city import make_toy_city

from roadspeed.errors import InputError, TrainingError
from roadspeed.raster import read_grid, write_raster
from roadspeed.speedbins import SpeedBins
from roadspeed.train.augment import Warp, cut, recolour, source_window, turn
from roadspeed.train.chips import index_chips, read_fold_chips, split_fold
from roadspeed.train.crops import CropSource
from roadspeed.train.settings import AugmentSettings, TrainSettings

BINS = SpeedBins()
STILL = {"flips": False, "warp_share": 0, "colour_share": 0}


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    return make_toy_city(tmp_path_factory.mktemp("toy"))


def source_of(city, **values):
    chips = read_fold_chips(city.folds, [city.rgb], [city.masks])
    config = TrainSettings.checked({"crop_px": 64, "rare_share": 0.5} | values)
    return CropSource(chips, index_chips(chips, BINS, 3, 1), config, BINS)


def test_crops_are_pieces_of_the_city(city):
    source = source_of(city, augment=STILL)
    for number in range(12):
        crop = source.crop(0, number)
        chip, warp, _ = source.place(0, number)
        row, column = divmod(chip, 3)
        top, left = round(warp.centre_y - 31.5) + 128 * row, round(warp.centre_x - 31.5) + 128 * column
        assert (crop.image == city.image[top : top + 64, left : left + 64]).all()
        mask = city.mask[top : top + 64, left : left + 64]
        assert (crop.target[2] == 255 * (mask == 3)).all()
        assert (crop.target[5] == 255 * (mask == 6)).all()
        assert (crop.target[7] == 255 * (mask > 0)).all()
        assert not crop.target[[0, 1, 3, 4, 6]].any()


def test_image_and_mask_move_together(city):
    """With all geometric changes, bright roads of the image lie where the mask has them."""
    source = source_of(city, augment={"colour_share": 0, "warp_share": 1, "rotate_deg": 180, "scale": 0.3})
    agree = []
    for number in range(24):
        crop = source.crop(0, number)
        bright = crop.image.min(2) > 235
        road = crop.target[2] > 0
        agree.append((bright & road).sum() / max(1, bright.sum()))
    assert np.mean(agree) > 0.97


def test_same_numbers_same_crops_in_any_process_and_order(city):
    source = source_of(city)
    again = pickle.loads(pickle.dumps(source))
    first = [source.crop(3, number) for number in (5, 1)]
    second = [again.crop(3, number) for number in (1, 5)][::-1]
    for a, b in zip(first, second, strict=True):
        assert (a.image == b.image).all()
        assert (a.target == b.target).all()
        assert a.name == b.name
    assert (source.crop(4, 5).image != first[0].image).any()


def test_each_chip_comes_as_often_as_set(city):
    source = source_of(city, rare_share=0, crops_per_chip=4)
    assert len(source) == 24
    assert set(Counter(source.place(2, number)[0] for number in range(24)).values()) == {4}


def test_rare_share_shows_rare_classes(city, tmp_path):
    """Class 6 on one chip of six only: it is drawn far more often with rare_share than by chance."""
    rare = make_toy_city(tmp_path)
    for path in sorted((tmp_path / "masks").glob("*.tif"))[1:]:
        write_raster(path, np.zeros((1, 128, 128), np.uint8), read_grid(path))
    share = {}
    for rare_share in (0.0, 1.0):
        source = source_of(rare, rare_share=rare_share, crops_per_chip=10, augment=STILL)
        share[rare_share] = np.mean([source.crop(0, n).target[5].any() for n in range(60)])
    assert share[0.0] < 0.3
    assert share[1.0] > 0.45


def test_chip_smaller_than_crop_is_reflected(tmp_path):
    small = make_toy_city(tmp_path, side_px=48)
    crop = source_of(small, augment=STILL, rare_share=0).crop(0, 0)
    assert crop.image.shape == (64, 64, 3)
    assert (crop.image[8:56, 8:56].reshape(-1, 3).sum(0) > 0).all()
    assert (crop.image[7] == crop.image[9]).all()
    assert (crop.target[7][:, 7] == crop.target[7][:, 9]).all()


@given(
    angle=st.floats(0, 360),
    scale=st.floats(0.5, 2),
    x=st.floats(10, 90),
    y=st.floats(10, 60),
)
@settings(max_examples=40, deadline=None)
def test_window_holds_all_that_a_crop_needs(angle, scale, x, y):
    """Cutting from the window gives what cutting from the whole chip gives."""
    whole = np.random.default_rng(0).integers(0, 255, (70, 100), dtype=np.uint8)
    cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    warp = Warp(x, y, np.array([[cos, -sin], [sin, cos]]) / scale)
    left, top, right, bottom = source_window(warp, 32, 100, 70)
    part = cut(whole[top:bottom, left:right], left, top, warp, 32, smooth=False)
    full = cut(whole, 0, 0, warp, 32, smooth=False)
    # Reflection of far-away pixels differs where the window is cut at the chip's border; inside, all agree.
    corners = (np.mgrid[0:32, 0:32].reshape(2, -1)[::-1].T - 15.5) @ warp.matrix.T + (x, y)
    inside = ((corners > 0.6) & (corners < (98.4, 68.4))).all(1).reshape(32, 32)
    assert (part == full)[inside].mean() > 0.999 if inside.any() else True


def test_eight_symmetries_are_all_different():
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert len({turn(pixels, s).tobytes() + bytes(turn(pixels, s).shape) for s in range(8)}) == 8


def test_recolouring_keeps_no_data_and_data_apart():
    rng = np.random.default_rng(0)
    image = rng.integers(1, 255, (32, 32, 3)).astype(np.uint8)
    image[:4] = 0
    changed = [
        recolour(image, AugmentSettings(colour_share=1, brightness=1), np.random.default_rng(s)) for s in range(20)
    ]
    for result in changed:
        assert not result[:4].any()
        assert result[4:].any(2).all()
        assert result.dtype == np.uint8
    assert np.ptp([result[4:].mean() for result in changed]) > 40
    eight = rng.integers(1, 255, (8, 8, 8)).astype(np.uint8)
    assert recolour(eight, AugmentSettings(colour_share=1), np.random.default_rng(0)).shape == eight.shape


def test_unusable_tables_are_named(city, tmp_path):
    chips = read_fold_chips(city.folds, [city.rgb], [city.masks])
    with pytest.raises(TrainingError, match="fold 7 has 6 training and 0 validation"):
        split_fold(chips, 7)
    with pytest.raises(InputError, match="no such table"):
        read_fold_chips(tmp_path / "folds.csv", [city.rgb], [city.masks])
    with pytest.raises(InputError, match="no mask"):
        read_fold_chips(city.folds, [city.rgb], [])
    with pytest.raises(InputError, match="class 6, but there are 2 bins"):
        index_chips(chips, SpeedBins(upper_mph=(20, 40), value_mph=(15, 30)), 3, 1)
    with pytest.raises(InputError, match="expected 8 uint8"):
        index_chips(chips, BINS, 8, 1)
