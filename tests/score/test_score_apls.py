"""APLS: answers worked out by hand, published answers on real labels, invariances."""

from itertools import pairwise
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from roads_by_hand import roads
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from roadspeed.geo import LONLAT, project, utm_crs
from roadspeed.score import apls as apls_module
from roadspeed.score.apls import apls, pair_distances, prepare_pair
from roadspeed.score.evaluate import Scores, evaluate
from roadspeed.score.network import Network, Points
from roadspeed.score.readers import read_roads
from roadspeed.score.roads import Roads, no_roads
from roadspeed.score.settings import ScoreSettings
from roadspeed.score.shortest import build_hierarchy, distance_rows

DEFAULTS = ScoreSettings()


def img0(real_data: Path) -> Roads:
    return next(iter(read_roads(real_data / "vegas_img0" / "AOI_2_Vegas_img0.geojson").values()))


def shifted(truth: Roads, east_m: float, north_m: float) -> Roads:
    utm = utm_crs(-115.2, 36.2)
    moved = shapely.transform(project(truth.lines, LONLAT, utm), lambda xy: xy + np.array([east_m, north_m]))
    return Roads(project(moved, utm, LONLAT), truth.speed_mph)


def test_a_missing_branch_by_hand() -> None:
    # Truth: a T of three arms of 30 m, so 4 control nodes, 6 pairs. The proposal lacks one arm: its end's 3 pairs
    # are missing, the other 3 are found. Backwards 3 nodes... of one 60 m edge: its ends and its middle, all found.
    truth = roads([(0, 0), (30, 0)], [(30, 0), (60, 0)], [(30, 0), (30, 30)])
    scores = evaluate(truth, roads([(0, 0), (60, 0)]), DEFAULTS)
    assert scores.apls_length_truth_onto_proposal == pytest.approx(0.5)
    assert scores.apls_length_proposal_onto_truth == pytest.approx(1.0)
    assert scores.apls_length == pytest.approx(2 * 0.5 / 1.5)


def test_a_detour_and_a_gap_by_hand() -> None:
    # 0 ... 30 m straight in truth; the proposal goes from one end to the other by way of (15, 20): 50 m.
    detour = evaluate(roads([(0, 0), (30, 0)]), roads([(0, 0), (15, 20), (30, 0)]), DEFAULTS)
    assert detour.apls_length_truth_onto_proposal == pytest.approx(1 - 20 / 30, abs=1e-4)
    # Backwards: nodes at both ends and the middle of the 50 m edge, which is 20 m away: 4 of 6 ordered pairs are
    # missing, the other 2 are 20 m too short of 50.
    assert detour.apls_length_proposal_onto_truth == pytest.approx(1 - (4 * 1 + 2 * 0.4) / 6, abs=1e-4)
    # A gap in the middle: the pairs across it are missing.
    gap = evaluate(
        roads([(0, 0), (30, 0)], [(30, 0), (30, 5)], [(30, 0), (60, 0)]),
        roads([(0, 0), (20, 0)], [(40, 0), (60, 0)]),
        DEFAULTS,
    )
    # Of the truth's nodes, (30, 0) and (30, 5) are not found; 0 and 60 are, without a path: nothing is left.
    assert gap.apls_length_truth_onto_proposal == 0.0
    assert gap.apls_length == 0.0


def test_direction_tells_what_is_lost() -> None:
    truth = roads([(0, 0), (30, 0)], [(30, 0), (60, 0)], [(30, 0), (30, 30)])
    pair = prepare_pair(truth, roads([(0, 0), (60, 0)]), DEFAULTS)
    direction = apls(pair).truth_onto_proposal
    assert (direction.control_nodes, direction.pairs) == (4, 12)
    assert direction.missing == pytest.approx(0.5)
    assert direction.too_long == pytest.approx(0, abs=1e-6) and direction.too_short == pytest.approx(0, abs=1e-6)


