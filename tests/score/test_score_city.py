"""A small city with every kind of chip: scores, submission table, summary."""

import json
from pathlib import Path

import numpy as np
import pytest
import shapely

from roadspeed.chips import Chip, write_chips
from roadspeed.errors import InputError
from roadspeed.extract.roads import make_graph, write_geopackage
from roadspeed.files import read_table, write_table
from roadspeed.score.city import score_city
from roadspeed.score.readers import read_roads
from roadspeed.score.settings import ScoreSettings
from roadspeed.score.submission import write_submission
from roadspeed.score.summary import summarise

WEST, NORTH, SIZE = 10.0, 50.0, 0.004
PIXELS = 400


def chip_id(number: int) -> str:
    return f"AOI_7_Moscow_chip{number}"


def road(column: int, y: float = 0.5) -> list[list[float]]:
    """A road from the west to the east side of the chip in a column of the grid, at a share of its height."""
    west = WEST + column * SIZE
    return [[west, NORTH - y * SIZE], [west + SIZE, NORTH - y * SIZE]]


def write_label(path: Path, lines: list[list[list[float]]], mph: float = 25) -> None:
    features = [
        {
            "type": "Feature",
            "properties": {"inferred_speed_mph": mph},
            "geometry": {"type": "LineString", "coordinates": line},
        }
        for line in lines
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def graph(number: int, line: list[list[float]], mph: float = 25):
    return make_graph(
        np.array(line),
        np.array([0]),
        np.array([1]),
        np.array([shapely.LineString(line)], object),
        np.array([286.9]),
        np.array([mph]),
        chip_id(number),
    )


@pytest.fixture
def city(tmp_path: Path) -> dict[str, Path]:
    """Chips: 0 found, 1 empty proposal, 2 both empty, 3 empty truth, 4 no label, 5 not predicted, 6 half speed."""
    truths = {0: [road(0)], 1: [road(1)], 2: [], 3: [], 5: [road(5)], 6: [road(6)]}
    chips = []
    for number in range(7):
        label = tmp_path / f"{number}.geojson"
        if number in truths:
            write_label(label, truths[number])
        state = "missing" if number not in truths else "roads" if truths[number] else "empty"
        west = WEST + number * SIZE
        bounds = (west, NORTH - SIZE, west + SIZE, NORTH)
        chips.append(
            Chip(chip_id(number), "moscow", "train", 7, number, None, label if number in truths else None, state,
                 0, number, PIXELS, PIXELS, *bounds, "EPSG:4326")
        )  # fmt: skip
    write_chips(tmp_path / "chips.csv", chips)
    write_geopackage([graph(0, road(0)), graph(3, road(3)), graph(6, road(6), 12.5)], tmp_path / "chips.gpkg")
    roles = ["validation", "validation", "validation", "train", "train", None, "unseen"]
    rows = [
        {"chip_id": chip_id(number), "probability": f"prob/{number}.tif", "role": role, "models": 1, "note": ""}
        for number, role in enumerate(roles)
        if role
    ]
    columns = ["chip_id", "probability", "role", "models", "note"]
    write_table(tmp_path / "shard0.csv", columns, rows[:3])
    write_table(tmp_path / "shard1.csv", columns, rows[3:])
    return {
        "chips": tmp_path / "chips.csv",
        "graphs": tmp_path / "chips.gpkg",
        "out": tmp_path / "scores.csv",
        "shard0": tmp_path / "shard0.csv",
        "shard1": tmp_path / "shard1.csv",
    }


def score(city: dict[str, Path], threads: int = 1, **settings: object) -> dict[str, dict[str, str]]:
    shards = [city["shard0"], city["shard1"]]
    score_city(city["chips"], city["graphs"], shards, city["out"], ScoreSettings.checked(settings), threads=threads)
    return {row["chip_id"]: row for row in read_table(city["out"])}


def test_every_chip_has_a_row_and_empty_graphs_count_both_ways(city: dict[str, Path]) -> None:
    rows = score(city)
    assert list(rows) == [chip_id(number) for number in range(7)]
    cells = ("apls_length", "apls_time", "apls_length_compatible", "role", "label_state")
    found = {number: tuple(rows[chip_id(number)][cell] for cell in cells) for number in range(7)}
    assert found == {
        0: ("1.0", "1.0", "1.0", "validation", "roads"),
        1: ("0.0", "0.0", "", "validation", "roads"),
        2: ("1.0", "1.0", "", "validation", "empty"),
        3: ("0.0", "0.0", "", "train", "empty"),
        4: ("", "", "", "train", "missing"),
        5: ("0.0", "0.0", "", "", "roads"),
        6: ("1.0", "0.0", "1.0", "unseen", "roads"),
    }
    notes = {number: rows[chip_id(number)]["note"] for number in range(7)}
    assert notes[0] == notes[6] == ""
    assert notes[2] == "truth has no road; proposal has no road"
    assert "not scored" in notes[4] and "not predicted" in notes[5]
    assert float(rows[chip_id(0)]["truth_km"]) == pytest.approx(0.287, abs=0.001)


def test_two_processes_give_the_same_table(city: dict[str, Path]) -> None:
    score(city)
    alone = city["out"].read_bytes()
    score(city, threads=2)
    assert city["out"].read_bytes() == alone


def test_further_metrics_are_columns_when_asked(city: dict[str, Path]) -> None:
    assert {row["topo_f1"] for row in score(city).values()} == {""}
    rows = score(city, metrics=["topo", "sp"])
    assert (rows[chip_id(0)]["topo_f1"], rows[chip_id(0)]["sp"]) == ("1.0", "1.0")
    assert (rows[chip_id(1)]["topo_f1"], rows[chip_id(1)]["sp"]) == ("0.0", "0.0")


def test_graphs_of_another_city_and_a_broken_label_are_errors(city: dict[str, Path]) -> None:
    write_geopackage([graph(99, road(0))], city["graphs"])
    with pytest.raises(InputError, match="AOI_7_Moscow_chip99"):
        score(city)
    with pytest.raises(InputError, match="AOI_7_Moscow_chip99"):
        write_submission(city["chips"], city["graphs"], city["out"])
    write_geopackage([graph(0, road(0))], city["graphs"])
    (city["chips"].parent / "1.geojson").write_text("{")
    with pytest.raises(InputError, match=r"1\.geojson"):
        score(city)
    assert not city["out"].exists()


def test_submission_has_each_chip_in_pixels_and_reads_back(city: dict[str, Path], tmp_path: Path) -> None:
    write_submission(city["chips"], city["graphs"], tmp_path / "submission.csv")
    rows = read_table(tmp_path / "submission.csv")
    assert list(rows[0]) == ["ImageId", "WKT_Pix", "length_m", "travel_time_s"]
    assert [row["ImageId"] for row in rows] == [chip_id(number) for number in range(7)]
    assert [row["WKT_Pix"] for row in rows].count("LINESTRING EMPTY") == 4
    line = shapely.from_wkt(rows[3]["WKT_Pix"])
    np.testing.assert_allclose(line.coords, [[0, PIXELS / 2], [PIXELS, PIXELS / 2]], atol=0.01)
    assert float(rows[1]["length_m"]) == float(rows[1]["travel_time_s"]) == 0
    assert float(rows[0]["travel_time_s"]) == pytest.approx(286.9 / (25 * 0.44704), abs=1e-3)


def test_summary_averages_chips_then_cities(city: dict[str, Path], tmp_path: Path) -> None:
    score(city)
    other = tmp_path / "other.csv"
    columns = list(read_table(city["out"])[0])
    write_table(
        other,
        columns,
        [
            {"chip_id": "a", "role": "validation", "apls_length": 0.5, "apls_time": 0.25, "truth_km": 1,
             "proposal_km": 2, "apls_length_compatible": 0.5, "apls_time_compatible": 0.25}
        ],
    )  # fmt: skip
    summarise({"moscow": city["out"], "other": other}, tmp_path / "run.csv")
    rows = {(row["city"], row["role"]): row for row in read_table(tmp_path / "run.csv")}
    assert set(rows) == {
        ("moscow", "validation"),
        ("moscow", "unseen"),
        ("moscow", "train"),
        ("moscow", "not predicted"),
        ("other", "validation"),
        *(("mean of cities", role) for role in ("validation", "unseen", "train", "not predicted")),
    }
    moscow, mean = rows["moscow", "validation"], rows["mean of cities", "validation"]
    assert (moscow["chips"], moscow["apls_length"]) == ("3", "0.6667")  # (1 + 0 + 1) / 3
    assert moscow["apls_length_compatible"] == "1.0"  # only chip 0 counts
    assert rows["moscow", "train"]["chips"] == "1"  # the chip without a label is not counted
    assert float(mean["apls_length"]) == pytest.approx((0.6667 + 0.5) / 2, abs=1e-4)
    assert (mean["chips"], mean["truth_km"]) == ("4", str(round(float(moscow["truth_km"]) + 1, 3)))
    assert json.loads((tmp_path / "run.json").read_text())[0]["apls_length"] == 0.6667


def test_summary_refuses_what_is_no_table_of_scores(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run the score stage"):
        summarise({"x": tmp_path / "none.csv"}, tmp_path / "out.csv")
    (tmp_path / "odd.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="not a table of scores"):
        summarise({"x": tmp_path / "odd.csv"}, tmp_path / "out.csv")


def test_chips_gpkg_is_read_by_chip(city: dict[str, Path]) -> None:
    roads = read_roads(city["graphs"])
    assert {chip: len(one.lines) for chip, one in roads.items()} == {chip_id(0): 1, chip_id(3): 1, chip_id(6): 1}
    assert roads[chip_id(6)].speed_mph == pytest.approx([12.5])
