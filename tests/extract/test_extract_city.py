"""The extract stage of a city: chips side by side, holes, resuming, and the command for rasters and folders."""

import logging
from pathlib import Path

import numpy as np
import pytest
import shapely
from extract_rasters import PIXEL_M, UTM, draw, grid

from roadspeed.chips import Chip, write_chips
from roadspeed.cli import main
from roadspeed.errors import InputError
from roadspeed.extract import city
from roadspeed.extract.city import STATE, extract_city, extract_mosaic
from roadspeed.extract.roads import by_chip, read_geopackage
from roadspeed.extract.settings import ExtractSettings
from roadspeed.files import write_table
from roadspeed.geo import LONLAT, project
from roadspeed.raster import Grid, write_raster
from roadspeed.speedbins import SpeedBins

CHIP = 320


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A city of 2 × 3 chips with a road across, one down, and no prediction for the last chip."""
    roads = draw(2 * CHIP, 3 * CHIP, [([(-50, 150), (1100, 180)], 3), ([(330, -50), (310, 700)], 5)])
    chips, rows = [], []
    for number in range(6):
        row, column = divmod(number, 3)
        part = grid(CHIP, CHIP, row * CHIP, column * CHIP)
        name = f"chip{number}"
        path = tmp_path / "predict" / "prob" / f"{name}.tif"
        if number < 5:
            pixels = roads[:, row * CHIP : (row + 1) * CHIP, column * CHIP : (column + 1) * CHIP]
            write_raster(path, np.ascontiguousarray(pixels), part)
        chips.append(
            Chip(name, "c", "s", 2, number, None, None, "missing", row, column, CHIP, CHIP, *part.bounds, str(UTM))
        )
        rows.append({"chip_id": name, "probability": f"prob/{name}.tif" if number < 5 else ""})
    write_chips(tmp_path / "chips.csv", chips)
    for shard in range(2):
        write_table(tmp_path / "predict" / f"shard{shard}.csv", ("chip_id", "probability"), rows[shard::2])
    return tmp_path


def run(folder: Path, name: str = "out", threads: int = 1, **settings: float) -> Path:
    shards = [folder / "predict" / f"shard{n}.csv" for n in range(2)]
    extract_city(folder / "chips.csv", shards, folder / name, ExtractSettings(**settings), SpeedBins(), threads)
    return folder / name


def test_roads_go_on_across_chip_borders(folder: Path) -> None:
    out = run(folder)
    roads = read_geopackage(out / "roads.gpkg")
    degrees = np.bincount(np.concatenate([roads.u, roads.v]))
    assert sorted(degrees.tolist()) == [1, 1, 1, 1, 4]
    assert roads.length_m.sum() == pytest.approx((3 * CHIP + 2 * CHIP) * PIXEL_M, rel=0.01)
    assert sorted(roads.speed_mph.round()) == [25, 25, 45, 45]
    chips = by_chip(read_geopackage(out / "chips.gpkg"))
    assert sorted(chips) == ["chip0", "chip1", "chip2", "chip3", "chip4"]
    assert chips["chip2"].length_m.sum() == pytest.approx(CHIP * PIXEL_M, abs=1)
    assert (out / "roads.graphml").is_file()


def test_two_processes_and_other_windows_give_the_same_bytes(folder: Path) -> None:
    one, two = run(folder), run(folder, "two", threads=2)
    for name in ("roads.gpkg", "chips.gpkg", "roads.graphml"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    cut = read_geopackage(run(folder, "cut", window_px=256) / "roads.gpkg")
    whole = read_geopackage(one / "roads.gpkg")
    np.testing.assert_array_equal(cut.node_xy, whole.node_xy)
    np.testing.assert_array_equal(cut.length_m, whole.length_m)


def test_a_missing_chip_is_a_hole(folder: Path) -> None:
    (folder / "predict" / "shard1.csv").write_text("chip_id,probability\nchip1,\nchip3,prob/chip3.tif\nchip5,\n")
    roads = read_geopackage(run(folder) / "roads.gpkg")
    local = project(roads.geometry, LONLAT, UTM)
    hole = shapely.box(660000 + (CHIP + 2) * PIXEL_M, 4010000 - (CHIP - 2) * PIXEL_M, 660000 + 600 * PIXEL_M, 4010000)
    assert not shapely.intersects(local, hole).any()
    assert len(set(roads.u) | set(roads.v)) > 4


def test_a_killed_run_goes_on_where_it_was(folder: Path, monkeypatch, caplog) -> None:
    undisturbed = run(folder, "undisturbed")
    real = city.extract_raster
    seen: list[str] = []

    def killed(pixels, grid, settings, bins, name):
        if name == "chip3" and "chip3" not in seen:
            seen.append(name)
            raise KeyboardInterrupt
        seen.append(name)
        return real(pixels, grid, settings, bins, name)

    monkeypatch.setattr(city, "extract_raster", killed)
    with pytest.raises(KeyboardInterrupt):
        run(folder)
    assert seen == ["chip0", "chip1", "chip2", "chip3"]
    run(folder)
    assert seen[4:] == ["chip3", "chip4"]
    for name in ("roads.gpkg", "chips.gpkg", "roads.graphml"):
        assert (folder / "out" / name).read_bytes() == (undisturbed / name).read_bytes()
    assert not (folder / "out" / STATE).exists()

    seen.clear()
    with pytest.raises(KeyboardInterrupt):
        run(folder)
    caplog.set_level(logging.INFO, "roadspeed")
    run(folder, low=0.3)
    assert seen[4:] == ["chip0", "chip1", "chip2", "chip3", "chip4"]
    assert "inputs or settings changed" in caplog.text


def test_rasters_with_other_pixels_are_laid_on_one_grid(folder: Path) -> None:
    prob = folder / "predict" / "prob"
    big = draw(640, 640, [([(-50, 330), (700, 330)], 3)], width_px=26)
    half = Grid(640, 640, UTM, grid(CHIP, CHIP, 0, CHIP).transform @ grid(1, 1).transform.scale(0.5))
    write_raster(prob / "chip1.tif", big, half)
    roads = extract_mosaic([prob / "chip0.tif", prob / "chip1.tif"], ExtractSettings(), SpeedBins())
    local = project(roads.geometry, LONLAT, UTM)
    west, _, east, _ = shapely.total_bounds(local)
    assert east - west == pytest.approx(2 * CHIP * PIXEL_M, abs=1)
    assert shapely.union_all(shapely.buffer(local, 0.01)).geom_type == "Polygon"


def test_a_prediction_table_that_names_a_lost_file_is_an_input_error(folder: Path) -> None:
    (folder / "predict" / "prob" / "chip2.tif").unlink()
    with pytest.raises(InputError, match=r"chip2\.tif: no such prediction"):
        run(folder)


def test_the_command_writes_all_three_files_of_a_folder(folder: Path) -> None:
    out = folder / "made"
    args = ["graph", str(folder / "predict" / "prob"), "-o", str(out / "r.gpkg"), "--graphml", str(out / "r.graphml")]
    assert main([*args, "--csv", str(out / "r.csv")]) == 0
    assert read_geopackage(out / "r.gpkg").length_m.sum() == pytest.approx(5 * CHIP * PIXEL_M, rel=0.01)
    text = (out / "r.csv").read_text()
    assert text.startswith("ImageId,WKT_Pix,length_m,travel_time_s\nchip0,")
    assert all(f"\nchip{n}," in text for n in range(1, 5))


def test_the_command_takes_settings(folder: Path) -> None:
    chip, out = str(folder / "predict" / "prob" / "chip0.tif"), str(folder / "r.gpkg")
    assert main(["graph", chip, "-o", out, "--settings", '{"component_m": 900}', "--threads", "2"]) == 0
    assert len(read_geopackage(out).u) == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.write_bytes(b"II*\0"), "not a readable raster"),
        (lambda path: write_raster(path, np.zeros((3, 9, 9), np.uint8), grid(9, 9)), "has 3 bands, expected 8"),
        (
            lambda path: write_raster(path, np.zeros((8, 9, 9), np.uint8), Grid(9, 9, None, grid(9, 9).transform)),
            "has no CRS",
        ),
        (
            lambda path: (
                write_raster(path, np.zeros((8, 9, 9), np.uint8), grid(9, 9), compress="none")
                or path.write_bytes(path.read_bytes()[:-200])
            ),
            "cannot be read",
        ),
    ],
    ids=["absent", "no tiff", "bands", "crs", "cut short"],
)
def test_the_command_names_a_bad_input_in_one_line(tmp_path: Path, capsys, make, message: str) -> None:
    path = tmp_path / "prediction.tif"
    make(path)
    assert main(["graph", str(path), "-o", str(tmp_path / "r.gpkg")]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error
    assert "prediction.tif" in error
    assert not (tmp_path / "r.gpkg").exists()


def test_the_command_names_an_unknown_setting(tmp_path: Path, capsys) -> None:
    assert main(["graph", "x.tif", "-o", str(tmp_path / "r.gpkg"), "--settings", '{"spur": 3}']) == 2
    assert "did you mean 'spur_m'" in capsys.readouterr().err