def test_known_answers_on_real_labels(real_data: Path) -> None:
    truth = img0(real_data)
    same = evaluate(truth, truth, DEFAULTS)
    assert (same.apls_length, same.apls_time) == (pytest.approx(1.0, abs=1e-9), pytest.approx(1.0, abs=1e-9))
    three = [evaluate(truth, shifted(truth, *by), DEFAULTS).apls_length for by in ((3, 0), (0, 3))]
    assert np.mean(three) == pytest.approx(0.985, abs=0.01)
    for by in ((5, 0), (0, 5)):  # beyond the snap; only what crosses the shifted roads still finds them
        assert evaluate(truth, shifted(truth, *by), DEFAULTS).apls_length == pytest.approx(0.31, abs=0.1)
    half = evaluate(truth, Roads(truth.lines, truth.speed_mph / 2), DEFAULTS)
    assert half.apls_length == pytest.approx(1.0)
    assert half.apls_time == pytest.approx(0.0, abs=1e-6)
    double = evaluate(truth, Roads(truth.lines, truth.speed_mph * 2), DEFAULTS)
    assert double.apls_time_truth_onto_proposal == pytest.approx(0.5, abs=1e-6)


def test_empty_graphs_both_ways() -> None:
    some = roads([(0, 0), (100, 0)])
    for truth, proposal, strict in ((some, no_roads(), 0.0), (no_roads(), some, 0.0), (no_roads(), no_roads(), 1.0)):
        scores = evaluate(truth, proposal, DEFAULTS)
        assert (scores.apls_length, scores.apls_time) == (strict, strict)
        assert (scores.apls_length_compatible, scores.apls_time_compatible) == (None, None)
    crumbs = roads([(0, 0), (2.5, 0)])  # shorter than either limit: as good as nothing
    assert evaluate(some, crumbs, DEFAULTS).apls_length == 0.0
    assert evaluate(some, crumbs, DEFAULTS).apls_length_compatible is None


def test_unknown_speeds_give_no_score_by_time_unless_filled_in() -> None:
    truth, proposal = roads([(0, 0), (100, 0)]), roads([(0, 0), (100, 0)], mph=np.nan)
    scores = evaluate(truth, proposal, DEFAULTS)
    assert (scores.apls_length, scores.apls_time, scores.apls_time_truth_onto_proposal) == (1.0, None, None)
    assert evaluate(truth, proposal, ScoreSettings(default_speed_mph=25)).apls_time == pytest.approx(1.0)


def test_settings_have_their_effect() -> None:
    truth, beside = roads([(0, 0), (200, 0)]), roads([(0, 3), (200, 3)])
    assert evaluate(truth, beside, DEFAULTS).apls_length == pytest.approx(1.0)
    assert evaluate(truth, beside, ScoreSettings(snap_m=2)).apls_length == 0.0
    assert prepare_pair(truth, beside, DEFAULTS).control_nodes == (5, 5)
    assert prepare_pair(truth, beside, ScoreSettings(control_spacing_m=100)).control_nodes == (3, 3)
    crumb = roads([(0, 0), (200, 0)], [(300, 0), (304, 0)])
    assert len(prepare_pair(crumb, crumb, DEFAULTS).truth) == 1
    assert len(prepare_pair(crumb, crumb, DEFAULTS).proposal) == 2
    more = ScoreSettings(min_component_truth_m=3, min_component_proposal_m=5)
    assert len(prepare_pair(crumb, crumb, more).truth) == 2
    assert len(prepare_pair(crumb, crumb, more).proposal) == 1


def test_a_sample_is_seeded_and_reported() -> None:
    truth = roads([(0, 0), (2000, 0)])
    proposal = roads([(0, 0), (800, 0)], [(900, 0), (2000, 0)])
    exact = evaluate(truth, proposal, DEFAULTS)
    assert (exact.compared_nodes_truth, exact.control_nodes_truth) == (41, 41)
    one, again, other = (
        evaluate(truth, proposal, ScoreSettings(max_control_nodes=20, seed=seed)) for seed in (1, 1, 2)
    )
    assert (one.compared_nodes_truth, one.control_nodes_truth) == (20, 41)
    assert one == again
    assert one.apls_length != other.apls_length
    assert one.apls_length == pytest.approx(exact.apls_length, abs=0.15)


