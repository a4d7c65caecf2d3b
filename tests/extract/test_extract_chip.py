"""Road graphs of small rasters whose answers can be worked out by hand."""

import numpy as np
import pytest
import shapely
from extract_rasters import PIXEL_M, UTM, draw, grid
from rasterio.crs import CRS
from rasterio.transform import Affine

from roadspeed.errors import InputError
from roadspeed.extract.chip import extract_raster
from roadspeed.extract.roads import RoadGraph
from roadspeed.extract.settings import ExtractSettings
from roadspeed.geo import LONLAT, project, transformer
from roadspeed.raster import Grid
from roadspeed.speedbins import SpeedBins


def extract(bands: np.ndarray, **settings: float) -> RoadGraph:
    return extract_raster(bands, grid(*bands.shape[1:]), ExtractSettings(**settings))


def metres(graph: RoadGraph) -> np.ndarray:
    """Return the edges in metres from the raster's upper left corner, x to the east, y to the south."""
    lines = project(graph.geometry, LONLAT, UTM)
    return shapely.transform(lines, lambda xy: np.column_stack([xy[:, 0] - 660000, 4010000 - xy[:, 1]]))


def ends(graph: RoadGraph) -> np.ndarray:
    """Return how many nodes have one edge end, two, three, four."""
    return np.bincount(np.bincount(np.concatenate([graph.u, graph.v])), minlength=5)[1:]


def test_a_straight_road_reaches_both_borders() -> None:
    graph = extract(draw(300, 400, [([(-50, 150), (450, 150)], 3)]))
    assert len(graph.u) == 1
    line = metres(graph)[0]
    assert graph.length_m[0] == pytest.approx(400 * PIXEL_M, abs=0.8)
    assert np.abs(shapely.get_coordinates(line)[:, 1] - 150.5 * PIXEL_M).max() < 0.35
    assert graph.speed_mph[0] == pytest.approx(25, abs=0.1)
    assert graph.travel_time_s[0] == pytest.approx(graph.length_m[0] / (25 * 0.44704), rel=0.01)


def test_a_crossing_is_one_junction_at_its_place() -> None:
    graph = extract(draw(400, 400, [([(-50, 210), (450, 190)], 3), ([(190, -50), (210, 450)], 3)]))
    assert ends(graph).tolist() == [4, 0, 0, 1]
    junction = graph.node_xy[np.bincount(np.concatenate([graph.u, graph.v])) == 4]
    x, y = transformer(LONLAT, UTM).transform(*junction[0])
    assert np.hypot(x - 660000 - 200.5 * PIXEL_M, 4010000 - y - 200.5 * PIXEL_M) < 0.5


def test_a_side_road_does_not_bend_the_road_it_meets() -> None:
    graph = extract(draw(400, 400, [([(-50, 200), (450, 200)], 3), ([(200, 200), (200, 450)], 2)]))
    assert ends(graph).tolist() == [3, 0, 1, 0]
    through = [line for line in metres(graph) if line.bounds[3] < 65]
    assert np.abs(shapely.get_coordinates(through)[:, 1] - 200.5 * PIXEL_M).max() < 0.5
    assert sorted(graph.speed_mph.round().tolist()) == [20, 25, 25]


def test_a_ring_without_a_branch_is_kept() -> None:
    graph = extract(draw(400, 400, [([(100, 100), (300, 100), (300, 300), (100, 300), (100, 100)], 3)]))
    assert graph.u.tolist() == graph.v.tolist() == [0]
    assert graph.length_m[0] == pytest.approx(800 * PIXEL_M, rel=0.03)


def test_parallel_edges_between_two_junctions_are_both_kept() -> None:
    loop = [(150, 200), (150, 120), (250, 120), (250, 200)]
    graph = extract(draw(400, 400, [([(-50, 200), (450, 200)], 3), (loop, 3)]))
    assert sorted(graph.key.tolist()) == [0, 0, 0, 1]
    assert ends(graph).tolist() == [2, 0, 2, 0]


def test_a_dual_carriageway_stays_two_lines() -> None:
    graph = extract(draw(400, 400, [([(-50, 190), (450, 190)], 5), ([(-50, 216), (450, 216)], 5)]))
    assert len(graph.u) == 2
    assert ends(graph).tolist() == [4, 0, 0, 0]


