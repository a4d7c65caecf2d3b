"""8-bit images: ranges worked out by hand, no-data, seams, chips that cannot be used, continuing after a kill."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rasterio.crs import CRS
from rasterio.transform import Affine

from roadspeed.chips import Chip, write_chips
from roadspeed.errors import ConfigError, InputError
from roadspeed.files import read_table
from roadspeed.prepare.settings import StretchSettings
from roadspeed.prepare.stretch import percentile, stretch, stretch_city
from roadspeed.raster import Grid, open_raster, read_raster, write_raster


def grid(size: int = 10, column: int = 0) -> Grid:
    return Grid(size, size, CRS.from_epsg(32611), Affine(1, 0, 500000 + column * size, 0, -1, 4000000))


def write_city(tmp_path: Path, **images: np.ndarray | bytes | None) -> Path:
    chips = []
    for number, (name, pixels) in enumerate(images.items()):
        path = tmp_path / "images" / f"{name}.tif"
        path.parent.mkdir(exist_ok=True)
        if isinstance(pixels, bytes):
            path.write_bytes(pixels)
        elif pixels is not None:
            write_raster(path, pixels, grid(pixels.shape[1], number))
        image = None if pixels is None else path
        chips.append(
            Chip(name, "c", "train", 1, number, image, None, "missing", 0, number, 10, 10, 0, 0, 1, 1, "EPSG:32611")
        )
    write_chips(tmp_path / "chips.csv", chips)
    return tmp_path / "chips.csv"


def run(tmp_path: Path, chips: Path, threads: int = 1, **settings: object) -> dict[str, dict[str, str]]:
    stretch_city(chips, tmp_path / "out", StretchSettings.checked(settings), threads)
    return {row["chip_id"]: row for row in read_table(tmp_path / "out/rgb.csv")}


def constant(*values: int, dtype: type = np.uint16) -> np.ndarray:
    return np.stack([np.full((10, 10), value, dtype) for value in values])


def test_stretch_values_by_hand() -> None:
    pixels = np.array([[[0, 99, 100, 227, 354, 60000]]], np.uint16)
    # 254 steps between 100 and 354: the middle, 227, becomes 1 + 127.
    assert stretch(pixels, [(100, 354)]).tolist() == [[[1, 1, 1, 128, 255, 255]]]
    valid = np.array([[False, True, True, True, True, False]])
    assert stretch(pixels, [(100, 354)], valid).tolist() == [[[0, 1, 1, 128, 255, 0]]]


@given(
    hnp.arrays(np.uint16, (3, 4, 4)),
    st.lists(st.tuples(st.floats(0, 65534), st.floats(1, 65535)), min_size=3, max_size=3),
    hnp.arrays(bool, (4, 4)),
)
def test_valid_pixels_never_become_zero_and_others_always(
    pixels: np.ndarray, ranges: list[tuple[float, float]], valid: np.ndarray
) -> None:
    found = stretch(pixels, [(low, max(high, low + 1)) for low, high in ranges], valid)
    assert (found[:, valid] > 0).all()
    assert not found[:, ~valid].any()
    order = np.argsort(pixels[0][valid], kind="stable")
    assert (np.diff(found[0][valid][order].astype(int)) >= 0).all()


@given(hnp.arrays(np.uint16, st.integers(1, 60), elements=st.integers(0, 300)), st.floats(0, 100))
def test_percentile_of_counts_is_numpys(values: np.ndarray, percent: float) -> None:
    expected = np.percentile(values, percent)
    assert percentile(np.bincount(values), percent) == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_city_range_gives_no_seams(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    dark, bright = rng.integers(100, 300, (2, 8, 10, 10)).astype(np.uint16)
    dark[:, 0, 0], bright[:, 0, 0] = 200, 200
    bright[:, 5:] += 2000
    chips = write_city(tmp_path, dark=dark, bright=bright)
    run(tmp_path, chips)
    a, _ = read_raster(tmp_path / "out/rgb/dark.tif")
    b, _ = read_raster(tmp_path / "out/rgb/bright.tif")
    assert (a[:, 0, 0] == b[:, 0, 0]).all()
    all_red = np.concatenate([dark[4].ravel(), bright[4].ravel()])
    stored = json.loads((tmp_path / "out/rgb.json").read_text())
    assert stored["ranges"][0] == pytest.approx(np.percentile(all_red, (2, 98)))
    run(tmp_path, chips, method="chip")
    a, _ = read_raster(tmp_path / "out/rgb/dark.tif")
    b, _ = read_raster(tmp_path / "out/rgb/bright.tif")
    assert (a[:, 0, 0] != b[:, 0, 0]).any()


def test_city_range_of_large_images_is_near_the_exact_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    pixels = rng.gamma(4, 100, (8, 300, 300)).astype(np.uint16)
    pixels[:, :150] = np.maximum(pixels[:, :150], 1) + 300
    exact = [np.percentile(pixels[band - 1][pixels[band - 1] > 0], (2, 98)) for band in (5, 3, 2)]
    run(tmp_path, write_city(tmp_path, a=pixels))
    assert np.array(json.loads((tmp_path / "out/rgb.json").read_text())["ranges"]) == pytest.approx(np.array(exact))
    # In a city of 16 chips and more, one row in 16 is counted.
    run(tmp_path, write_city(tmp_path, **{f"c{n}": np.roll(pixels, 7 * n, axis=1) for n in range(16)}))
    found = np.array(json.loads((tmp_path / "out/rgb.json").read_text())["ranges"])
    assert found == pytest.approx(np.array(exact), rel=0.03)


def test_uncompressed_image_that_is_cut_short(tmp_path: Path) -> None:
    pixels = np.ones((8, 300, 300), np.uint16)
    write_raster(tmp_path / "x.tif", pixels, grid(300), compress="none", predictor=1, interleave="pixel")
    content = (tmp_path / "x.tif").read_bytes()
    rows = run(tmp_path, write_city(tmp_path, whole=content, cut=content[: len(content) // 2]))
    assert rows["whole"]["rgb"]
    assert rows["cut"]["note"].startswith("image cannot be used: pixels cannot be read")


def test_bands(tmp_path: Path) -> None:
    chips = write_city(tmp_path, a=constant(10, 20, 30, 40, 50, 60, 70, 80))
    ranges = [[0, 254]] * 3
    run(tmp_path, chips, method="fixed", ranges=ranges)
    assert read_raster(tmp_path / "out/rgb/a.tif")[0][:, 0, 0].tolist() == [51, 31, 21]
    run(tmp_path, chips, method="fixed", ranges=ranges, bands=[8, 7, 1])
    assert read_raster(tmp_path / "out/rgb/a.tif")[0][:, 0, 0].tolist() == [81, 71, 11]


def test_all_eight_bands(tmp_path: Path) -> None:
    values = (10, 20, 30, 40, 50, 60, 70, 80)
    pixels = constant(*values)
    pixels[:, 0, 0] = 0
    pixels[:7, 0, 1] = 0
    chips = write_city(tmp_path, a=pixels, rgb_only=constant(1, 2, 3))
    rows = run(tmp_path, chips, method="fixed", ranges=[[0, 254]] * 8, bands="all")
    found, _ = read_raster(tmp_path / "out/rgb/a.tif")
    assert found[:, 5, 5].tolist() == [value + 1 for value in values]
    assert found[:, 0, 0].tolist() == [0] * 8
    assert found[:, 0, 1].tolist() == [1] * 7 + [81]
    assert "has 3 bands, expected bands [1, 2, 3, 4, 5, 6, 7, 8]" in rows["rgb_only"]["note"]
    assert len(json.loads((tmp_path / "out/rgb.json").read_text())["mean"]) == 8


def test_a_split_takes_the_ranges_of_another(tmp_path: Path) -> None:
    train, test, alone = (tmp_path / name for name in ("train", "test", "alone"))
    for folder in (train, test, alone):
        folder.mkdir()
    dark = np.random.default_rng(0).integers(100, 300, (8, 10, 10)).astype(np.uint16)
    run(train, write_city(train, a=dark))
    ranges = json.loads((train / "out/rgb.json").read_text())["ranges"]

    def stretched(folder: Path, of: Path | None, **settings: object) -> np.ndarray:
        chips = write_city(folder, a=dark + np.uint16(50))
        stretch_city(chips, folder / "out", StretchSettings.checked(settings), ranges_of=of)
        return read_raster(folder / "out/rgb/a.tif")[0]

    same = stretched(test, train / "out/rgb.json")
    assert json.loads((test / "out/rgb.json").read_text())["ranges"] == ranges
    assert (same == stretch((dark + np.uint16(50))[[4, 2, 1]], ranges)).all()
    assert (stretched(alone, None) != same).any()
    # Other ranges are a reason to make the pictures again; other bands are refused; 8-bit images have none.
    stored = json.loads((train / "out/rgb.json").read_text())
    (train / "out/rgb.json").write_text(json.dumps(stored | {"ranges": [[0, 254]] * 3}))
    assert (stretched(test, train / "out/rgb.json") == (dark + np.uint16(51))[[4, 2, 1]].clip(0, 255)).all()
    with pytest.raises(InputError, match="has ranges of 3 bands, expected 8; prepare both splits alike"):
        stretched(test, train / "out/rgb.json", bands="all")
    (train / "out/rgb.json").write_text(json.dumps(stored | {"ranges": None}))
    assert (stretched(test, train / "out/rgb.json") == stretched(alone, None)).all()
    for content in ("", "[]", "{}", '{"ranges": [1, 2, 3]}'):
        (train / "out/rgb.json").write_text(content)
        with pytest.raises(InputError, match="ranges cannot be read"):
            stretched(test, train / "out/rgb.json")


def test_eight_bit_passes_through(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(1, 255, (3, 10, 10)).astype(np.uint8)
    pixels[:, 0, 0] = 0
    pixels[:, 0, 1] = (0, 7, 0)
    chips = write_city(tmp_path, a=pixels)
    for method in ("city", "none"):
        run(tmp_path, chips, method=method)
        found, _ = read_raster(tmp_path / "out/rgb/a.tif")
        assert found[:, 0, 1].tolist() == [1, 7, 1]
        pixels[:, 0, 1] = found[:, 0, 1]
        assert (found == pixels).all()
    assert run(tmp_path, chips, method="chip")["a"]["valid_share"] == "0.99"
    assert (read_raster(tmp_path / "out/rgb/a.tif")[0] != pixels).any()


def test_no_method_for_sixteen_bits(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pixels are uint16, expected uint8"):
        run(tmp_path, write_city(tmp_path, a=constant(1, 2, 3)), method="none")


def test_file_is_tiled_compressed_and_georeferenced(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(1, 999, (8, 300, 300)).astype(np.uint16)
    pixels[:, :30] = 0
    row = run(tmp_path, write_city(tmp_path, a=pixels))["a"]
    assert row == {"chip_id": "a", "rgb": "rgb/a.tif", "valid_share": "0.9", "note": ""}
    with open_raster(tmp_path / "out/rgb/a.tif") as source:
        assert (source.count, source.dtypes[0], source.nodata) == (3, "uint8", 0)
        assert source.block_shapes[0] == (256, 256)
        assert source.compression is not None
        assert (source.crs, source.transform) == (grid(300).crs, grid(300).transform)
        found = source.read()
    assert not found[:, :30].any()
    assert (found[:, 30:] > 0).all()


def test_every_chip_has_a_row(tmp_path: Path) -> None:
    good = np.random.default_rng(0).integers(1, 999, (8, 10, 10)).astype(np.uint16)
    write_raster(tmp_path / "x.tif", np.tile(good, (1, 40, 40)), grid(400))
    cut = (tmp_path / "x.tif").read_bytes()[:-20000]
    nearly_black = np.zeros((8, 100, 100), np.uint16)
    nearly_black[:, 0, :50] = 5
    images: dict[str, np.ndarray | bytes | None] = {
        "good": good,
        "black": np.zeros((8, 10, 10), np.uint16),
        "nearly": nearly_black,
        "cut": cut,
        "text": b"text",
        "none": None,
        "pan": good[:1],
        "floats": good.astype(np.float32),
    }
    rows = run(tmp_path, write_city(tmp_path, **images))
    assert list(rows) == list(images)
    assert [name for name, row in rows.items() if row["rgb"]] == ["good"]
    assert rows["black"]["note"] == "only 0.00% of its pixels have data"
    assert (rows["nearly"]["valid_share"], rows["nearly"]["note"]) == ("0.005", "only 0.50% of its pixels have data")
    assert rows["cut"]["note"].startswith("image cannot be used: pixels cannot be read")
    assert rows["text"]["note"].startswith("image cannot be used: not a readable raster")
    assert rows["none"]["note"] == "no image"
    assert "has 1 bands" in rows["pan"]["note"]
    assert "float32" in rows["floats"]["note"]
    assert "\n" not in "".join(row["note"] for row in rows.values())
    assert run(tmp_path, tmp_path / "chips.csv", min_valid_share=0.001)["nearly"]["rgb"] == "rgb/nearly.tif"


def test_statistics(tmp_path: Path) -> None:
    chips = write_city(tmp_path, a=constant(10, 20, 30, dtype=np.uint8), b=constant(20, 40, 50, dtype=np.uint8))
    run(tmp_path, chips)
    stored = json.loads((tmp_path / "out/rgb.json").read_text())
    assert (stored["pixels"], stored["mean"], stored["deviation"]) == (200, [15, 30, 40], [5, 10, 10])


def test_only_what_changed_is_made_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = {name: rng.integers(1, 255, (3, 10, 10)).astype(np.uint8) for name in "abc"}
    chips = write_city(tmp_path, **images)
    run(tmp_path, chips)
    table = (tmp_path / "out/rgb.csv").read_bytes()
    stamp = {name: (tmp_path / f"out/rgb/{name}.tif").stat().st_mtime_ns for name in "abc"}
    (tmp_path / "out/rgb.csv").unlink()
    (tmp_path / "out/rgb/b.tif").unlink()
    with (tmp_path / "out/.rgb.jsonl").open("a") as file:
        file.write('{"chip_id": "c", "finger')  # the line a killed run was writing
    write_raster(tmp_path / "images/c.tif", images["a"], grid())
    run(tmp_path, chips)
    now = {name: (tmp_path / f"out/rgb/{name}.tif").stat().st_mtime_ns for name in "abc"}
    assert [now[name] == stamp[name] for name in "abc"] == [True, False, False]
    assert (tmp_path / "out/rgb.csv").read_bytes() == table


def test_two_processes_make_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    chips = write_city(tmp_path, **{f"c{i}": rng.integers(1, 2000, (8, 10, 10)).astype(np.uint16) for i in range(6)})
    run(tmp_path, chips)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out/rgb").iterdir()}
    (tmp_path / "out/.rgb.jsonl").unlink()
    run(tmp_path, chips, threads=2)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out/rgb").iterdir()} == before


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "fixed"},
        {"method": "fixed", "ranges": [[0, 1], [2, 2], [0, 1]]},
        {"percentiles": [98, 2]},
        {"bands": [1, 2]},
        {"bands": [0, 1, 2]},
        {"bands": [1, 1, 2]},
        {"bands": "nir"},
        {"bands": [8, 7, 6, 5, 4, 3, 2, 1]},
        {"bands": "all", "method": "fixed", "ranges": [[0, 1]] * 3},
        {"method": "clahe"},
    ],
)
def test_settings_that_cannot_be(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        StretchSettings.checked(settings)


def test_real_image(real_data: Path, tmp_path: Path) -> None:
    image = real_data / "vegas_img0" / "RGB-PanSharpen_AOI_2_Vegas_img0.tif"
    chips = tmp_path / "chips.csv"
    write_chips(
        chips, [Chip("v", "c", "train", 2, 0, image, None, "missing", 0, 0, 1300, 1300, 0, 0, 1, 1, "EPSG:4326")]
    )
    row = run(tmp_path, chips)["v"]
    found, _ = read_raster(tmp_path / "out/rgb/v.tif")
    pixels, _ = read_raster(image)
    assert (found == np.maximum(pixels[:3], 1) * (pixels[:3].any(axis=0) & (pixels[3] > 0))).all()
    assert float(row["valid_share"]) == pytest.approx((found > 0).all(axis=0).mean(), abs=1e-6)
