"""What a user sees when something is wrong: one clear line, and a non-zero exit."""

import fcntl
import gzip
import shutil
from pathlib import Path

import pytest

from tests.workflow.conftest import Project

pytestmark = pytest.mark.workflow


def _error_lines(text: str) -> list[str]:
    assert "Traceback" not in text
    return [line for line in text.splitlines() if "roadspeed: error:" in line]


def test_unknown_key(project: Project) -> None:
    project.write_config({"train": {"epoch": 3}})
    lines = _error_lines(project.run(fails=True))
    assert lines == ["roadspeed: error: config: unknown key 'train.epoch'; did you mean 'epochs'?"]


def _own_bucket(project: Project, bucket: Path) -> Path:
    """Give the project a bucket of its own, to be broken; return the first city's tarball."""
    own = project.folder / "bucket"
    shutil.copytree(bucket, own)
    project.write_config({"bucket": f"file://{own}"})
    city = next(iter(project.config["cities"].values()))
    return own / city["train"][0]["key"]


def test_broken_tarball(project: Project, bucket: Path) -> None:
    tarball = _own_bucket(project, bucket)
    tarball.write_bytes(tarball.read_bytes()[: tarball.stat().st_size // 2])
    city = next(iter(project.config["cities"]))
    text = project.run(f"data/acquire/{city}/train/chips.csv", fails=True)
    lines = _error_lines(text)
    assert lines and tarball.name in lines[0]
    assert not (project.folder / f"data/acquire/{city}/train/chips.csv").exists()


def test_unreadable_label(project: Project, bucket: Path) -> None:
    import io
    import tarfile

    tarball = _own_bucket(project, bucket)
    members = []
    with tarfile.open(tarball) as source:
        for member in source:
            data = source.extractfile(member).read() if member.isfile() else b""  # type: ignore[union-attr]
            if member.name.endswith("chip1.geojson") or (
                member.name.endswith(".geojson") and not any(m.name.endswith(".geojson") for m, _ in members)
            ):
                data = b'{"type": "FeatureCollection", "features": [{'
            member.size = len(data)
            members.append((member, data))
    with tarfile.open(tarball, "w:gz") as target:
        for member, data in members:
            target.addfile(member, io.BytesIO(data))
    city = next(iter(project.config["cities"]))
    lines = _error_lines(project.run(f"data/acquire/{city}/train/chips.csv", fails=True))
    assert lines and ".geojson" in lines[0]


def test_not_a_tarball(project: Project, bucket: Path) -> None:
    tarball = _own_bucket(project, bucket)
    tarball.write_bytes(gzip.compress(b"this is no tar archive" * 100))
    city = next(iter(project.config["cities"]))
    lines = _error_lines(project.run(f"data/acquire/{city}/train/chips.csv", fails=True))
    assert lines and tarball.name in lines[0]


def test_missing_checkpoint(finished: Project, tmp_path: Path) -> None:
    import subprocess
    import sys

    from tests.workflow.conftest import ROOT

    city = next(iter(finished.config["cities"]))
    done = subprocess.run(
        [sys.executable, str(ROOT / "workflow/scripts/predict.py"), "--shard", "0", "--shards", "1"]
        + ["--rgb", f"data/prepare/{city}/train/rgb.csv", "--chips", f"data/acquire/{city}/train/chips.csv"]
        + ["--models", "absent.safetensors", "--folds", "results/tiny/folds.csv"]
        + ["--out", str(tmp_path / "shard0.csv"), "--threads", "1"],
        capture_output=True,
        text=True,
        cwd=finished.folder,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    lines = _error_lines(done.stderr)
    assert len(lines) == 1 and "absent.safetensors" in lines[0]


def test_two_runs_in_one_folder_are_refused(project: Project) -> None:
    (project.folder / ".snakemake").mkdir()
    with (project.folder / ".snakemake" / "roadspeed.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        text = project.run(fails=True)
    assert "another run is at work in this folder" in text
    assert not (project.folder / "data").exists()
