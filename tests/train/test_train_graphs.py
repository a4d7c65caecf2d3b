"""The best epoch chosen by the graphs of some validation chips."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from shapely.geometry import LineString, mapping
from tests.toy_city import PIXEL_DEG, QUICK_TRAINING, make_toy_city

from roadspeed.chips import read_chips, write_chips
from roadspeed.errors import ConfigError, InputError
from roadspeed.extract.settings import ExtractSettings
from roadspeed.files import read_table
from roadspeed.graphscore import LabelScorer
from roadspeed.raster import read_raster
from roadspeed.score.settings import ScoreSettings
from roadspeed.speedbins import SpeedBins, expand_mask
from roadspeed.train.chips import LabelledChip
from roadspeed.train.fold import train_fold
from roadspeed.train.graphs import ChipProbability, choose_chips
from roadspeed.train.settings import TrainSettings

SCRIPT = Path(__file__).resolve().parents[2] / "workflow" / "scripts" / "train.py"
BINS = SpeedBins()
QUICK = QUICK_TRAINING | {
    "crops_per_chip": 2,
    "best_by": "apls",
}


def labelled_city(folder, **size):
    """Make the toy city with a label for each chip: its street across at 25 mph, its street down at 55 mph."""
    city = make_toy_city(folder, **size)
    middle = (city.side_px / 2 + 0.5) * PIXEL_DEG
    chips = []
    for chip in read_chips(city.chips):
        width, height = chip.east - chip.west, chip.north - chip.south
        x, y = chip.west + middle, chip.north - middle
        ends = [
            ((chip.west, y), 25),
            ((chip.west + width, y), 25),
            ((x, chip.south), 55),
            ((x, chip.south + height), 55),
        ]
        label = folder / "labels" / f"{chip.chip_id}.geojson"
        label.parent.mkdir(exist_ok=True)
        roads = [
            {
                "type": "Feature",
                "geometry": mapping(LineString([(x, y), end])),
                "properties": {"inferred_speed_mph": speed},
            }
            for end, speed in ends  # as in real labels, roads that meet end where they meet
        ]
        label.write_text(json.dumps({"type": "FeatureCollection", "features": roads}))
        chips.append(replace(chip, label=label))
    write_chips(city.chips, chips)
    return city


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    return labelled_city(tmp_path_factory.mktemp("toy"))


class Told:
    """Says what APLS each epoch has, and remembers what it was given."""

    def __init__(self, *values):
        self.values, self.given = list(values), []

    chips = frozenset({"AOI_9_Toy_chip0", "AOI_9_Toy_chip3"})

    def __call__(self, found, threads):
        self.given.append(found)
        value = self.values.pop(0)
        return [(value, value / 2) for _ in found]


def train(city, folder, scorer, **values):
    settings = TrainSettings.checked(QUICK | values)
    train_fold(city.folds, [city.rgb], [city.masks], 0, folder, settings, BINS, threads=1, scorer=scorer)
    return read_table(folder / "metrics.csv"), json.loads((folder / "model.json").read_text())


def test_highest_apls_is_the_best_epoch(city, tmp_path):
    scorer = Told(0.2, 0.8, 0.4)
    rows, record = train(city, tmp_path, scorer, epochs=3)
    assert record["best_epoch"] == 2
    assert [float(row["apls_length"]) for row in rows] == [0.2, 0.8, 0.4]
    assert [float(row["apls_time"]) for row in rows] == [0.1, 0.4, 0.2]
    assert [sorted(chip.chip_id for chip in found) for found in scorer.given] == [sorted(Told.chips)] * 3
    chip = scorer.given[0][0]
    assert chip.pixels.shape == (8, 128, 128)
    assert chip.pixels.dtype == np.uint8
    assert chip.grid.width == 128


def test_only_scored_epochs_can_be_the_best_and_a_resume_keeps_it(city, tmp_path):
    """Epochs 2 and 4 and the last are scored; interrupted before the fourth's, the second stays the best."""
    with pytest.raises(IndexError):
        train(city, tmp_path, Told(0.6), epochs=5, apls_every=2, apls_chips=1)
    rows, record = train(city, tmp_path, Told(0.5, 0.55), epochs=5, apls_every=2, apls_chips=1)
    assert [row["apls_length"] for row in rows] == ["", "0.6", "", "0.5", "0.55"]
    assert record["best_epoch"] == 2


def test_chips_are_the_same_each_time_and_have_roads():
    chips = [LabelledChip(f"c{n}", 0, Path("i"), Path("m")) for n in range(20)]
    scorable = {f"c{n}" for n in range(0, 20, 2)} | {"elsewhere"}
    chosen = choose_chips(chips, scorable, 4, seed=3)
    assert chosen == choose_chips(chips[::-1], scorable, 4, seed=3)
    assert len(chosen) == 4
    assert chosen <= scorable - {"elsewhere"}
    assert chosen < choose_chips(chips, scorable, 6, seed=3)
    assert choose_chips(chips, scorable, 99, seed=3) == scorable - {"elsewhere"}
    with pytest.raises(InputError, match="no validation chip has a label with roads"):
        choose_chips(chips, {"elsewhere"}, 4, seed=3)


def test_settings_that_cannot_work_are_refused(city, tmp_path):
    with pytest.raises(ConfigError, match="needs the chip tables"):
        train(city, tmp_path, None, epochs=1)
    with pytest.raises(ConfigError, match="would end before an epoch is scored"):
        TrainSettings.checked({"best_by": "apls", "patience": 2, "apls_every": 3})


def test_perfect_probabilities_score_one_wrong_speeds_less_and_none_zero(tmp_path):
    city = labelled_city(tmp_path, rows=1, columns=1, side_px=640)
    scorer = LabelScorer([city.chips], ExtractSettings(), ScoreSettings(metrics=("topo",)), BINS)
    mask, grid = read_raster(city.masks.parent / "masks" / "AOI_9_Toy_chip0.tif", [1])
    right = expand_mask(mask[0], BINS)
    slow = expand_mask(np.where(mask[0] > 0, 1, 0).astype(np.uint8), BINS)
    found = [ChipProbability("AOI_9_Toy_chip0", pixels, grid) for pixels in (right, slow, 0 * right)]
    good, wrong, nothing = scorer(found, threads=1)
    assert good[0] > 0.9
    assert good[1] > 0.9
    assert wrong[0] > 0.9
    assert wrong[1] < 0.6
    assert nothing == (0.0, 0.0)


def test_the_script_chooses_by_graphs_in_two_processes(city, tmp_path):
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("two processes need two cores")
    done = subprocess.run(
        [
            *(sys.executable, str(SCRIPT), "--fold", "0", "--threads", "2", "--out", str(tmp_path / "m.safetensors")),
            *("--folds", str(city.folds), "--rgb", str(city.rgb), "--masks", str(city.masks)),
            *("--settings", json.dumps(QUICK | {"epochs": 2, "processes": 2}), "--chips", str(city.chips)),
        ],
        env={key: value for key, value in os.environ.items() if key != "ROADSPEED_CPUS"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert "by the graphs of 2 validation chips" in done.stderr
    assert ", APLS " in done.stderr
    rows = read_table(tmp_path / "metrics.csv")
    assert all(0 <= float(row["apls_length"]) <= 1 for row in rows)
    assert not any(math.isnan(float(row["apls_time"])) for row in rows)
