"""Bands of 16-bit images read from strips: the same as GDAL reads, and whatever is unusual is left to GDAL."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roadspeed.prepare.strips import read_strips


def write(path: Path, pixels: np.ndarray, **options: object) -> Path:
    rows, columns = pixels.shape[1:]
    profile: dict[str, object] = {"driver": "GTiff", "count": len(pixels), "height": rows, "width": columns}
    profile |= {"dtype": pixels.dtype, "interleave": "pixel"}
    with rasterio.open(path, "w", **(profile | options)) as target:
        target.write(pixels)
    return path


def draw(seed: int, shape: tuple[int, int, int], kind: str) -> np.ndarray:
    """Draw pixels that LZW packs badly (noise), well (steps) or into strings as long as they get (flat)."""
    rng = np.random.default_rng(seed)
    if kind == "noise":
        return rng.integers(0, 65536, shape).astype(np.uint16)
    if kind == "steps":
        return (np.cumsum(rng.integers(0, 2, shape), axis=2) * 40 + rng.integers(0, 3, shape)).astype(np.uint16)
    return np.full(shape, rng.integers(0, 65536), np.uint16)


@pytest.mark.parametrize(
    "options", [{}, {"compress": "lzw"}, {"compress": "lzw", "predictor": 2}, {"BIGTIFF": "YES"}]
)
@pytest.mark.parametrize("kind", ["noise", "steps", "flat"])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 9999),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 40), st.integers(1, 400)),
    strip_rows=st.integers(1, 50),
    bands=st.lists(st.integers(1, 9), min_size=1, max_size=5),
)
def test_the_same_pixels_as_gdal(
    tmp_path: Path,
    options: dict[str, object],
    kind: str,
    seed: int,
    shape: tuple[int, int, int],
    strip_rows: int,
    bands: list[int],
) -> None:
    pixels = draw(seed, shape, kind)
    path = write(tmp_path / "a.tif", pixels, blockysize=strip_rows, **options)
    bands = [min(band, shape[0]) for band in bands]
    found = read_strips(path, bands)
    assert found is not None
    assert (found == pixels[[band - 1 for band in bands]]).all()


@pytest.mark.parametrize("compress", ["none", "lzw"])
def test_samples_are_whole_strips_from_all_over_the_image(tmp_path: Path, compress: str) -> None:
    pixels = np.broadcast_to(np.arange(1300, dtype=np.uint16)[None, :, None], (3, 1300, 20))
    path = write(tmp_path / "a.tif", pixels, compress=compress, blockysize=1)
    found = read_strips(path, [2], sampled=True)
    assert found is not None
    assert found[0, :, 0].tolist() == list(range(0, 1300, 16))
    # 33 strips: every second one. The last has 20 rows.
    path = write(tmp_path / "b.tif", pixels, compress=compress, blockysize=40)
    found = read_strips(path, [2], sampled=True)
    assert found is not None
    assert found[0, :, 0].tolist() == [row for row in range(1300) if row // 40 % 2 == 0]


@pytest.mark.parametrize(
    "options",
    [
        {"compress": "deflate"},
        {"tiled": True, "blockxsize": 16, "blockysize": 16},
        {"interleave": "band"},
        {"ENDIANNESS": "BIG"},
        {"nbits": 12},
        {"compress": "lzw", "sparse_ok": True},
        {"driver": "PNG"},
    ],
)
def test_other_kinds_are_left_to_gdal(tmp_path: Path, options: dict[str, object]) -> None:
    pixels = np.zeros((3, 40, 40), np.uint16)
    assert read_strips(write(tmp_path / "a.tif", pixels, **options), [1]) is None


def test_other_pixels_and_files_are_left_to_gdal(tmp_path: Path) -> None:
    assert read_strips(write(tmp_path / "a.tif", np.ones((3, 9, 9), np.uint8)), [1]) is None
    assert read_strips(write(tmp_path / "b.tif", np.ones((3, 9, 9), np.int16)), [1]) is None
    assert read_strips(write(tmp_path / "c.tif", np.ones((3, 9, 9), np.uint16)), [4]) is None
    for content in (
        b"",
        b"II*\0",
        b"II+\0" + bytes(20),
        b"II*\0\x08\0\0\0\xff\xff" + bytes(100),
        b"text, much of it",
    ):
        (tmp_path / "d.tif").write_bytes(content)
        assert read_strips(tmp_path / "d.tif", [1]) is None


@pytest.mark.parametrize("compress", ["none", "lzw"])
def test_damaged_files_never_crash(tmp_path: Path, compress: str) -> None:
    pixels = draw(1, (4, 60, 50), "steps")
    content = write(tmp_path / "a.tif", pixels, compress=compress, blockysize=7).read_bytes()
    assert read_strips(tmp_path / "a.tif", [1, 4]) is not None
    rng = np.random.default_rng(0)
    for _ in range(400):
        damaged = bytearray(content[: int(rng.integers(1, len(content)))] if rng.random() < 0.3 else content)
        for place in rng.integers(0, len(damaged), int(rng.integers(1, 9))):
            damaged[place] = rng.integers(256)
        (tmp_path / "b.tif").write_bytes(damaged)
        found = read_strips(tmp_path / "b.tif", [1, 4])
        assert found is None or found.dtype == np.uint16


def test_codes_that_point_at_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", np.zeros((1, 1, 40), np.uint16), compress="lzw")
    content = path.read_bytes()
    place = content.index(b"\x80\0")
    for code in (257, 258, 511):  # the end at once; entries before there are any
        bits = f"{256:09b}{code:09b}".ljust(24, "0")
        path.write_bytes(content[:place] + int(bits, 2).to_bytes(3, "big") + content[place + 3 :])
        assert read_strips(path, [1]) is None
