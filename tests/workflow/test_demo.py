"""The demo as a newcomer runs it: its floors, its last words, and a second call that has nothing to do."""

import os
import subprocess

import pytest

from roadspeed.files import read_table
from tests.workflow.conftest import ROOT

FLOORS = {"validation": (0.80, 0.65), "unseen": (0.60, 0.45)}


def _make_demo() -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        ["make", "demo"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=2400, check=False
    )
    text = done.stdout + done.stderr
    assert done.returncode == 0, text[-4000:]
    return text


@pytest.mark.demo
@pytest.mark.timeout(2500)
def test_demo_reaches_its_floors_and_then_has_nothing_to_do() -> None:
    text = _make_demo()
    assert "results/sample/report.html" in text and "APLS reached" in text
    means = {
        row["role"]: row for row in read_table(ROOT / "results/sample/scores.csv") if row["city"] == "mean of cities"
    }
    for role, (by_length, by_time) in FLOORS.items():
        assert float(means[role]["apls_length"]) >= by_length, role
        assert float(means[role]["apls_time"]) >= by_time, role
    again = _make_demo()
    assert "Nothing to be done" in again
    assert "APLS reached" in again
