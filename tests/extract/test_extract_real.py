"""Graphs of real chips' predictions against their labels; the full table is printed by benchmarks/graph.py."""

from pathlib import Path

import pytest

from roadspeed.extract.chip import extract_raster
from roadspeed.prepare.labels import read_labels
from roadspeed.raster import read_raster
from roadspeed.score.evaluate import evaluate
from roadspeed.score.roads import Roads
from roadspeed.score.settings import ScoreSettings


@pytest.mark.parametrize(
    ("chip", "variant", "length", "travel"),
    [
        ("img995", "clean", 0.985, 0.97),
        ("img998", "blur", 0.955, 0.94),
        ("img990", "blurgap", 0.91, 0.88),
        ("img991", "blurnoisegap", 0.83, 0.78),
    ],
)
def test_real_chips_reach_what_is_required(
    real_data: Path, chip: str, variant: str, length: float, travel: float
) -> None:
    graph = extract_raster(*read_raster(real_data / "vegas_predictions" / f"{chip}_{variant}.tif"))
    labels = read_labels(
        real_data / "vegas_labels" / f"SN3_roads_train_AOI_2_Vegas_geojson_roads_speed_{chip}.geojson"
    )
    truth = Roads(labels.lines, labels.speed_mph)
    scores = evaluate(truth, Roads(graph.geometry, graph.speed_mph), ScoreSettings())
    assert scores.apls_length is not None
    assert scores.apls_time is not None
    assert scores.apls_length >= length
    assert scores.apls_time >= travel