# --- against another program, and invariances


def grid_lines(present: list[bool], bends: list[int]) -> list[list[tuple[float, float]]]:
    """Return streets of a 3 × 3 grid of crossings, 60 m apart, some missing, some bent."""
    corners = [(x * 60.0, y * 60.0) for y in range(3) for x in range(3)]
    ends = [(i, i + 1) for i in range(9) if i % 3 < 2] + [(i, i + 3) for i in range(6)]
    lines = []
    for (a, b), here, bend in zip(ends, present, bends, strict=True):
        if here:
            (x0, y0), (x1, y1) = corners[a], corners[b]
            lines.append([(x0, y0), ((x0 + x1) / 2 + bend, (y0 + y1) / 2 + bend), (x1, y1)])
    return lines


grids = st.tuples(
    st.lists(st.booleans(), min_size=12, max_size=12).filter(any),
    st.lists(st.integers(-8, 8), min_size=12, max_size=12),
)


def as_networkx(network: Network, points: Points, weight: str) -> nx.MultiGraph:
    """Return the network with the points put in as nodes ('p', i)."""
    graph = nx.MultiGraph()
    for edge, (first, last) in enumerate(network.edge_ends.tolist()):
        mine = np.flatnonzero(points.edge == edge)
        position = points.position_s if weight == "time" else points.position_m
        stops = [(0.0, first), *sorted((position[i], ("p", int(i))) for i in mine)]
        stops.append((float(network.edge_weights(weight)[edge]), last))
        for (at, a), (further, b) in pairwise(stops):
            graph.add_edge(a, b, weight=further - at)
    return graph


def slow_direction(home: tuple[Network, Points], other: tuple[Network, Points], weight: str) -> float:
    """The metric's definition, pair by pair."""
    here, there = as_networkx(*home, weight), as_networkx(*other, weight)
    own = {i: nx.single_source_dijkstra_path_length(here, ("p", i)) for i in range(len(home[1]))}
    found = {i: nx.single_source_dijkstra_path_length(there, ("p", i)) if ("p", i) in there else {} for i in own}
    losses = []
    for i, paths in own.items():
        for j in own:
            length = paths.get(("p", j))
            if i != j and length is not None and length > 0.001:
                got = found[i].get(("p", j))
                losses.append(1.0 if got is None else min(1.0, abs(length - got) / length))
    return 1 - float(np.mean(losses)) if losses else 0.0


@settings(max_examples=25, deadline=None)
@given(grids, grids)
def test_both_directions_equal_the_definition(first: tuple, second: tuple) -> None:
    pair = prepare_pair(
        roads(*grid_lines(*first), mph=[20 + 5 * (i % 4) for i in range(sum(first[0]))]),
        roads(*grid_lines(*second)),
        DEFAULTS,
    )
    for weight in ("length", "time"):
        score = apls(pair, weight)
        truth, proposal = (pair.truth, pair.truth_points), (pair.proposal, pair.truth_in_proposal)
        assert score.truth_onto_proposal.score == pytest.approx(slow_direction(truth, proposal, weight), abs=1e-9)
        proposal, truth = (pair.proposal, pair.proposal_points), (pair.truth, pair.proposal_in_truth)
        assert score.proposal_onto_truth.score == pytest.approx(slow_direction(proposal, truth, weight), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 25),
    st.lists(st.tuples(st.integers(0, 24), st.integers(0, 24), st.integers(0, 9), st.integers(1, 9)), max_size=80),
)
def test_distances_of_any_multigraph_equal_dijkstra_s(nodes: int, edges: list) -> None:
    table = np.array([(a % nodes, b % nodes, one, two) for a, b, one, two in edges], np.int64).reshape(-1, 4)
    weights = np.ascontiguousarray(table[:, 2:].T, dtype=float)
    hierarchy = build_hierarchy(table[:, 0].copy(), table[:, 1].copy(), weights, nodes)
    for kind in (0, 1):
        graph = nx.MultiGraph()
        graph.add_nodes_from(range(nodes))
        graph.add_weighted_edges_from((a, b, w) for (a, b, *_), w in zip(table.tolist(), weights[kind], strict=True))
        expected = np.full((nodes, nodes), np.inf)
        for source, paths in nx.all_pairs_dijkstra_path_length(graph):
            expected[source, list(paths)] = list(paths.values())
        np.testing.assert_array_equal(distance_rows(np.arange(nodes), hierarchy, kind), expected)


