"""Stages killed with SIGKILL in the middle: the same command then finishes, with the bytes of an undisturbed run."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tarfactory import ROAD, image, label, tarball, write_bucket

from roadspeed.acquire.city import acquire_city
from roadspeed.acquire.settings import AcquireSettings, Tarball
from roadspeed.prepare.masks import mask_city
from roadspeed.prepare.settings import MaskSettings, StretchSettings
from roadspeed.prepare.stretch import stretch_city
from roadspeed.speedbins import SpeedBins

CODE = """
import sys
from pathlib import Path
from test_acquire_killed import STEPS
print("go", flush=True)
STEPS[sys.argv[1]](Path(sys.argv[2]), sys.argv[3])
"""


def acquire(folder: Path, bucket: str) -> None:
    settings = AcquireSettings(keep_tarballs=False)
    acquire_city("m", "train", bucket, [Tarball(key="a.tar.gz")], folder / "city", folder / "tarballs", settings)


def stretch(folder: Path, bucket: str) -> None:
    stretch_city(folder / "city/chips.csv", folder / "out", StretchSettings())


def masks(folder: Path, bucket: str) -> None:
    mask_city(folder / "city/chips.csv", folder / "out/rgb.csv", folder / "out", MaskSettings(), SpeedBins())


STEPS: dict[str, Callable[[Path, str], None]] = {"acquire": acquire, "stretch": stretch, "masks": masks}
MADE = {"acquire": "city/.unpack*/images/*.tif", "stretch": "out/rgb/*.tif", "masks": "out/masks/*.tif"}
FINISHED = {"acquire": "city/chips.csv", "stretch": "out/rgb.csv", "masks": "out/masks.csv"}


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> str:
    name = "SN5_roads_train_AOI_7_Moscow"
    content = {f"{name}_PS-MS_chip{n}.tif": image(n % 6, n // 6, size=220, seed=n) for n in range(30)}
    content |= {f"{name}_geojson_roads_speed_chip{n}.geojson": label(ROAD, lanes=str(n % 4)) for n in range(30)}
    return write_bucket(tmp_path_factory.mktemp("bucket"), a=tarball(content))


def made_by(step: str, folder: Path) -> list[Path]:
    """The finished files of a step; a hidden one is being written."""
    return [path for path in folder.glob(MADE[step]) if not path.name.startswith(".")]


def outputs(folder: Path) -> dict[str, bytes]:
    """Every visible file but the records that hold the time."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".json" and not any(part.startswith(".") for part in path.parts[-4:])
    }


def kill_in_the_middle(step: str, folder: Path, bucket: str) -> None:
    command = [sys.executable, "-c", CODE, step, str(folder), bucket]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while len(made_by(step, folder)) < 3:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
    assert not (folder / FINISHED[step]).exists()


def test_killed_stages_finish_with_the_same_outputs(tmp_path: Path, bucket: str) -> None:
    for step, work in STEPS.items():
        work(tmp_path / "quiet", bucket)
        kill_in_the_middle(step, tmp_path / "killed", bucket)
        made = {path: path.stat().st_mtime_ns for path in made_by(step, tmp_path / "killed")}
        work(tmp_path / "killed", bucket)
        assert outputs(tmp_path / "killed") == outputs(tmp_path / "quiet")
        if step != "acquire":
            kept = [path for path, stamp in made.items() if path.stat().st_mtime_ns == stamp]
            assert len(kept) >= len(made) - 1  # the one that was written but not yet noted may be made again
    assert not list((tmp_path / "killed").rglob(".unpack*"))
