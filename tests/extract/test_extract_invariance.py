"""The network does not depend on how the raster lies or how a mosaic is cut into windows."""

import itertools

import numpy as np
import pytest
import shapely
from extract_rasters import UTM, draw, grid
from hypothesis import given, settings
from hypothesis import strategies as st

from roadspeed.extract.chip import build_graph, extract_raster, windows
from roadspeed.extract.mosaic import single
from roadspeed.extract.roads import RoadGraph
from roadspeed.extract.settings import ExtractSettings
from roadspeed.extract.skeleton import extract_skeleton
from roadspeed.geo import LONLAT, project
from roadspeed.speedbins import SpeedBins

SIZE = 480


@st.composite
def street_grids(draw_value: st.DrawFn) -> np.ndarray:
    """Streets across the raster and dead ends from them, faded and broken by a seeded pattern."""
    across = draw_value(st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True))
    down = draw_value(st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True))
    slant = draw_value(st.integers(-25, 25))
    roads = [([(-40, 45 + 78 * k), (SIZE + 40, 45 + 78 * k + slant)], 3) for k in across]
    roads += [([(45 + 78 * k, -40), (45 + 78 * k - slant, SIZE + 40)], 2 + k % 3) for k in down]
    bands = draw(SIZE, SIZE, roads)
    rng = np.random.default_rng(draw_value(st.integers(0, 1000)))
    for row, column in rng.integers(20, SIZE - 40, (draw_value(st.integers(0, 3)), 2)):
        bands[:, row : row + 20, column : column + 20] = 0
    return bands


def lines(graph: RoadGraph) -> np.ndarray:
    """Return the edges in metres from the middle of the raster, y to the south."""
    corner = np.array([660000, 4010000])
    local = project(graph.geometry, LONLAT, UTM)
    return shapely.transform(local, lambda xy: (xy - corner) * [1, -1] - SIZE * 0.15)


def assert_same(one: np.ndarray, two: np.ndarray, tolerance_m: float) -> None:
    """Both networks lie within the tolerance of each other, and have about the same length."""
    assert shapely.length(one).sum() == pytest.approx(shapely.length(two).sum(), rel=0.02, abs=3)
    if len(one):
        assert shapely.hausdorff_distance(shapely.union_all(one), shapely.union_all(two)) < tolerance_m


TURNS = [turn for turn in itertools.product((False, True), repeat=3) if any(turn)]


@settings(max_examples=12, deadline=None)
@given(street_grids(), st.sampled_from(TURNS))
def test_turning_the_raster_turns_the_network(bands: np.ndarray, turn: tuple[bool, bool, bool]) -> None:
    flip_x, flip_y, transpose = turn
    turned = bands[:, :: -1 if flip_y else 1, :: -1 if flip_x else 1]
    if transpose:
        turned = turned.transpose(0, 2, 1)
    plain = extract_raster(bands, grid(SIZE, SIZE))
    other = extract_raster(np.ascontiguousarray(turned), grid(SIZE, SIZE))
    sign = np.array([-1 if flip_x else 1, -1 if flip_y else 1])
    expected = shapely.transform(lines(plain), lambda xy: (xy * sign)[:, ::-1] if transpose else xy * sign)
    assert_same(expected, lines(other), 2.0)
    assert len(other.u) == len(plain.u)
    np.testing.assert_allclose(np.sort(other.speed_mph), np.sort(plain.speed_mph), atol=1.0)


@settings(max_examples=12, deadline=None)
@given(street_grids(), st.integers(256, 460), st.integers(0, 3))
def test_other_windows_give_the_same_network_exactly(bands: np.ndarray, window_px: int, shift: int) -> None:
    choice, bins = ExtractSettings(), SpeedBins()
    whole = extract_raster(bands, grid(SIZE, SIZE))
    mosaic = single(bands, grid(SIZE, SIZE), "raster")
    boxes = windows(mosaic, choice.model_copy(update={"window_px": window_px // 2}))
    assert len(boxes) > 1
    boxes = boxes[shift:] + boxes[:shift]
    skeletons = [extract_skeleton(mosaic, *box, bins.bands, choice) for box in boxes]
    parts = build_graph(mosaic, skeletons, choice, bins)
    for name in ("node_xy", "u", "v", "key", "length_m", "speed_mph"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))
    assert shapely.equals_exact(parts.geometry, whole.geometry, 0).all()
