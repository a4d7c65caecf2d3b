"""Lines to a metric network: nodes, edges, control points, snapping."""

import numpy as np
import pytest
import shapely

from roadspeed.errors import InputError
from roadspeed.score.network import Network, build_network, control_points, cut_edges


def network(*lines: list[tuple[float, float]], mph: float | list[float] = 25.0, least_m: float = 0.0) -> Network:
    geometries = np.array([shapely.LineString(line) for line in lines], object)
    return build_network(geometries, np.broadcast_to(np.asarray(mph, float), len(lines)), least_m)


def test_lines_join_at_shared_vertices_and_not_where_they_cross() -> None:
    joined = network([(0, 0), (50, 0), (100, 0)], [(50, 0), (50, 80)])
    assert (len(joined.node_xy), len(joined)) == (4, 3)
    assert sorted(joined.edge_length_m) == [50, 50, 80]
    crossing = network([(0, 0), (100, 0)], [(50, -40), (50, 40)])
    assert (len(crossing.node_xy), len(crossing)) == (4, 2)


def test_vertices_with_two_neighbours_are_shape_across_lines() -> None:
    one = network([(0, 0), (30, 0)], [(60, 40), (30, 0)], [(60, 40), (60, 100)])
    assert (len(one.node_xy), len(one)) == (2, 1)
    assert one.edge_length_m[0] == pytest.approx(30 + 50 + 60)


def test_repeated_reversed_and_zero_length_lines_do_no_harm() -> None:
    messy = network(
        [(0, 0), (50, 0)], [(50, 0), (0, 0)], [(0, 0), (0, 0), (50, 0)], [(50, 0), (50, 0)], mph=[20, 40, 25, 10]
    )
    assert (len(messy), messy.total_m) == (1, 50)
    assert messy.edge_time_s[0] == pytest.approx(50 / (40 * 0.44704))  # the fastest of them counts


def test_vertices_within_a_millimetre_are_one() -> None:
    assert len(network([(0, 0), (50, 0)], [(50.0001, 0.0001), (100, 0)])) == 1
    assert len(network([(0, 0), (50, 0)], [(50.01, 0), (100, 0)])) == 2


def test_parallel_edges_loops_and_rings_are_kept() -> None:
    parallel = network([(0, 0), (100, 0)], [(0, 0), (50, 40), (100, 0)], [(-20, 0), (0, 0)], [(100, 0), (120, 0)])
    assert sorted(np.round(parallel.edge_length_m)) == [20, 20, 100, 128]
    loop = network([(0, 0), (50, 0)], [(50, 0), (80, 0), (80, 30), (50, 30), (50, 0)])
    assert sorted(loop.edge_length_m) == [50, 120]
    ring = network([(0, 0), (40, 0), (40, 40), (0, 40), (0, 0)])
    assert (len(ring), ring.edge_length_m[0], len(ring.node_xy)) == (1, 160, 1)


def test_travel_time_keeps_each_piece_s_speed() -> None:
    mixed = network([(0, 0), (50, 0)], [(50, 0), (100, 0)], mph=[20, 40])
    at_75 = mixed.points_at(np.array([0]), np.array([75.0]))
    assert mixed.edge_time_s[0] == pytest.approx((50 / 20 + 50 / 40) / 0.44704)
    slow_first = at_75.xy[0, 0] == 75
    assert at_75.position_s[0] == pytest.approx(((50 / 20 + 25 / 40) if slow_first else (25 / 20)) / 0.44704)


def test_small_components_go_by_their_longest_path() -> None:
    big = [(0, 0), (100, 0)]
    assert len(network(big, [(200, 0), (204, 0)], least_m=5)) == 1
    assert len(network(big, [(200, 0), (206, 0)], least_m=5)) == 2
    zigzag = [(200, 0), (204, 0), (204, 1), (200, 1)]  # 9 m of road in a box of 4 × 1 m
    assert len(network(big, zigzag, least_m=8.9)) == 2
    assert len(network(big, zigzag, least_m=9.1)) == 1
    star = [[(200, 0), (202, 0)], [(200, 0), (198, 0)], [(200, 0), (200, 2)], [(200, 0), (200, -2)]]  # paths of 4 m
    assert len(network(big, *star, least_m=5)) == 1


@pytest.mark.parametrize(
    ("length_m", "inner"),
    [(37.4, []), (37.6, [18.8]), (50, [25]), (51, [25.5]), (100, [50]), (101, [33.667, 67.333]), (150, [50, 100])],
)
def test_control_points_lie_as_in_the_reference(length_m: float, inner: list[float]) -> None:
    points = control_points(network([(0, 0), (length_m, 0)]), 50.0)
    assert points.position_m == pytest.approx([0, *inner, length_m], abs=0.001)
    start, end = cut_edges(network([(0, 0), (length_m, 0)]), 50.0)
    assert list(start.position_m) == pytest.approx(list(points.position_m[:-1]))
    assert list(end.position_m) == pytest.approx(list(points.position_m[1:]))


def test_snapping_takes_the_nearest_edge_within_the_limit() -> None:
    streets = network([(0, 0), (100, 0)], [(0, 6), (100, 6)])
    snapped = streets.snap(np.array([[50, 2], [50, 3.9], [20, 10.5], [-3, 0], [104.2, 0], [0.03, 0]]), 4.0)
    assert (snapped.edge >= 0).tolist() == [True, True, False, True, False, True]
    assert snapped.xy[0].tolist() == [50, 0] and snapped.xy[1].tolist() == [50, 6]
    assert snapped.position_m[3] == 0.0
    assert snapped.position_m[5] == 0.0  # within 5 cm of a node is the node


def test_empty_and_impossible_input() -> None:
    nothing = build_network(np.empty(0, object), np.empty(0))
    assert len(nothing) == 0 and len(control_points(nothing, 50.0)) == 0
    assert nothing.snap(np.array([[0.0, 0.0]]), 4.0).edge.tolist() == [-1]
    assert len(network([(1, 1), (1, 1)])) == 0
    with pytest.raises(InputError, match="2,000 km"):
        network([(0, 0), (3e6, 0)])
    with pytest.raises(InputError, match="2,000 km"):
        network([(0, 0), (np.inf, 0)])
