"""The sample cities: their tarballs, their geometry, and the awkward cases they promise."""

import gzip
import itertools
import json
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.io import MemoryFile

from roadspeed.acquire.sample.labels import chip_labels
from roadspeed.acquire.sample.looks import PIXEL_DEG, make_looks
from roadspeed.acquire.sample.spec import CitySpec
from roadspeed.acquire.sample.tarballs import INSIDE, KEY, MTIME, draw_sample
from roadspeed.cli import main
from roadspeed.geo import lengths_m
from roadspeed.names import parse_name

SPEEDS_MPH = {15, 18.75, 20, 25, 30, 35, 45, 55, 65}
ATTRIBUTES = {
    "OBJECTID", "bridge", "highway", "inferred_speed_mph", "inferred_speed_mps", "lanes", "origarea", "origlen",
    "osm_id", "partialDec", "surface", "truncated",
}  # fmt: skip
PX = 512
METRE_PX = 1 / 0.3


class City:
    """The default grid's first city as it stands in its tarballs."""

    def __init__(self, train: Path, test: Path) -> None:
        self.members = {"train": members(train), "test_public": members(test)}
        self.pixels: dict[tuple[int, int], np.ndarray] = {}
        self.labels: dict[tuple[int, int], list[dict[str, Any]]] = {}
        numbers = {}
        for path, content in self.members["train"].items():
            name = parse_name(path)
            if name.product == "PS-MS":
                with MemoryFile(content) as memory, memory.open() as image:
                    self.west, self.north = image.bounds.left, image.bounds.top
                    numbers[name.number] = image.bounds, image.read()
        self.west = min(b.left for b, _ in numbers.values())
        self.north = max(b.top for b, _ in numbers.values())
        places = {}
        for number, (bounds, pixels) in numbers.items():
            place = (
                round((self.north - bounds.top) / PX / PIXEL_DEG),
                round((bounds.left - self.west) / PX / PIXEL_DEG),
            )
            places[number] = place
            self.pixels[place] = pixels
        for path, content in self.members["train"].items():
            name = parse_name(path)
            if name.product == "geojson_roads_speed":
                self.labels[places[name.number]] = json.loads(content)["features"]

    def lines_px(self, place: tuple[int, int]) -> list[np.ndarray]:
        """Label lines in pixels of the chip."""
        row, column = place
        shift = column * PX, row * PX
        lines = [np.array(f["geometry"]["coordinates"]) for f in self.labels[place]]
        return [np.column_stack([xy[:, 0] - self.west, self.north - xy[:, 1]]) / PIXEL_DEG - shift for xy in lines]

    def ways(self) -> list[tuple[dict[str, Any], list[tuple[float, float]]]]:
        """All label lines of the city: properties and vertices."""
        features = itertools.chain.from_iterable(self.labels.values())
        return [(f["properties"], [tuple(c) for c in f["geometry"]["coordinates"]]) for f in features]


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()}


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> City:
    out = tmp_path_factory.mktemp("sample")
    train, test = draw_sample(out, cities=1, threads=2)
    assert train == out / KEY / "SN5_roads_train_AOI_21_Alderbrook.tar.gz"
    assert test == out / KEY / "SN5_roads_test_public_AOI_21_Alderbrook.tar.gz"
    return City(train, test)


def test_members_lie_and_are_named_as_in_spacenet(city: City) -> None:
    for split, count in (("train", 16), ("test_public", 4)):
        found: Counter[str] = Counter()
        for path in city.members[split]:
            name = parse_name(path)
            assert name is not None
            assert (name.aoi, name.city, name.kind) == (21, "Alderbrook", "chip")
            assert path.startswith(f"{INSIDE}/{split}/AOI_21_Alderbrook/{name.product}/SN5_roads_{split}_")
            found[name.product] += 1
        labels = {"geojson_roads_speed": count - 1} if split == "train" else {}
        assert found == {"PS-MS": count, "PS-RGB": count, "PAN": count, **labels}


def test_images_have_spacenets_form_and_tile_the_city(city: City) -> None:
    places = []
    for split in ("train", "test_public"):
        for path, content in city.members[split].items():
            name = parse_name(path)
            if not path.endswith(".tif"):
                continue
            with MemoryFile(content) as memory, memory.open() as image:
                bands, kind = {"PS-MS": (8, "uint16"), "PS-RGB": (3, "uint8"), "PAN": (1, "uint16")}[name.product]
                assert (image.count, image.dtypes[0], image.shape) == (bands, kind, (PX, PX))
                assert image.crs.to_epsg() == 4326
                assert image.nodata is None
                assert image.res == pytest.approx((PIXEL_DEG, PIXEL_DEG), rel=1e-9)
                if name.product == "PS-MS":
                    column = (image.transform.c - city.west) / (PX * PIXEL_DEG)
                    row = (city.north - image.transform.f) / (PX * PIXEL_DEG)
                    assert abs(column - round(column)) < 1e-5
                    assert abs(row - round(row)) < 1e-5
                    places.append((round(row), round(column)))
    train = [(r, c) for r in range(4) for c in range(4)]
    assert sorted(places) == sorted(train + [(r, c) for r in range(2) for c in (4, 5)])


