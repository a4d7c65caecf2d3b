"""Our APLS against the reference program's on real label pairs, its defects named and imitated where they matter.

The reference (CosmiQ/apls) differs from the metric's definition on these pairs in two ways, both seen in its code:

- A road given twice vanishes. `create_edge_linestrings` marks the second of two equal edges for removal once for the
  line and once for the reversed line, then removes an edge between the two nodes for each mark: both are gone. In
  img0 a crossing of 2.5 m is in two label features, and losing it cuts a through road. A loop, an edge from a node
  to itself, is there once in each direction and goes the same way: img998 has one of 83 m.
- A control point takes the name of the proposal's node it falls on. `insert_point_into_G(allow_renaming=True)`
  relabels the node even if it carries another control point's name, which is then lost: its paths count as missing.
  In img990 two truth nodes fall on one proposal node.
"""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely

from roadspeed.score.apls import Pair, apls, prepare_pair
from roadspeed.score.network import Network, Points, build_network, control_points
from roadspeed.score.readers import read_roads
from roadspeed.score.roads import Roads
from roadspeed.score.settings import ScoreSettings

WITHOUT_SPEED_MPH = 13.41 / 0.44704
"""The speed the reference gives to roads that state none (13.41 m/s)."""
KEYS = {
    "length": ("apls_length", "gt_onto_prop", "prop_onto_gt"),
    "time": ("apls_travel_time", "travel_time_gt_onto_prop", "travel_time_prop_onto_gt"),
}
LIMITS = {"length": 0.005, "time": 0.01}
AS_DEFINED = ("img991", "img995")
DEFECTIVE = ("img0", "img990", "img998")


def roads_of(chip: str, data: Path) -> tuple[Roads, Roads]:
    if chip == "img0":
        folder = data / "vegas_img0"
        truth = read_roads(folder / "AOI_2_Vegas_img0_edited.geojson")
        image = folder / "RGB-PanSharpen_AOI_2_Vegas_img0.tif"
        proposal = read_roads(folder / "proposal_albu.csv", image)
    else:
        folder = data / "vegas_labels"
        truth = read_roads(folder / f"SN3_roads_train_AOI_2_Vegas_geojson_roads_speed_{chip}.geojson")
        proposal = read_roads(folder / f"osm_AOI_2_Vegas_{chip}.geojson")
    (true_roads,), (roads,) = truth.values(), proposal.values()
    return true_roads, replace(roads, speed_mph=np.nan_to_num(roads.speed_mph, nan=WITHOUT_SPEED_MPH))


def reference_of(chip: str, data: Path) -> dict[str, float]:
    file = data.parent / "reference" / "apls.json"
    if not file.is_file():
        pytest.skip(f"the reference's results are absent (looked for {file})")
    pairs = json.loads(file.read_text())["pairs"]
    return next(value for name, value in pairs.items() if name.startswith(f"{chip}:"))


def differences(pair: Pair, reference: dict[str, float]) -> dict[str, float]:
    """Return the largest difference of the total and both directions, by weight."""
    result = {}
    for weight, keys in KEYS.items():
        score = apls(pair, weight)
        ours = (score.score, score.truth_onto_proposal.score, score.proposal_onto_truth.score)
        result[weight] = max(abs(value - reference[key]) for value, key in zip(ours, keys, strict=True))
    return result


def without_twice_given(network: Network, roads: Roads) -> Network:
    """Return the network as the reference has it: edges given twice, and loops, removed."""
    segments = Counter(
        frozenset(map(tuple, np.round(pair, 9)))
        for line in roads.lines
        for pair in zip(line.coords[:-1], line.coords[1:], strict=True)
    )
    twice = {segment for segment, count in segments.items() if count > 1}
    lengths = {round(length, 1) for length in map(_length_m, twice)}
    loop = network.edge_ends[:, 0] == network.edge_ends[:, 1]
    single = np.diff(network.edge_first) == 1
    gone = loop | (single & np.isin(np.round(network.edge_length_m, 1), list(lengths)))
    speed_mph = network.edge_length_m / network.edge_time_s / 0.44704
    return build_network(network.edge_lines()[~gone], speed_mph[~gone])


