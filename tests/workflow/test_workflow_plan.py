"""What Snakemake would do: which jobs a config, a target or a changed key brings about."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.conftest import ROOT, Project

pytestmark = pytest.mark.workflow


def test_real_study_is_planned_without_data_or_network(tmp_path: Path) -> None:
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "--cores", "56", "--snakefile", str(ROOT / "Snakefile")]
        + ["--directory", str(tmp_path), "--configfile", str(ROOT / "config" / "config.yaml")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"},
    )
    assert done.returncode == 0, done.stderr
    jobs = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("rule ")]
    assert jobs.count("acquire:") == 13
    assert jobs.count("extract:") == 13
    assert jobs.count("score:") == 6
    assert jobs.count("train:") == 1
    assert time.monotonic() - started < 60


def test_a_test_split_takes_the_ranges_of_its_citys_train_split(finished: Project) -> None:
    targets = {
        city: f"data/prepare/{city}/test_public/rgb.csv"
        for city, tarballs in finished.config["cities"].items()
        if "test_public" in tarballs
    }
    assert targets
    for city, target in targets.items():
        text = finished.run("-n", target, "-R", "stretch")
        ranges = f"data/prepare/{city}/train/rgb.json"
        # Made by the first job, taken by the second.
        lines = [line.split(":")[0].strip() for line in text.splitlines() if ranges in line and "reason" not in line]
        assert lines == (["output", "input"] if "train" in finished.config["cities"][city] else []), text
        ran = json.loads((finished.folder / target).with_name("rgb.json").read_text())["ranges"]
        assert ran == json.loads((finished.folder / ranges).read_text())["ranges"] or not lines
    assert finished.config["prepare"].get("stretch", {}).get("method", "city") == "city"


def test_finished_project_has_nothing_to_do(finished: Project) -> None:
    assert "Nothing to be done" in finished.run()


@pytest.mark.parametrize(
    ("change", "first", "absent"),
    [
        ({"acquire": {"product": "PS-RGB"}}, "acquire", set()),
        ({"acquire": {"connections": 3}}, "acquire", set()),
        ({"prepare": {"stretch": {"percentiles": [1, 99]}}}, "stretch", {"acquire"}),
        ({"prepare": {"masks": {"half_width_m": 3}}}, "masks", {"acquire", "stretch"}),
        ({"prepare": {"folds": {"seed": 9}}}, "folds", {"acquire", "stretch", "masks"}),
        ({"train": {"learning_rate": 0.5e-3}}, "train", {"acquire", "stretch", "masks", "folds"}),
        ({"predict": {"flips": 1}}, "predict", {"acquire", "stretch", "masks", "folds", "train"}),
        ({"extract": {"low": 0.21}}, "extract", {"acquire", "stretch", "masks", "folds", "train", "predict"}),
        ({"score": {"snap_m": 5}}, "score", {"train", "predict", "extract", "submission", "map"}),
        ({"report": {"chips": 2}}, "chip_pictures", {"train", "predict", "extract", "score", "summary", "curves"}),
        ({"speed_bins": {"value_mph": [15, 18, 25, 35, 45, 55, 65]}}, "masks", {"acquire", "stretch"}),
        ({"shards": 1}, "predict", {"acquire", "stretch", "masks", "folds", "train"}),
        ({"folds": [0, 1]}, "train", {"acquire", "stretch", "masks", "folds"}),
        ({"run": "other"}, "folds", {"acquire", "stretch", "masks"}),
        ({"data_dir": "elsewhere"}, "acquire", set()),
        ({"results_dir": "elsewhere"}, "folds", {"acquire", "stretch", "masks"}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_changed_key_reruns_what_depends_on_it(
    finished: Project, tmp_path: Path, change: dict[str, Any], first: str, absent: set[str]
) -> None:
    config = dict(finished.config)
    try:
        finished.write_config(change)
        rules = {rule for rule, _ in finished.jobs()}
    finally:
        finished.config = config
        finished.write_config()
    assert first in rules
    assert "page" in rules, "the report must follow"
    assert not rules & absent


def test_a_city_as_target_touches_only_that_city(finished: Project, cities: dict[str, Any]) -> None:
    one, other = cities
    jobs = finished.jobs(f"results/tiny/{one}/train/scores.csv", "-R", "extract")
    assert ("extract", one) in jobs and ("score", one) in jobs
    assert other not in {city for _, city in jobs}
    assert {rule for rule, _ in jobs} == {"extract", "score"}
