"""Graphs of real chips' predictions against their labels; the full table is printed by benchmarks/graph.py."""

from pathlib import Path

import numpy as np
import pytest

from roadspeed.extract.chip import extract_raster
from roadspeed.prepare.labels import read_labels
from roadspeed.raster import read_raster
from roadspeed.score.evaluate import evaluate
from roadspeed.score.roads import Roads
from roadspeed.score.settings import ScoreSettings

CHIPS = ("img0", "img990", "img991", "img995", "img998")


@pytest.fixture(scope="module")
def truths(real_data: Path) -> dict[str, Roads]:
    folder = real_data / "vegas_labels"
    labels = {
        chip: read_labels(folder / f"SN3_roads_train_AOI_2_Vegas_geojson_roads_speed_{chip}.geojson")
        for chip in CHIPS
    }
    return {chip: Roads(label.lines, label.speed_mph) for chip, label in labels.items()}


@pytest.mark.parametrize(
    ("variant", "length", "travel"),
    [
        ("clean", 0.985, 0.97),
        ("blur", 0.955, 0.94),
        ("light", 0.93, 0.90),
        ("blurgap", 0.91, 0.88),
        ("blurnoise", 0.88, 0.84),
        ("blurnoisegap", 0.83, 0.78),
    ],
)
def test_real_chips_reach_what_is_required(
    real_data: Path, truths: dict[str, Roads], variant: str, length: float, travel: float
) -> None:
    rows = []
    for chip, truth in truths.items():
        graph = extract_raster(*read_raster(real_data / "vegas_predictions" / f"{chip}_{variant}.tif"))
        scores = evaluate(truth, Roads(graph.geometry, graph.speed_mph), ScoreSettings())
        rows.append((scores.apls_length, scores.apls_time))
    mean = np.mean(rows, axis=0)
    assert mean[0] >= length
    assert mean[1] >= travel
