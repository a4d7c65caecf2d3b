"""Inference: flips undone exactly, windows that add up, borders from neighbours, roles of folds."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.transform import Affine
from rasterio.windows import Window

from roadspeed.chips import Chip
from roadspeed.errors import ConfigError
from roadspeed.predict.context import Placed, bordered_size, neighbours_of, place, read_bordered
from roadspeed.predict.inference import SYMMETRIES, Network, Predictor, mean_probability, turn, turn_back
from roadspeed.predict.settings import PredictSettings
from roadspeed.predict.shard import role_of, shard_of
from roadspeed.predict.windows import network_shape, predict_windows, spans, write_strips
from roadspeed.raster import Grid, read_raster, write_raster
from roadspeed.speedbins import SpeedBins


def test_each_view_is_undone_exactly():
    x = torch.arange(2 * 3 * 5).reshape(1, 2, 3, 5)
    views = [turn(x, s) for s in SYMMETRIES[8]]
    assert all(torch.equal(turn_back(view, s), x) for s, view in zip(SYMMETRIES[8], views, strict=True))
    assert len({(tuple(v.shape), tuple(v.flatten().tolist())) for v in views}) == 8


@pytest.mark.parametrize("flips", [1, 4, 8])
def test_mean_over_views_of_a_network_without_direction(flips):
    """A network that looks at each pixel alone gives the same with any number of views, and one sigmoid is passed."""
    x = torch.randn(1, 1, 6, 4)
    seen = []

    def network(view):
        seen.append(view.clone())
        return torch.cat([view * 2, view - 1], 1)

    found = mean_probability([network], x, flips)
    expected = torch.sigmoid(torch.cat([x * 2, x - 1], 1))[0]
    assert torch.allclose(found, expected, atol=1e-6)
    assert len(seen) == flips
    background = mean_probability([lambda view: torch.full_like(view, -30.0)], x, flips)
    assert background.max() < 1e-9  # a second sigmoid would make it 0.5


def test_mean_over_views_makes_the_result_symmetric():
    """A network that looks one pixel to the east becomes even-handed with four flips."""

    def network(view):
        return view.roll(1, -1)

    x = torch.randn(1, 1, 8, 8)
    found = mean_probability([network], x, 4)
    turned = mean_probability([network], x.flip(-1), 4).flip(-1)
    assert torch.allclose(found, turned, atol=1e-6)
    assert not torch.allclose(mean_probability([network], x, 1), mean_probability([network], x.flip(-1), 1).flip(-1))


def test_networks_are_averaged_as_probabilities_and_no_data_is_zero():
    logits = (2.0, -4.0)
    networks = [
        Network(lambda view, value=value: torch.full((1, 8, *view.shape[2:]), value), None, 3, SpeedBins())
        for value in logits
    ]
    predictor = Predictor(networks, 4)
    image = np.full((3, 32, 32), 9, np.uint8)
    image[:, :5] = 0
    found = predictor.probabilities(image)
    each = [1 / (1 + np.exp(-value)) for value in logits]
    assert (found[:, 5:] == round(255 * np.mean(each))).all()
    assert (found[:, :5] == 0).all()
    assert (predictor.probabilities(image, [1])[:, 5:] == round(255 * each[1])).all()
    assert predictor.band_names[0] == "over 0 to 10 mph"
    assert predictor.band_names[-1] == "all roads"


def test_a_fold_predicts_what_it_did_not_see():
    assert role_of(1, [0, 1, 2]) == ("validation", [1])
    assert role_of(4, [0, 1]) == ("train", [0, 1])
    assert role_of(None, [0, 1]) == ("unseen", [0, 1])


def test_shards_are_blocks_of_rows():
    chips = [
        Chip(f"c{n}", "toy", "train", 1, n, None, None, "missing", n // 4, n % 4, 8, 8, 0, 0, 1, 1, "EPSG:4326")
        for n in range(14)
    ]
    shards = [[chip.number for chip in shard_of(chips[::-1], n, 4)] for n in range(4)]
    assert list(itertools.chain(*shards)) == list(range(14))
    assert [len(s) for s in shards] == [4, 4, 3, 3]


# Windows ----------------------------------------------------------------------------------------------------------


@given(size=st.integers(1, 700), window=st.integers(32, 200), share=st.floats(0, 0.5))
@settings(max_examples=60, deadline=None)
def test_spans_cover_a_side_and_weigh_one_in_all(size, window, share):
    total = np.zeros(size)
    parts = spans(size, window, int(window * share))
    for part in parts:
        assert part.stop - part.start == min(size, window)
        assert (part.weight >= 0).all()
        total[part.start : part.stop] += part.weight
    assert np.allclose(total, 1, atol=1e-5)
    for a, b in itertools.pairwise(parts):
        assert a.stop - b.start >= int(window * share)


def _blur(image):
    """A stand-in for the network with a reach of 8 pixels: (1, H, W) of the mean over 17 × 17 pixels, reflected."""
    import cv2

    return cv2.blur(image[0].astype(np.float32), (17, 17), borderType=cv2.BORDER_REFLECT)[None]


def test_windows_give_what_the_whole_gives(tmp_path):
    image = np.random.default_rng(0).integers(1, 255, (1, 700, 450)).astype(np.uint8)
    asked = []

    def read(window: Window):
        asked.append((int(window.height), int(window.width)))
        rows, columns = window.toslices()
        return image[:, rows, columns]

    config = PredictSettings(window_px=160, overlap_px=48, whole_px=200)
    grid = Grid(450, 700, CRS.from_epsg(4326), Affine(1e-6, 0, 3, 0, -1e-6, 4))
    strips = list(predict_windows(read, (700, 450), _blur, config, "test"))
    write_strips(tmp_path / "p.tif", iter(strips), grid, ["all roads"])
    found, where = read_raster(tmp_path / "p.tif")
    whole = _blur(image)
    # A window is wrong within 8 px of its side, where its weight is below 8.5 / 48: a fifth of the error at most.
    assert np.abs(found - whole).max() < 12
    assert np.abs(found - whole).mean() < 1
    assert max(asked) == (160, 160)
    assert where == grid
    assert all(first % 256 == 0 for first, _ in strips)
    assert [strip.shape[1] for _, strip in strips[:-1]] == [256, 256]
    once = list(predict_windows(read, (700, 450), _blur, PredictSettings(whole_px=700), "test"))
    assert np.allclose(once[0][1][:, :-12, :-12], whole[:, :-12, :-12])  # all but where it is filled up to 704 × 480


def test_network_shape_tells_what_comes():
    config = PredictSettings(window_px=1024, whole_px=1536)
    assert network_shape(1300, 1300, config) == (1312, 1312)
    assert network_shape(512, 96, config) == (512, 96)
    assert network_shape(5000, 700, config) == (1024, 704)
    with pytest.raises(ConfigError, match="above half"):
        PredictSettings.checked({"window_px": 64, "overlap_px": 40})


# Borders ----------------------------------------------------------------------------------------------------------


def _city(folder, missing=()):
    """Four chips of 50 × 50 px in a square, cut from one picture; returns the picture and the placed chips."""
    whole = np.random.default_rng(0).integers(1, 255, (3, 100, 100)).astype(np.uint8)
    origin = Affine(1e-6, 0, 10, 0, -1e-6, 20)
    chips = []
    for row, column in itertools.product((0, 1), (0, 1)):
        if (row, column) in missing:
            continue
        grid = Grid(50, 50, CRS.from_epsg(4326), origin @ Affine.translation(50 * column, 50 * row))
        path = folder / f"{row}{column}.tif"
        write_raster(path, whole[:, 50 * row : 50 * row + 50, 50 * column : 50 * column + 50], grid)
        chips.append(place(path))
    return whole, chips


def test_smallest_size_the_network_takes():
    assert sum(bordered_size(1300, 6)) == 12
    assert bordered_size(512, 0) == (0, 0)
    assert sum(bordered_size(512, 6)) == 32
    assert bordered_size(50, 0) == (7, 7)


def test_border_comes_from_neighbours_and_is_reflected_elsewhere(tmp_path):
    whole, chips = _city(tmp_path)
    found, own = read_bordered(chips[0], neighbours_of(chips, 0, 0), 3, 0)
    assert found.shape == (3, 64, 64)
    assert own == (slice(7, 57), slice(7, 57))
    assert (found[:, 7:, 7:] == whole[:, :57, :57]).all()  # itself, its neighbours to the east, south and south-east
    assert (found[:, :7, 7:57] == whole[:, :7, :50][:, ::-1]).all()
    assert (found[:, 7:57, :7] == whole[:, :50, :7][:, :, ::-1]).all()


def test_absent_neighbours_no_data_and_other_grids_are_reflected(tmp_path):
    whole, chips = _city(tmp_path, missing={(0, 1)})
    found, _ = read_bordered(chips[0], chips[1:], 3, 0)
    assert (found[:, 7:57, 57:] == whole[:, :50, 43:50][:, :, ::-1]).all()
    assert (found[:, 57:, 57:] == whole[:, 50:57, 50:57]).all()
    grid = chips[1].grid
    hole = whole[:, 50:, :50].copy()
    hole[:, :3] = 0
    write_raster(tmp_path / "hole.tif", hole, grid)
    found, _ = read_bordered(chips[0], [place(tmp_path / "hole.tif")], 3, 0)
    assert (found[:, 57:60, 7:57] == whole[:, 47:50, :50][:, ::-1]).all()
    assert (found[:, 60:, 7:57] == whole[:, 53:57, :50]).all()
    finer = Grid(50, 50, grid.crs, grid.transform @ Affine.scale(0.5))
    utm = Grid(50, 50, CRS.from_epsg(32632), grid.transform)
    for other in (finer, utm):
        found, _ = read_bordered(chips[0], [Placed(tmp_path / "10.tif", other)], 3, 0)
        assert (found[:, 57:, 7:57] == whole[:, 43:50, :50][:, ::-1]).all()


def test_only_near_chips_are_neighbours(tmp_path):
    _, chips = _city(tmp_path)
    far = Grid(50, 50, CRS.from_epsg(4326), Affine(1e-6, 0, 10.001, 0, -1e-6, 20))
    assert neighbours_of([*chips, Placed(tmp_path / "far.tif", far)], 0, 6) == chips[1:]
