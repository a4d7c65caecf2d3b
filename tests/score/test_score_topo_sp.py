"""TOPO and SP on roads worked out by hand."""

import numpy as np
import pytest
from roads_by_hand import roads

from roadspeed.score.apls import Pair, prepare_pair
from roadspeed.score.network import Points
from roadspeed.score.roads import no_roads
from roadspeed.score.settings import ScoreSettings
from roadspeed.score.sp import sp
from roadspeed.score.topo import reachable, topo

DEFAULTS = ScoreSettings()


def prepared(truth: object, proposal: object, settings: ScoreSettings = DEFAULTS) -> Pair:
    return prepare_pair(truth, proposal, settings)  # type: ignore[arg-type]


def start(network, x: float, y: float) -> Points:
    """Return the network's point nearest to a place given in the metres of `roads`."""
    corner = network.node_xy.min(0)
    return network.snap((corner + np.array([x, y]))[None], 5.0)


def count_at(lines: list, x: float, y: float, radius_m: float = 150, spacing_m: float = 30) -> int:
    network = prepared(roads(*lines), no_roads()).truth
    return len(reachable(network, start(network, x, y), radius_m, spacing_m)[1])


def test_places_on_the_way() -> None:
    # A road of 400 m: from its start 0, 30 … 150; from 200 m the same to both sides.
    assert count_at([[(0, 0), (400, 0)]], 0, 0) == 6
    assert count_at([[(0, 0), (400, 0)]], 200, 0) == 11
    assert count_at([[(0, 0), (400, 0)]], 200, 0, radius_m=100) == 7
    assert count_at([[(0, 0), (400, 0)]], 200, 0, spacing_m=50) == 7
    # A branch at 45 m: the places at 60 … 150 come twice.
    assert count_at([[(0, 0), (45, 0), (400, 0)], [(45, 0), (45, 300)]], 0, 0) == 6 + 4
    # A loop of 160 m, a square, met from its corner: 30 and 60 m both ways; where both ways meet, at 80, is none.
    assert count_at([[(0, 0), (40, 0), (40, 40), (0, 40), (0, 0)]], 0, 0) == 1 + 2 * 2
    # One of 120 m: both ways meet at 60 m, which counts once.
    assert count_at([[(0, 0), (30, 0), (30, 30), (0, 30), (0, 0)]], 0, 0) == 1 + 2 + 1
    # Roads that are not connected are not reached.
    assert count_at([[(0, 0), (100, 0)], [(0, 5), (100, 5)]], 0, 0) == 4


def test_topo_by_hand() -> None:
    # Truth: 90 m with a branch of 60 m at its end, in line; the proposal has the first 90 m only.
    settings = ScoreSettings(topo_origins=1, control_spacing_m=10_000, seed=0)
    truth, proposal = roads([(0, 0), (90, 0), (150, 0)]), roads([(0, 0), (90, 0)])
    pair = prepared(truth, proposal, settings)
    score = topo(pair.truth, pair.proposal, settings)
    assert score is not None
    # From (0, 0): holes 0, 30 … 150, marbles 0 … 90: precision 1, recall 4/6. From (150, 0), which the proposal does
    # not pass: 6 holes, no marble. The one origin drawn is one of these.
    assert (score.precision, score.recall) in ((1.0, pytest.approx(4 / 6)), (0.0, 0.0))
    both = topo(pair.truth, pair.proposal, ScoreSettings(control_spacing_m=10_000))
    assert both is not None
    assert (both.precision, both.recall) == (1.0, pytest.approx(4 / 12))
    assert both.f1 == pytest.approx(2 * (4 / 12) / (1 + 4 / 12))


def test_topo_matches_one_marble_to_one_hole() -> None:
    # A hairpin: 90 m there, 3 m across, 90 m back, against one road in the middle. From either end holes at 0 … 90 m
    # and, on the way back, at 120 and 150 m. The 4 marbles lie within 4 m of all 6 holes, but fill 4.
    truth = roads([(90, 0), (0, 0), (0, 3), (90, 3)])
    settings = ScoreSettings(control_spacing_m=10_000)
    pair = prepared(truth, roads([(0, 1.5), (90, 1.5)]), settings)
    score = topo(pair.truth, pair.proposal, settings)
    assert score is not None
    assert (score.precision, score.recall) == (1.0, pytest.approx(4 / 6))


def test_topo_and_sp_of_identical_and_of_empty_roads() -> None:
    lines = [[(0, 0), (100, 0), (200, 50)], [(100, 0), (100, 120)], [(300, 0), (400, 0)]]
    same = prepared(roads(*lines), roads(*lines))
    score = topo(same.truth, same.proposal, DEFAULTS)
    assert score is not None and (score.precision, score.recall, score.f1) == (1, 1, 1)
    assert sp(same.truth, same.proposal, DEFAULTS) == 1.0
    none = prepared(roads(*lines), no_roads())
    score = topo(none.truth, none.proposal, DEFAULTS)
    assert score is not None and (score.precision, score.recall, score.f1) == (0, 0, 0)
    assert sp(none.truth, none.proposal, DEFAULTS) == 0.0
    assert topo(none.proposal, none.truth, DEFAULTS) is None
    assert sp(none.proposal, none.truth, DEFAULTS) is None


def test_sp_by_hand() -> None:
    # Truth: a star of three arms of 100 m. The proposal bends one arm to 2 × 56.0 = 111.9 m (its end stays where it
    # was). Of the 6 pairs of nodes, centre to that end differs by 12 %, the two ends to it by 6 %: 3 of 6 agree.
    truth = roads([(0, 0), (100, 0)], [(0, 0), (0, 100)], [(0, 0), (0, -100)])
    proposal = roads([(0, 0), (50, 25), (100, 0)], [(0, 0), (0, 100)], [(0, 0), (0, -100)])
    pair = prepared(truth, proposal)
    length_m = 2 * np.hypot(50, 25)
    assert (length_m - 100) / 200 > 0.05
    score = sp(pair.truth, pair.proposal, ScoreSettings(sp_pairs=20_000))
    assert score == pytest.approx(3 / 6, abs=0.02)
    assert sp(pair.truth, pair.proposal, ScoreSettings(sp_pairs=20_000, sp_tolerance=0.1)) == pytest.approx(
        5 / 6, abs=0.02
    )


def test_draws_follow_the_seed() -> None:
    lines = [[(0, 0), (300, 0)], [(300, 0), (300, 300)], [(300, 0), (600, 0)], [(0, 0), (0, 300)]]
    pair = prepared(roads(*lines), roads(*lines[:3]))
    few = {"sp_pairs": 5, "topo_origins": 3}
    one, again = (sp(pair.truth, pair.proposal, ScoreSettings(seed=1, **few)) for _ in range(2))
    assert one == again
    assert len({sp(pair.truth, pair.proposal, ScoreSettings(seed=seed, **few)) for seed in range(10)}) > 1
    assert len({topo(pair.truth, pair.proposal, ScoreSettings(seed=seed, **few)) for seed in range(10)}) > 1
    # Radius and spacing of TOPO have their effect.
    wide = topo(pair.truth, pair.proposal, ScoreSettings(topo_radius_m=1000))
    dense = topo(pair.truth, pair.proposal, ScoreSettings(topo_spacing_m=10))
    assert len({wide, dense, topo(pair.truth, pair.proposal, DEFAULTS)}) == 3