def test_digital_numbers_and_spectra_are_plausible(city: City) -> None:
    pixels = np.concatenate([p[:, ::3, ::3].reshape(8, -1) for p in city.pixels.values()], axis=1).astype(float)
    pixels = pixels[:, pixels[0] > 0]
    low, high = np.percentile(pixels, [1, 99], axis=1)
    assert (low > 30).all() and (high < 1800).all() and (high > 4 * low).sum() >= 4
    red, nir = pixels[4], pixels[6]
    vegetation_index = (nir - red) / (nir + red)
    green, water = vegetation_index > 0.45, vegetation_index < -0.2
    assert green.mean() > 0.05 and water.mean() > 0.01
    # Plants: green above red, a steep red edge. Water: falling from blue to near infrared.
    assert np.median(pixels[2, green]) > np.median(red[green]) < np.median(pixels[5, green])
    assert (np.diff(np.median(pixels[[1, 2, 4, 6]][:, water], axis=1)) < 0).all()


def test_preview_shows_red_green_blue_of_the_bands_and_keeps_0_for_no_data(city: City) -> None:
    for path, content in city.members["train"].items():
        if parse_name(path).product == "PS-RGB" and parse_name(path).number == 0:
            with MemoryFile(content) as memory, memory.open() as image:
                rgb = image.read()
    pixels = city.pixels[0, 0]
    assert ((rgb == 0) == (pixels[[4, 2, 1]] == 0)).all()
    for shown, band in zip(rgb, pixels[[4, 2, 1]], strict=True):
        rank = np.corrcoef(shown[shown > 0], band[shown > 0])[0, 1]
        assert rank > 0.9


def test_labels_have_spacenets_attributes_and_speeds(city: City) -> None:
    seen = set()
    for features in city.labels.values():
        assert [f["properties"]["OBJECTID"] for f in features] == [str(k + 1) for k in range(len(features))]
    for properties, vertices in city.ways():
        assert set(properties) == ATTRIBUTES
        assert properties["inferred_speed_mph"] in SPEEDS_MPH
        assert properties["inferred_speed_mps"] == pytest.approx(properties["inferred_speed_mph"] * 0.44704, abs=1e-5)
        assert isinstance(properties["lanes"], str) and int(properties["lanes"]) >= 1
        length = shapely.LineString(vertices).length
        assert length == pytest.approx(properties["origlen"] * properties["partialDec"], rel=1e-3, abs=1e-8)
        assert properties["truncated"] == (properties["partialDec"] < 0.999999)
        seen.add(properties["inferred_speed_mph"])
    assert seen == SPEEDS_MPH


def test_labels_stay_inside_their_chip_and_lie_on_asphalt(city: City) -> None:
    """Labels follow the roads of the picture: asphalt reflects near infrared like red, its surroundings do not."""
    on, beside = [], []
    for place, pixels in city.pixels.items():
        if place not in city.labels:
            continue
        index = (pixels[6].astype(float) - pixels[4]) / np.maximum(pixels[6].astype(float) + pixels[4], 1)
        paved = [f["properties"]["surface"] == "asphalt" for f in city.labels[place]]
        for line, asphalt in zip(city.lines_px(place), paved, strict=True):
            assert line.min() > -1e-3 and line.max() < PX + 1e-3
            if not asphalt or shapely.LineString(line).length < 20:
                continue
            dense = shapely.LineString(line)
            for at in np.arange(3, dense.length - 6, 4):
                x, y = dense.interpolate(at).coords[0]
                ahead = dense.interpolate(at + 3).coords[0]
                on.append(index[int(y), int(x)])
                # 30 m to the right, beyond every pavement.
                side_x, side_y = x - (ahead[1] - y) / 3 * 30 * METRE_PX, y + (ahead[0] - x) / 3 * 30 * METRE_PX
                if 0 <= side_x < PX and 0 <= side_y < PX:
                    beside.append(index[int(side_y), int(side_x)])
    assert len(on) > 500
    assert np.median(on) < 0.1
    assert np.mean(np.array(on) < 0.15) > 0.8
    assert np.median(beside) > np.median(on) + 0.08


def test_awkward_case_chip_without_road(city: City) -> None:
    empty = [place for place, features in city.labels.items() if not features]
    assert len(empty) == 1
    assert city.pixels[empty[0]].min() > 0


