"""Files are whole or absent; locks are waited for; tables and fingerprints round-trip."""

import json
import os
import platform
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.transform import from_origin
from rasterio.windows import Window

from roadspeed.chips import Chip, read_chips, write_chips
from roadspeed.errors import InputError
from roadspeed.files import atomic, fingerprint, read_table, write_table
from roadspeed.parallel import map_ordered
from roadspeed.raster import Grid, read_grid, read_raster, write_raster


def test_atomic_keeps_the_old_file_on_an_error(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "a.txt"
    with atomic(target) as temporary:
        temporary.write_text("old")
    with pytest.raises(ValueError, match="stop"), atomic(target) as temporary:
        temporary.write_text("half")
        raise ValueError("stop")
    assert target.read_text() == "old"
    assert [path.name for path in target.parent.iterdir()] == ["a.txt"]


@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8", exclude_characters="\r\0")), st.integers())))
def test_tables_round_trip(rows: list[tuple[str, int]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        write_table(path, ("a", "b"), ({"a": text, "b": number} for text, number in rows))
        assert [(row["a"], int(row["b"])) for row in read_table(path)] == rows


def test_fingerprint_depends_on_values_and_not_on_key_order() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_lock_is_waited_for_and_freed_by_sigkill(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom roadspeed.files import locked\n"
        "with locked(sys.argv[1], 'x'):\n    print('held', flush=True)\n    time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    second = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        time.sleep(1.0)
        assert second.poll() is None
        os.kill(holder.pid, signal.SIGKILL)
        assert second.stdout is not None and second.stdout.readline() == b"held\n"
    finally:
        for process in (holder, second):
            process.kill()
            process.communicate()


def _chip(folder: Path) -> Chip:
    return Chip(
        "AOI_7_Moscow_chip3", "moscow", "train", 7, 3, folder / "images" / "a.tif", None, "missing", 1, 2, 512, 512,
        37.5, 55.0, 37.5012345678, 55.001, "EPSG:4326", "no label file",
    )  # fmt: skip


def test_chip_table_round_trips_and_moves_with_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    write_chips(folder / "chips.csv", [_chip(folder)])
    assert read_chips(folder / "chips.csv") == [_chip(folder)]
    moved = folder.rename(tmp_path / "two")
    assert read_chips(moved / "chips.csv") == [_chip(moved)]


@pytest.mark.parametrize("damage", ["label_state", "row", "west"])
def test_damaged_chip_table_is_one_clear_error(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "chips.csv"
    write_chips(path, [_chip(tmp_path)])
    rows = read_table(path)
    rows[0][damage] = "nonsense"
    write_table(path, rows[0], rows)
    with pytest.raises(InputError, match="line 2: not a chip table"):
        read_chips(path)
    with pytest.raises(InputError, match="no such chip table"):
        read_chips(tmp_path / "absent.csv")


def test_raster_round_trips_whole_and_by_window(tmp_path: Path) -> None:
    grid = Grid(300, 260, CRS.from_epsg(4326), from_origin(37.5, 55.0, 2.7e-6, 2.7e-6))
    pixels = np.random.default_rng(0).integers(0, 255, (3, 260, 300), np.uint8)
    write_raster(tmp_path / "a.tif", pixels, grid)
    assert read_grid(tmp_path / "a.tif") == grid
    again, _ = read_raster(tmp_path / "a.tif")
    assert (again == pixels).all()
    part, place = read_raster(tmp_path / "a.tif", [2], Window(10, 20, 30, 40))
    assert (part == pixels[1:2, 20:60, 10:40]).all()
    assert (place.transform.c, place.transform.f) == pytest.approx(
        (37.5 + 10 * 2.7e-6, 55.0 - 20 * 2.7e-6), abs=1e-12
    )


def test_raster_errors_are_one_line(tmp_path: Path) -> None:
    grid = Grid(512, 512, CRS.from_epsg(4326), from_origin(37.5, 55.0, 2.7e-6, 2.7e-6))
    path = tmp_path / "a.tif"
    write_raster(path, np.random.default_rng(0).integers(0, 255, (1, 512, 512), np.uint8), grid)
    with pytest.raises(InputError, match="has 1 bands, band 4 is wanted"):
        read_raster(path, [4])
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"a\.tif"):
        read_raster(path)
    with pytest.raises(InputError, match="no such file"):
        read_raster(tmp_path / "absent.tif")


def _square(number: int) -> int:
    if number == 13:
        raise InputError("13 is not wanted")
    return number * number


@pytest.mark.parametrize("threads", [1, 2])
def test_map_ordered_keeps_the_order_and_passes_errors_on(threads: int) -> None:
    assert list(map_ordered(_square, range(12), 12, threads, "squares")) == [n * n for n in range(12)]
    with pytest.raises(InputError, match="13 is not wanted"):
        list(map_ordered(_square, range(30), 30, threads, "squares"))


def _page_faults(_: int) -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    arrays = [np.ones(3 << 20, np.uint8) for _ in range(10)]
    assert all(array[-1] for array in arrays)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps memory in its own way")
@pytest.mark.parametrize("threads", [1, 2])
def test_the_memory_of_one_item_is_used_again_for_the_next(threads: int) -> None:
    # In a process of its own, which nothing before has told to keep memory.
    code = "import test_shared_files as t; print(list(t.map_ordered(t._page_faults, range(12), 12, %d, 'arrays')))"
    guarded = f"if __name__ == '__main__':\n    {code % threads}"
    done = subprocess.run(
        [sys.executable, "-c", guarded], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    )
    faults = json.loads(done.stdout)
    assert max(faults) > 0.9 * (30 << 20) / 4096, "the first arrays of a process are new"
    assert sorted(faults)[len(faults) // 2] < 100


def test_progress_tells_amount_rate_and_remaining_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from roadspeed import progress

    clock = iter([100.0, 110.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: False, raising=False)
    counted = progress.Progress("masks vegas", 100, "chip", done=20)
    counted.done += 20
    assert counted.line() == "masks vegas: 40 of 100 chips, 2 chips/s, 0:30 left"