def test_distances_of_a_dense_graph_equal_dijkstra_s() -> None:
    # Far from planar, so that lists of neighbours outgrow every place first made for them.
    rng = np.random.default_rng(5)
    first, second = rng.integers(0, 300, (2, 900))
    weights = rng.random((2, 900))
    hierarchy = build_hierarchy(first, second, weights, 300)
    assert len(hierarchy.up) > 4 * 2 * 900
    best = np.full((300, 300), np.inf)
    np.minimum.at(best, (first, second), weights[1])
    best = np.where(np.isinf(np.minimum(best, best.T)), 0, np.minimum(best, best.T))
    expected = dijkstra(csr_array(best), directed=False)
    np.testing.assert_allclose(distance_rows(np.arange(300), hierarchy, 1), expected)


def assert_same(one: Scores, other: Scores, tolerance: float = 1e-6) -> None:
    for name, value in one.numbers().items():
        assert getattr(other, name, None) == pytest.approx(value, abs=tolerance) or name.startswith("topo"), name


@settings(max_examples=25, deadline=None)
@given(grids, grids, st.randoms(use_true_random=False))
def test_order_direction_and_cutting_of_lines_do_not_matter(first: tuple, second: tuple, random) -> None:
    truth, lines = roads(*grid_lines(*first)), grid_lines(*second)
    changed = []
    for line in lines:
        (x0, y0), (x1, y1), end = line
        share = random.choice([0.25, 0.5])
        at = (x0 + share * (x1 - x0), y0 + share * (y1 - y0))
        pieces = random.choice([[line], [line[::-1]], [line[:2], line[1:]], [[(x0, y0), at], [end, (x1, y1), at]]])
        changed += pieces
    random.shuffle(changed)
    proposal, other = roads(*lines), roads(*changed)
    assert_same(evaluate(truth, proposal, DEFAULTS), evaluate(truth, other, DEFAULTS))
    assert_same(evaluate(proposal, truth, DEFAULTS), evaluate(other, truth, DEFAULTS))


@settings(max_examples=15, deadline=None)
@given(grids)
def test_identical_graphs_score_one(grid: tuple) -> None:
    scores = evaluate(roads(*grid_lines(*grid)), roads(*grid_lines(*grid)), DEFAULTS)
    assert scores.apls_length == pytest.approx(1.0, abs=1e-9)
    assert scores.apls_time == pytest.approx(1.0, abs=1e-9)


def test_blocks_and_threads_do_not_change_the_score(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = roads(*grid_lines([True] * 12, list(range(-6, 6))))
    pair = prepare_pair(truth, roads(*grid_lines([True] * 9 + [False] * 3, [0] * 12)), DEFAULTS)
    whole = apls(pair, "time")
    monkeypatch.setattr(apls_module, "BLOCK", 4)
    assert apls(pair, "time").score == pytest.approx(whole.score, abs=1e-12)
    assert apls(pair, "time", threads=2).score == apls(pair, "time").score
    monkeypatch.setattr(apls_module, "BLOCK_BYTES", 1)  # one source at a time
    assert apls(pair, "time").score == pytest.approx(whole.score, abs=1e-12)
    pairs = np.array([[0, 5], [5, 0], [3, 3], [2, 7], [8, 1]])
    few = pair_distances(pair.truth, pair.truth_points, pairs)
    graph = as_networkx(pair.truth, pair.truth_points, "length")
    assert few == pytest.approx([nx.dijkstra_path_length(graph, ("p", i), ("p", j)) for i, j in pairs.tolist()])
