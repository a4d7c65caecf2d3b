"""The sample cities: their tarballs, their geometry, and the awkward cases they promise."""

import tarfile
from collections import Counter
from pathlib import Path

import pytest
from rasterio.io import MemoryFile

from roadspeed.acquire.sample.looks import PIXEL_DEG
from roadspeed.acquire.sample.tarballs import INSIDE, KEY, draw_sample
from roadspeed.cli import main
from roadspeed.names import parse_name

ALLOWED_MPH = {15, 18.75, 20, 25, 30, 35, 45, 55, 65}
ATTRIBUTES = {
    "OBJECTID", "bridge", "highway", "inferred_speed_mph", "inferred_speed_mps", "lanes", "origarea", "origlen",
    "osm_id", "partialDec", "surface", "truncated",
}  # fmt: skip


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()}


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """Members of the default grid's first city, by split."""
    out = tmp_path_factory.mktemp("sample")
    train, test = draw_sample(out, cities=1, threads=2)
    assert train == out / KEY / "SN5_roads_train_AOI_21_Alderbrook.tar.gz"
    assert test == out / KEY / "SN5_roads_test_public_AOI_21_Alderbrook.tar.gz"
    return {"train": members(train), "test_public": members(test)}


def test_members_lie_and_are_named_as_in_spacenet(city: dict[str, dict[str, bytes]]) -> None:
    for split, count in (("train", 16), ("test_public", 4)):
        found = Counter()
        for path in city[split]:
            name = parse_name(path)
            assert name is not None and (name.aoi, name.city, name.kind) == (21, "Alderbrook", "chip")
            assert path.startswith(f"{INSIDE}/{split}/AOI_21_Alderbrook/{name.product}/SN5_roads_{split}_")
            found[name.product] += 1
        labels = {"geojson_roads_speed": count - 1} if split == "train" else {}
        assert found == {"PS-MS": count, "PS-RGB": count, "PAN": count, **labels}


def test_images_have_spacenets_form_and_tile_the_city(city: dict[str, dict[str, bytes]]) -> None:
    west, north = None, None
    places = set()
    for split in ("train", "test_public"):
        for path, content in city[split].items():
            name = parse_name(path)
            if not path.endswith(".tif"):
                continue
            with MemoryFile(content) as memory, memory.open() as image:
                bands, kind = {"PS-MS": (8, "uint16"), "PS-RGB": (3, "uint8"), "PAN": (1, "uint16")}[name.product]
                assert (image.count, image.dtypes[0], image.shape) == (bands, kind, (512, 512))
                assert image.crs.to_epsg() == 4326 and image.nodata is None
                assert image.res == pytest.approx((PIXEL_DEG, PIXEL_DEG), rel=1e-9)
                if name.product == "PS-MS":
                    if west is None:
                        west, north = image.transform.c, image.transform.f
                    column = (image.transform.c - west) / (512 * PIXEL_DEG)
                    row = (north - image.transform.f) / (512 * PIXEL_DEG)
                    assert abs(column - round(column)) < 1e-5 and abs(row - round(row)) < 1e-5
                    places.add((round(row), round(column)))
    train = {(r, c) for r in range(4) for c in range(4)}
    assert places == train | {(r, c) for r in range(2) for c in (4, 5)}


def test_bad_options_end_with_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("x")
    for options in (["--grid", "4by4"], ["--grid", "0x3"], ["--cities", "0"], ["--chip-px", "10"], ["--seed", "-1"],
                    ["--threads", "0"]):  # fmt: skip
        assert main(["sample", str(tmp_path / "out"), *options]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert main(["sample", str(tmp_path / "file")]) == 2
    assert not (tmp_path / "out").exists()
