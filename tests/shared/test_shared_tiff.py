"""The directory of a TIFF, and files that end too early."""

from pathlib import Path

import numpy as np
import pytest
import rasterio

from roadspeed.tiff import is_cut_short, read_tags

PIXELS = np.random.default_rng(1).integers(0, 999, (3, 70, 50)).astype(np.uint16)
WAYS: dict[str, dict[str, object]] = {
    "strips": {"interleave": "pixel", "blockysize": 8},
    "bands in strips": {"interleave": "band", "blockysize": 8},
    "tiles": {"tiled": True, "blockxsize": 16, "blockysize": 32, "compress": "deflate"},
    "big": {"BIGTIFF": "YES", "compress": "lzw", "blockysize": 8},
    "other byte order": {"ENDIANNESS": "BIG", "interleave": "pixel", "blockysize": 8},
}


def write(path: Path, **options: object) -> Path:
    profile: dict[str, object] = {"driver": "GTiff", "count": 3, "height": 70, "width": 50, "dtype": "uint16"}
    with rasterio.open(path, "w", **(profile | options)) as target:
        target.write(PIXELS)
    return path


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("way", WAYS)
def test_blocks_lie_where_gdal_says(tmp_path: Path, way: str) -> None:
    path = write(tmp_path / "a.tif", **WAYS[way])
    with path.open("rb") as file:
        tags = read_tags(file)
    assert (tags["width"].tolist(), tags["height"].tolist()) == ([50], [70])
    assert tags["bits"].tolist() == [16, 16, 16]
    kind = "tile" if way == "tiles" else "strip"
    with rasterio.open(path) as source:
        planes = (1, 2, 3) if source.profile["interleave"] == "band" else (1,)
        places = [(band, block) for band in planes for block, _ in source.block_windows(band)]
        for name in ("offset", "size"):
            told = [
                int(source.get_tag_item(f"BLOCK_{name.upper()}_{column}_{row}", "TIFF", bidx=band))
                for band, (row, column) in places
            ]
            assert tags[f"{kind}_{name}s"].tolist() == told


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("way", WAYS)
def test_every_shorter_file_is_cut_short(tmp_path: Path, way: str) -> None:
    content = write(tmp_path / "a.tif", **WAYS[way]).read_bytes()
    part = tmp_path / "part.tif"
    for size in [*range(8, len(content), 97), len(content) - 1]:
        part.write_bytes(content[:size])
        with part.open("rb") as file:
            assert is_cut_short(file), size
    with (tmp_path / "a.tif").open("rb") as file:
        assert not is_cut_short(file)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_blocks_that_were_never_written_are_not_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    profile = {"driver": "GTiff", "count": 1, "height": 64, "width": 64, "dtype": "uint8", "SPARSE_OK": True}
    with rasterio.open(path, "w", **profile):
        pass
    with path.open("rb") as file:
        assert not is_cut_short(file)


@pytest.mark.parametrize("content", [b"", b"II", b"\x89PNG\r\n\x1a\n", b"II\x00*" + bytes(40)])
def test_other_files_are_not_judged(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    with path.open("rb") as file:
        assert not is_cut_short(file)
        assert read_tags(file) == {}


def test_numbers_as_large_as_they_get_are_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    for content in (
        b"II*\0" + b"\xff" * 60,
        b"II+\0\x08\0\0\0" + b"\xff" * 60,
        # One tag, the offsets of 2³² - 1 strips.
        b"II*\0\x08\0\0\0\x01\0\x11\x01\x04\0" + b"\xff" * 8,
    ):
        path.write_bytes(content)
        with path.open("rb") as file:
            assert is_cut_short(file)