def test_awkward_case_chip_without_label_file(city: City) -> None:
    assert len(set(city.pixels) - set(city.labels)) == 1


def test_awkward_case_corner_without_data(city: City) -> None:
    none = (city.pixels[0, 0] == 0).all(axis=0)
    assert 0.03 < none.mean() < 0.25
    assert none[0, 0] and not none[-1, -1]
    assert ((city.pixels[0, 0] == 0).any(axis=0) == none).all()
    assert all(pixels.min() > 0 for place, pixels in city.pixels.items() if place != (0, 0))
    for line in city.lines_px((0, 0)):
        middle = shapely.LineString(line).interpolate(0.5, normalized=True)
        assert not none[int(middle.y), int(middle.x)]


def test_awkward_case_roundabout(city: City) -> None:
    spec = CitySpec(make_looks(1, 7)[0], 0, 7, 4, 4, 2000)
    rings = []
    for place in spec.places("train"):
        features = json.loads(chip_labels(spec, place))["features"]
        lines = [[tuple(c) for c in f["geometry"]["coordinates"]] for f in features]
        for line in lines:
            on_ring = sum(other[0] in line or other[-1] in line for other in lines if other is not line)
            if line[0] == line[-1] and on_ring >= 3:
                rings.append(line)
    assert rings
    radius_m = lengths_m([shapely.LineString(rings[0])])[0] / 2 / np.pi
    assert radius_m == pytest.approx(17, rel=0.03)


def test_awkward_case_overpass_shares_no_vertex_with_what_it_spans(city: City) -> None:
    spanned = 0
    for features in city.labels.values():
        bridges = [f for f in features if f["properties"]["bridge"] == "yes"]
        motorways = [f for f in features if f["properties"]["inferred_speed_mph"] == 65]
        for over, under in itertools.product(bridges, motorways):
            a, b = (shapely.LineString(f["geometry"]["coordinates"]) for f in (over, under))
            if a.crosses(b):
                spanned += 1
                assert not set(a.coords) & set(b.coords)
    assert spanned >= 2


def test_awkward_case_two_roads_between_the_same_junctions(city: City) -> None:
    """In one chip: two lines share two vertices, and between these no other line touches either of them."""
    found = 0
    for features in city.labels.values():
        lines = [[tuple(c) for c in f["geometry"]["coordinates"]] for f in features]
        for a, b in itertools.permutations(lines, 2):
            shared = [k for k, vertex in enumerate(a) if vertex in b]
            if len(shared) != 2 or b[0] != a[shared[0]] or b[-1] != a[shared[1]]:
                continue
            inner = {*a[shared[0] + 1 : shared[1]], *b[1:-1]}
            found += not any(inner & set(other) for other in lines if other is not a and other is not b)
    assert found >= 1


def test_awkward_case_t_junction_dead_end_and_dual_carriageway(city: City) -> None:
    ways = city.ways()
    degree: Counter[tuple[float, float]] = Counter()
    for _, vertices in ways:
        for k, vertex in enumerate(vertices):
            degree[vertex] += 1 if k in (0, len(vertices) - 1) else 2
    ends = [(p, v) for p, v in ways if not p["truncated"]]
    assert any(degree[v[-1]] == 3 for _, v in ends)
    assert any(degree[v[-1]] == 1 for _, v in ends)
    trunk = [shapely.LineString(v) for p, v in ways if p["inferred_speed_mph"] == 55]
    apart_m = [a.distance(b) / PIXEL_DEG * 0.3 for a, b in itertools.combinations(trunk, 2)]
    assert any(17 < distance < 22 for distance in apart_m)


def test_awkward_case_road_along_a_border(city: City) -> None:
    """The secondary road stays within 7 m of the border between two columns of chips for more than a chip."""
    close_m = 0.0
    for place in city.labels:
        for line, feature in zip(city.lines_px(place), city.labels[place], strict=True):
            if feature["properties"]["highway"] == "secondary":
                for border in (0, PX):
                    strip = shapely.box(border - 7 * METRE_PX, 0, border + 7 * METRE_PX, PX)
                    close_m += shapely.LineString(line).intersection(strip).length * 0.3
    assert close_m > 160