@pytest.mark.parametrize(("gap_px", "joined"), [(20, True), (45, True), (110, False)])
def test_a_gap_in_a_road_is_closed_up_to_a_length_in_metres(gap_px: int, joined: bool) -> None:
    bands = draw(300, 600, [([(-50, 150), (650, 150)], 3)])
    bands[:, :, 300 - gap_px // 2 : 300 + gap_px // 2] = 0
    graph = extract(bands)
    assert len(graph.u) == (1 if joined else 2)
    if joined:
        assert graph.length_m[0] == pytest.approx(600 * PIXEL_M, abs=1)


@pytest.mark.parametrize("gap_px", [30, 44])
@pytest.mark.parametrize("piece_px", [11, 19, 27])
def test_a_piece_no_longer_than_wide_between_two_gaps_is_a_part_of_the_road(gap_px: int, piece_px: int) -> None:
    bands = draw(300, 600, [([(-50, 150), (650, 150)], 3)], width_px=17)
    for middle in (300 - (piece_px + gap_px) // 2, 300 + (piece_px + gap_px) // 2):
        bands[:, :, middle - gap_px // 2 : middle + gap_px // 2] = 0
    graph = extract(bands)
    assert len(graph.u) == 1
    assert graph.length_m[0] == pytest.approx(600 * PIXEL_M, abs=3)


@pytest.mark.parametrize("left_px", [8, 14, 20])
def test_what_a_gap_leaves_of_the_roads_edge_does_not_keep_its_ends_apart(left_px: int) -> None:
    bands = draw(300, 600, [([(-50, 150), (650, 150)], 3)], width_px=21)
    whole = bands.copy()
    bands[:, :, 280:330] = 0
    for part in (np.s_[:, 156:161, 280 : 280 + left_px], np.s_[:, 140:144, 330 - left_px : 330]):
        bands[part] = whole[part]
    graph = extract(bands)
    assert len(graph.u) == 1
    assert graph.length_m[0] == pytest.approx(600 * PIXEL_M, abs=3)


def test_faint_probability_closes_a_gap_that_direction_alone_would_not() -> None:
    bands = draw(300, 600, [([(-50, 150), (650, 150)], 3)])
    bands[:, :, 255:345] = 0
    assert len(extract(bands).u) == 2
    bands[7, 144:157, 255:345] = 80
    assert len(extract(bands, low=0.3, seen=0.3, relative=0.9).u) == 1


def test_an_end_is_led_to_the_road_beside_when_that_road_is_bitten() -> None:
    bands = draw(400, 400, [([(-50, 200), (450, 200)], 3), ([(200, 200), (200, 450)], 3)])
    bands[:, 202:222, 185:215] = 0
    graph = extract(bands)
    assert ends(graph).tolist() == [3, 0, 1, 0]


def test_a_true_dead_end_beside_a_road_is_left_alone() -> None:
    graph = extract(draw(400, 400, [([(-50, 200), (450, 200)], 3), ([(200, 230), (200, 450)], 3)]))
    assert len(graph.u) == 2
    assert ends(graph).tolist() == [4, 0, 0, 0]


def test_a_hidden_corner_is_closed() -> None:
    bands = draw(400, 400, [([(-50, 200), (200, 200), (200, 450)], 3)])
    bands[:, 188:212, 188:212] = 0
    graph = extract(bands)
    assert len(graph.u) == 1
    assert graph.length_m[0] == pytest.approx(400 * PIXEL_M, abs=4)


def test_ragged_edges_grow_no_spurs_and_specks_no_roads() -> None:
    bands = draw(400, 400, [([(-50, 200), (450, 200)], 3)])
    bands[7, 206:216, 100:104] = 255
    bands[7, 184:194, 300:304] = 255
    bands[7, 50:70, 50:70] = 255
    graph = extract(bands)
    assert len(graph.u) == 1


def test_a_hole_in_the_surface_makes_no_loop() -> None:
    bands = draw(400, 400, [([(-50, 200), (450, 200)], 3)], width_px=25)
    bands[:, 195:206, 190:202] = 0
    assert len(extract(bands).u) == 1


def test_weak_networks_are_noise() -> None:
    bands = draw(300, 400, [([(-50, 80), (450, 80)], 3), ([(-50, 220), (450, 220)], 3)])
    bands[:, 150:] = bands[:, 150:] // 255 * 80
    assert len(extract(bands).u) == 1
    assert len(extract(bands, high=0.25).u) == 2


def test_areas_wider_than_a_road_are_left_out() -> None:
    bands = draw(600, 600, [([(-50, 100), (650, 100)], 3)])
    bands[7, 250:550, 200:500] = 255
    assert len(extract(bands).u) == 1
    assert len(extract(np.full((8, 300, 300), 255, np.uint8)).u) == 0


def test_speed_is_an_expectation_over_the_bins_clamped_to_label_speeds() -> None:
    bands = draw(300, 400, [([(-50, 150), (450, 150)], 3)])
    bands[4] = bands[2]
    assert extract(bands).speed_mph[0] == pytest.approx((25 + 45) / 2, abs=0.2)
    assert extract(bands, slowest_mph=40).speed_mph[0] == 40
    bands[:7] = 0
    assert extract(bands).speed_mph[0] == ExtractSettings().prior_mph
    odd = SpeedBins(value_mph=(15, 20, 30, 35, 45, 55, 65))
    bands[2] = bands[7]
    assert extract_raster(bands, grid(300, 400), bins=odd).speed_mph[0] == pytest.approx(30, abs=0.2)


def test_an_edge_is_cut_where_its_speed_changes() -> None:
    bands = draw(300, 800, [([(-50, 150), (850, 150)], 3)])
    bands[4, :, 500:] = bands[2, :, 500:]
    bands[2, :, 500:] = 0
    graph = extract(bands)
    assert sorted(graph.speed_mph.round().tolist()) == [25, 45]
    slow = graph.length_m[graph.speed_mph.argmin()]
    assert slow == pytest.approx(500 * PIXEL_M, abs=2)
    assert len(extract(bands, split_mph=0).u) == 1


def test_lengths_are_metres_on_the_ground_not_pixels() -> None:
    bands = draw(400, 400, [([(200, -50), (200, 450)], 3)])
    degrees = 2.7e-6
    north = Grid(400, 400, CRS.from_epsg(4326), Affine(degrees, 0, 25, 0, -degrees, 60))
    tall = extract_raster(bands, north).length_m[0]
    wide = extract_raster(bands.transpose(0, 2, 1).copy(), north).length_m[0]
    assert tall == pytest.approx(400 * degrees * 111412, rel=0.01)
    assert wide / tall == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (3, 3), (30, 7)])
@pytest.mark.parametrize("value", [0, 255])
def test_degenerate_rasters_give_an_empty_graph(shape: tuple[int, int], value: int) -> None:
    graph = extract(np.full((8, *shape), value, np.uint8))
    assert len(graph.u) == len(graph.geometry) == len(graph.node_xy) == 0


@pytest.mark.parametrize(
    ("transform", "crs", "message"),
    [
        (Affine(np.nan, 0, 0, 0, -1, 0), UTM, "geotransform"),
        (Affine(0, 0, 0, 0, 0, 0), UTM, "geotransform"),
        (Affine(1, 0, 1e9, 0, -1, 0), CRS.from_epsg(4326), "outside the Earth"),
        (Affine(0.3, 0, 660000, 0, -0.3, 4010000), None, "no CRS"),
    ],
)
def test_a_raster_without_a_place_is_named(transform: Affine, crs: CRS | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        extract_raster(np.zeros((8, 10, 10), np.uint8), Grid(10, 10, crs, transform), name="chip7")


def test_a_raster_that_is_no_prediction_is_named() -> None:
    with pytest.raises(InputError, match=r"chip7: has 3 bands, expected 8"):
        extract_raster(np.zeros((3, 10, 10), np.uint8), grid(10, 10), name="chip7")
    with pytest.raises(InputError, match="expected uint8"):
        extract_raster(np.zeros((8, 10, 10), np.float32), grid(10, 10), name="chip7")
