"""A disk that takes no more ends a program with one line that says what to do."""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rasterio.crs import CRS
from rasterio.transform import Affine

from roadspeed.chips import Chip, write_chips
from roadspeed.errors import InputError, StorageError
from roadspeed.files import atomic, write_json
from roadspeed.logs import run_main
from roadspeed.prepare.done import DoneChips
from roadspeed.prepare.settings import StretchSettings
from roadspeed.prepare.stretch import stretch_city
from roadspeed.raster import Grid, write_raster
from roadspeed.storage import storage_error

GRID = Grid(300, 300, CRS.from_epsg(4326), Affine(1e-5, 0, 0, 0, -1e-5, 0))


def noise(bands: int) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, (bands, 300, 300)).astype(np.uint8)


@pytest.fixture
def largest_file() -> Iterator[int]:
    """Let no file of this process grow beyond 100 kB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield 100_000
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("largest_file")
def test_writers_of_all_kinds(tmp_path: Path) -> None:
    """Python's own files, GDAL's and SQLite's, which do not say why they fail."""
    import geopandas as gpd
    import shapely

    lines = [shapely.LineString(np.random.default_rng(n).random((200, 2))) for n in range(300)]

    def write_geopackage(path: Path) -> None:
        with atomic(path) as temporary:
            gpd.GeoDataFrame(geometry=lines, crs=4326).to_file(temporary, driver="GPKG")

    for name, write in {
        "a.json": lambda path: write_json(path, ["x" * 1000] * 500),
        "a.tif": lambda path: write_raster(path, noise(3), GRID),
        "a.gpkg": write_geopackage,
    }.items():
        with pytest.raises(StorageError, match=r"a.*cannot be written .File too large.; files may not become"):
            write(tmp_path / name)
    with (
        pytest.raises(StorageError, match=r"done.jsonl: cannot be written"),
        DoneChips(tmp_path / "done.jsonl") as done,
    ):
        for _ in range(1000):
            done.add({"chip_id": "a", "fingerprint": "b", "more": "x" * 1000})
    assert {path.name for path in tmp_path.iterdir()} == {"done.jsonl"}


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic(tmp_path / "a"):
        1 / 0  # noqa: B018
    with pytest.raises(FileNotFoundError), atomic(tmp_path / "a"):
        (tmp_path / "not there").open()
    with pytest.raises(InputError), atomic(tmp_path / "a"):
        raise InputError("bad")
    assert list(tmp_path.iterdir()) == []


def test_a_stage_stops_with_one_line_and_goes_on_later(tmp_path: Path) -> None:
    chips = []
    for number in range(3):
        image = tmp_path / f"{number}.tif"
        write_raster(image, np.full((3, 300, 300), 9, np.uint8) if number < 2 else noise(3), GRID)
        chips.append(Chip(f"c{number}", "c", "train", 1, number, image, None, "missing", 0, 0, 1, 1, 0, 0, 1, 1, ""))
    write_chips(tmp_path / "chips.csv", chips)
    script = Path(__file__).parents[2] / "workflow/scripts/stretch.py"
    command = [sys.executable, str(script), "--chips", str(tmp_path / "chips.csv"), "--threads", "1"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out/rgb.csv")],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"roadspeed: error: {tmp_path}/out/rgb/c2.tif: cannot be written (File too large)")
    first = (tmp_path / "out/rgb/c0.tif").stat().st_mtime_ns
    stretch_city(tmp_path / "chips.csv", tmp_path / "out", StretchSettings())
    assert (tmp_path / "out/rgb/c0.tif").stat().st_mtime_ns == first
    assert (tmp_path / "out/rgb/c2.tif").is_file()


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (errno.ENOSPC, "cannot be written (No space left on device; "),
        (errno.EDQUOT, "cannot be written (Disk quota exceeded); your quota is used up"),
        (errno.EROFS, "cannot be used (Read-only file system); the disk can only be read"),
        (errno.EACCES, "cannot be used (Permission denied); get the right to read and write it"),
    ],
)
def test_programs_end_with_one_line(
    number: int, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> None:
        raise OSError(number, os.strerror(number), str(tmp_path / "not" / "there"))

    assert run_main(work) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(f"roadspeed: error: {tmp_path}/not/there: {line}")
    assert printed.count("\n") == 1


def test_free_space_is_told(tmp_path: Path) -> None:
    error = storage_error(OSError(errno.ENOSPC, ""), tmp_path / "a")
    assert error is not None
    free = os.statvfs(tmp_path)
    assert f"{free.f_bavail * free.f_frsize / 2**30:.0f}"[:1] in str(error)
    assert "GiB are free there); make room" in str(error)
    with pytest.raises(FileNotFoundError):
        run_main(lambda: (_ for _ in ()).throw(FileNotFoundError(errno.ENOENT, "no", "x")))