def test_labels_go_on_in_the_next_chip_at_the_same_point(city: City) -> None:
    crossing = 0
    for row, column in itertools.product(range(4), range(3)):
        if {(row, column), (row, column + 1)} <= set(city.labels):
            border = city.west + (column + 1) * PX * PIXEL_DEG
            sides = [
                {
                    tuple(vertex)
                    for f in city.labels[place]
                    for vertex in (f["geometry"]["coordinates"][0], f["geometry"]["coordinates"][-1])
                    if abs(vertex[0] - border) < 1e-9
                }
                for place in ((row, column), (row, column + 1))
            ]
            assert sides[0] == sides[1]
            crossing += len(sides[0])
    assert crossing >= 10


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    index=st.integers(0, 5),
    grid=st.sampled_from([(1, 1, 256), (2, 2, 256), (3, 4, 400), (4, 4, 512), (3, 3, 1300)]),
)
def test_roads_meet_only_at_shared_vertices(seed: int, index: int, grid: tuple[int, int, int]) -> None:
    """Whatever the city: lines that touch share that vertex, unless one is a bridge; the roadless chip is so."""
    rows, columns, chip_px = grid
    spec = CitySpec(make_looks(index + 1, seed)[index], index, seed, rows, columns, chip_px)
    for place in [*spec.places("train"), *spec.places("test_public")]:
        features = json.loads(chip_labels(spec, place))["features"]
        if place.split == "train" and (place.row, place.column) == spec.hole:
            assert not features
        lines = [
            shapely.LineString(f["geometry"]["coordinates"]) for f in features if f["properties"]["bridge"] == "no"
        ]
        for a, b in itertools.combinations(lines, 2):
            if a.intersects(b):
                shared = shapely.MultiPoint(sorted(set(a.coords) & set(b.coords)))
                for part in shapely.get_parts(a.intersection(b)):
                    assert not shared.is_empty
                    assert shared.distance(part.centroid) < 0.05 * PIXEL_DEG


def test_equal_seeds_give_equal_bytes_whatever_the_cores(tmp_path: Path) -> None:
    options = {"cities": 2, "grid": (2, 1), "chip_px": 128}
    once, again, other = tmp_path / "once", tmp_path / "again", tmp_path / "other"
    paths = draw_sample(once, **options)
    draw_sample(again, **options, threads=2)
    draw_sample(other, **options, seed=8)
    names = [path.name for path in paths]
    assert names == [
        "SN5_roads_train_AOI_21_Alderbrook.tar.gz",
        "SN5_roads_test_public_AOI_21_Alderbrook.tar.gz",
        "SN5_roads_train_AOI_22_Redmesa.tar.gz",
        "SN5_roads_test_public_AOI_22_Redmesa.tar.gz",
    ]
    for name in names:
        content = (once / KEY / name).read_bytes()
        assert content == (again / KEY / name).read_bytes()
        assert gzip.decompress(content) != gzip.decompress((other / KEY / name).read_bytes())
        with tarfile.open(once / KEY / name) as tar:
            assert {m.mtime for m in tar.getmembers()} == {MTIME}


def test_other_grids_and_chip_sizes(tmp_path: Path) -> None:
    """COLUMNSxROWS; the chips of a small grid keep their roads; a border between chips does not show."""
    (train, _) = draw_sample(tmp_path, cities=1, grid=(3, 1), chip_px=200)
    chips = {}
    for path, content in members(train).items():
        if parse_name(path).product == "PS-MS":
            with MemoryFile(content) as memory, memory.open() as image:
                assert image.shape == (200, 200)
                chips[round(image.transform.c, 7)] = image.read()
    assert len(chips) == 3
    strip = np.concatenate([chips[west] for west in sorted(chips)], axis=2).astype(float)
    change = np.abs(np.diff(strip, axis=2)).mean(axis=(0, 1))
    for border in (200, 400):
        assert change[border - 1] < 1.5 * max(*change[border - 7 : border - 1], *change[border : border + 6])


def test_more_cities_than_three_have_names_of_their_own() -> None:
    looks = make_looks(9, 3)
    assert [look.name for look in looks[:3]] == ["Alderbrook", "Redmesa", "Port_Elm"]
    assert len({look.aoi for look in looks}) == 9
    for look in looks:
        area = f"AOI_{look.aoi}_{look.name}"
        name = parse_name(f"SN5_roads_train_{area}_PS-MS_chip3.tif")
        assert name is not None and name.chip_id == f"{area}_chip3"
        assert look.aoi > 9
    assert make_looks(9, 4)[5] != looks[5]


def test_command_prints_the_tarballs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", str(tmp_path / "b"), "--cities", "1", "--grid", "1x1", "--chip-px", "64"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all(Path(line).is_file() for line in lines)


@pytest.mark.parametrize(
    "options",
    [
        ["--grid", "4by4"],
        ["--grid", "0x3"],
        ["--grid", "300x3"],
        ["--cities", "0"],
        ["--chip-px", "10"],
        ["--seed", "-1"],
        ["--threads", "0"],
    ],
)
def test_bad_options_end_with_one_line_and_exit_code_2(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sample", str(tmp_path / "out"), *options]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert main(["sample", str(tmp_path / "file")]) == 2
