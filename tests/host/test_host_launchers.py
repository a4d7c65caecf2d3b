"""The workflow's scripts under the launchers of Intel's article, as a user may run them by hand."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rasterio.crs import CRS
from rasterio.transform import from_origin

from roadspeed.chips import Chip, write_chips
from roadspeed.raster import Grid, write_raster

SCRIPT = Path(__file__).resolve().parents[2] / "workflow" / "scripts" / "stretch.py"
LAUNCHERS = {
    "run_cpu": [sys.executable, "-m", "torch.backends.xeon.run_cpu"],
    "ipexrun": [str(Path(sys.executable).with_name("ipexrun")), "cpu"],
}


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_script_runs_under_the_launcher(name: str, tmp_path: Path) -> None:
    launcher = LAUNCHERS[name]
    if name == "ipexrun" and not Path(launcher[0]).exists():
        pytest.skip("ipexrun is absent: IPEX is not installed")
    if not (shutil.which("taskset") or shutil.which("numactl")):
        pytest.skip("neither taskset nor numactl is installed: run_cpu needs one")
    if os.sched_getaffinity(0) != set(range(os.cpu_count() or 1)):
        pytest.skip("this process may not use all CPUs: both launchers leave such a set or fail in it")
    pixels = np.arange(4 * 32 * 32, dtype=np.uint16).reshape(4, 32, 32) + 1
    grid = Grid(32, 32, CRS.from_epsg(4326), from_origin(30.0, 15.0, 3e-6, 3e-6))
    write_raster(tmp_path / "a.tif", pixels, grid)
    bounds = {"west": 30.0, "south": 15.0 - 32 * 3e-6, "east": 30.0 + 32 * 3e-6, "north": 15.0, "crs": "EPSG:4326"}
    place = {"row": 0, "column": 0, "width": 32, "height": 32}
    chip = Chip("a", "khartoum", "train", 5, 1, tmp_path / "a.tif", None, "missing", **place, **bounds)  # type: ignore[arg-type]
    write_chips(tmp_path / "chips.csv", [chip])
    done = subprocess.run(
        [
            *launcher,
            *("--ninstances", "1", "--ncores-per-instance", "1", str(SCRIPT), "--threads", "1"),
            *("--chips", str(tmp_path / "chips.csv"), "--out", str(tmp_path / "rgb" / "rgb.csv")),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (tmp_path / "rgb" / "rgb.csv").exists(), done.stderr
    with (tmp_path / "rgb" / "rgb.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["chip_id"] for row in rows] == ["a"]
    assert (tmp_path / "rgb" / rows[0]["rgb"]).exists()
