"""Real Snakemake runs on a tiny sample: two cities of 3 × 2 chips, a small network, seconds a stage."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from roadspeed.acquire.sample.tarballs import draw_sample
from roadspeed.names import parse_name

ROOT = Path(__file__).resolve().parents[2]

TINY: dict[str, Any] = {
    "run": "tiny",
    "shards": 2,
    "prepare": {"folds": {"count": 2, "method": "random"}},
    "train": {
        "encoder": "resnet18",
        "weights": "random",
        "decoder_channels": [32, 16, 16, 8, 8],
        "crop_px": 64,
        "batch": 2,
        "epochs": 3,
    },
}


@dataclass
class Project:
    """A working folder with a configuration, in which Snakemake is run as a user does."""

    folder: Path
    config: dict[str, Any]

    def __post_init__(self) -> None:
        self.write_config()

    def write_config(self, change: Mapping[str, Any] | None = None) -> None:
        """Write the configuration, with some keys changed (nested)."""
        self.config = _merged(self.config, change or {})
        (self.folder / "config.yaml").write_text(yaml.safe_dump(self.config, sort_keys=False))

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of a run."""
        snakefile = str(ROOT / "Snakefile")
        return [
            *(sys.executable, "-m", "snakemake", "--snakefile", snakefile, *arguments),
            *("--cores", "2", "--configfile", "config.yaml"),
        ]

    def run(self, *arguments: str, fails: bool = False) -> str:
        """Run Snakemake; return what it printed, on both streams."""
        done = subprocess.run(
            self.command(*arguments), cwd=self.folder, capture_output=True, text=True, timeout=600, check=False
        )
        text = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, text[-6000:]
        return text

    def jobs(self, *arguments: str) -> list[tuple[str, str]]:
        """Return (rule, city) of the jobs that a dry run would do; the city is empty where a rule has none."""
        text = self.run("-n", *arguments)
        found = []
        rule = ""
        for line in text.splitlines():
            if line.startswith(("rule ", "localrule ")):
                rule = line.split()[1].rstrip(":")
                found.append((rule, ""))
            elif line.strip().startswith("wildcards:") and "city=" in line:
                found[-1] = (rule, line.split("city=")[1].split(",")[0].strip())
        return found

    def kill_when(self, condition: Callable[[], bool], *arguments: str) -> None:
        """Start a run and kill its whole process group with SIGKILL as soon as a condition holds."""
        with (self.folder / "killed.log").open("w") as log:
            process = subprocess.Popen(
                self.command(*arguments), cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )
            try:
                deadline = time.monotonic() + 300
                while not condition():
                    state = process.poll()
                    assert state is None, f"ended ({state}) too early:\n{(self.folder / 'killed.log').read_text()}"
                    assert time.monotonic() < deadline, "the condition never came"
                    time.sleep(0.002)
            finally:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def copy(self, folder: Path) -> "Project":
        """Return a copy of the project, with all its files and times."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder, self.config)


def _merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in change.items():
        old = result.get(key)
        result[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


@pytest.fixture(scope="session")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder bucket with a tiny sample."""
    folder = tmp_path_factory.mktemp("bucket")
    draw_sample(folder, cities=2, grid=(3, 2), chip_px=256, seed=3)
    return folder


@pytest.fixture(scope="session")
def cities(bucket: Path) -> dict[str, dict[str, Any]]:
    """The `cities` section for the tiny sample: the first city is trained on, the second only scored."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(bucket.rglob("*.tar.gz")):
        name = parse_name(f"{path.name.removesuffix('.tar.gz')}_PS-MS_chip0.tif")
        assert name is not None, path
        split = "train" if "_train_" in path.name else "test_public"
        city = found.setdefault(name.city.lower(), {"use": "evaluate" if found else "train"})
        city[split] = [{"key": str(path.relative_to(bucket))}]
    return found


@pytest.fixture
def project(tmp_path: Path, bucket: Path, cities: dict[str, dict[str, Any]]) -> Project:
    """A fresh project on the tiny sample; nothing is done yet."""
    return Project(tmp_path, {**TINY, "bucket": f"file://{bucket}", "cities": cities})


@pytest.fixture(scope="session")
def finished(
    tmp_path_factory: pytest.TempPathFactory, bucket: Path, cities: dict[str, dict[str, Any]]
) -> Iterator[Project]:
    """A project whose whole workflow has run, undisturbed; copy it before changing anything."""
    folder = tmp_path_factory.mktemp("finished") / "project"
    folder.mkdir()
    done = Project(folder, {**TINY, "bucket": f"file://{bucket}", "cities": cities})
    done.run()
    yield done
