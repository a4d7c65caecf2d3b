"""The short form of benchmarks/leases.py: random jobs, random kills."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def leases() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "leases.py"
    spec = importlib.util.spec_from_file_location("leases_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["leases_benchmark"] = module
    spec.loader.exec_module(module)
    return module


def test_random_jobs_on_a_simulated_two_socket_host(leases: ModuleType, tmp_path: Path) -> None:
    outcome = leases.simulate(40, seed=3, folder=tmp_path, hold_s=0.15)
    assert (outcome.twice(), outcome.leaked, outcome.starved) == (0, 0, 0)
    assert outcome.killed > 0
    assert len(outcome.held) + outcome.killed >= 40


def test_random_jobs_on_the_real_cores(leases: ModuleType, tmp_path: Path) -> None:
    outcome = leases.run_real(24, seed=4, folder=tmp_path, at_once=12)
    assert (outcome.twice(), outcome.leaked, outcome.starved) == (0, 0, 0)
    assert len(outcome.held) + outcome.killed >= 24


def test_the_count_of_cores_held_twice_counts(leases: ModuleType) -> None:
    jobs = [leases.Held((0, 1), 0.0, 2.0, 0.0), leases.Held((1,), 1.0, 3.0, 0.0), leases.Held((0,), 2.5, 3.0, 0.0)]
    assert leases.Outcome(jobs, 0, 0, 0).twice() == 1