def _length_m(segment: frozenset) -> float:
    from pyproj import Geod

    (lon0, lat0), (lon1, lat1) = segment
    return Geod(ellps="WGS84").inv(lon0, lat0, lon1, lat1)[2]


def renamed_away(network: Network, points: Points) -> Points:
    """Return the points as the reference has them: of those that fall on one node only the last is found."""
    last: dict[object, int] = {}
    edge = points.edge.copy()
    for i in np.flatnonzero(points.edge >= 0):
        ends = network.edge_ends[points.edge[i]]
        at_end = points.position_m[i] == network.edge_length_m[points.edge[i]]
        if points.position_m[i] == 0 or at_end:
            node = int(ends[1] if at_end else ends[0])
            if node in last:
                edge[last[node]] = -1
            last[node] = i
    return replace(points, edge=edge)


def with_defects(truth: Roads, proposal: Roads, settings: ScoreSettings) -> Pair:
    pair = prepare_pair(truth, proposal, settings)
    network = without_twice_given(pair.truth, truth)
    points = control_points(network, settings.control_spacing_m)
    return replace(
        pair,
        truth=network,
        truth_points=points,
        truth_in_proposal=renamed_away(pair.proposal, pair.proposal.snap(points.xy, settings.snap_m)),
        proposal_in_truth=renamed_away(network, network.snap(pair.proposal_points.xy, settings.snap_m)),
    )


@pytest.mark.parametrize("chip", AS_DEFINED)
def test_equal_to_the_reference(chip: str, real_data: Path) -> None:
    found = differences(prepare_pair(*roads_of(chip, real_data), ScoreSettings()), reference_of(chip, real_data))
    assert all(found[weight] < limit for weight, limit in LIMITS.items()), found


@pytest.mark.parametrize("chip", DEFECTIVE)
def test_equal_to_the_reference_with_its_defects(chip: str, real_data: Path) -> None:
    truth, proposal = roads_of(chip, real_data)
    reference = reference_of(chip, real_data)
    assert differences(prepare_pair(truth, proposal, ScoreSettings()), reference)["length"] > LIMITS["length"]
    found = differences(with_defects(truth, proposal, ScoreSettings()), reference)
    assert all(found[weight] < limit for weight, limit in LIMITS.items()), found


@pytest.mark.parametrize("chip", (*AS_DEFINED, *DEFECTIVE))
def test_equal_to_the_reference_without_midpoints(chip: str, real_data: Path) -> None:
    pair = with_defects(*roads_of(chip, real_data), ScoreSettings(control_spacing_m=10_000))
    expected = reference_of(chip, real_data)["apls_length_without_midpoints"]
    assert apls(pair).score == pytest.approx(expected, abs=0.005)


def test_the_named_defects_are_in_the_data(real_data: Path) -> None:
    truth, proposal = roads_of("img0", real_data)
    segments = Counter(
        frozenset(pair) for line in truth.lines for pair in zip(line.coords[:-1], line.coords[1:], strict=True)
    )
    assert sorted(segments.values())[-2:] == [1, 2]  # one segment is given twice
    whole = prepare_pair(truth, proposal, ScoreSettings()).truth
    assert len(whole) - len(without_twice_given(whole, truth)) >= 1
    truth, proposal = roads_of("img998", real_data)
    loops = prepare_pair(truth, proposal, ScoreSettings()).truth
    assert (loops.edge_ends[:, 0] == loops.edge_ends[:, 1]).sum() == 1
    pair = prepare_pair(*roads_of("img990", real_data), ScoreSettings())
    lost = renamed_away(pair.proposal, pair.truth_in_proposal).edge != pair.truth_in_proposal.edge
    assert lost.sum() == 1


def test_a_road_given_twice_is_one_road() -> None:
    line = shapely.LineString([(15.0, 48.0), (15.001, 48.0)])
    twice = Roads(np.array([line, line.reverse()], object), np.array([25.0, 25.0]))
    once = Roads(np.array([line], object), np.array([25.0]))
    assert apls(prepare_pair(twice, once, ScoreSettings())).score == pytest.approx(1.0)
