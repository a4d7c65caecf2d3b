"""A city from tarballs in a folder bucket to its chip table: pairing, states, oddities, continuing, safety."""

import hashlib
from pathlib import Path

import pytest
from tarfactory import PIXEL, ROAD, SN5, image, label, members, tarball, write_bucket

from roadspeed.acquire.city import acquire_city
from roadspeed.acquire.settings import AcquireSettings, Tarball
from roadspeed.chips import Chip, read_chips
from roadspeed.errors import FetchError, InputError, RoadspeedError

NAME = "SN5_roads_train_AOI_7_Moscow"


def acquire(tmp_path: Path, bucket: str, *tarballs: Tarball, settings: AcquireSettings | None = None) -> list[Chip]:
    return acquire_city(
        "moscow",
        "train",
        bucket,
        tarballs or [Tarball(key="a.tar.gz")],
        tmp_path / "city",
        tmp_path / "tarballs",
        settings or AcquireSettings(),
    )


def acquire_members(tmp_path: Path, content: dict[str, bytes], **settings: object) -> list[Chip]:
    bucket = write_bucket(tmp_path / "bucket", a=tarball(content))
    return acquire(tmp_path, bucket, settings=AcquireSettings.checked(settings))


def test_train_city(tmp_path: Path) -> None:
    content = members()
    chips = acquire_members(tmp_path, content)
    assert [chip.chip_id for chip in chips] == [f"AOI_7_Moscow_chip{n}" for n in range(4)]
    assert [chip.label_state for chip in chips] == ["roads", "roads", "empty", "missing"]
    assert [(chip.row, chip.column) for chip in chips] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [chip.note for chip in chips] == ["", "", "", "no label file"]
    assert chips[3].west == pytest.approx(37.5 + 40 * PIXEL)
    assert chips[3].image is not None
    assert chips[3].image.read_bytes() == content[f"{SN5}/PS-MS/{NAME}_PS-MS_chip3.tif"]
    assert {path.name for path in (tmp_path / "city").iterdir()} == {
        "chips.csv",
        "images",
        "labels",
        ".acquire.json",
        ".lock",
    }
    assert len(list((tmp_path / "city/images").iterdir())) == 4
    again = read_chips(tmp_path / "city/chips.csv")
    assert [(c.chip_id, c.crs, c.width, c.label and c.label.read_bytes()) for c in again] == [
        (c.chip_id, "EPSG:4326", 40, c.label and c.label.read_bytes()) for c in chips
    ]


def test_other_product_replaces_the_first(tmp_path: Path) -> None:
    acquire_members(tmp_path, members())
    chips = acquire_members(tmp_path, members(), product="PS-RGB")
    assert all(chip.image and "PS-RGB" in chip.image.name for chip in chips)
    assert len(list((tmp_path / "city/images").iterdir())) == 4


def test_test_split_without_labels_and_with_old_product_names(tmp_path: Path) -> None:
    content = {
        f"x/MUL-PanSharpen/SN3_roads_test_public_AOI_2_Vegas_MUL-PanSharpen_img{n}.tif": image(n) for n in (5, 3)
    }
    chips = acquire_members(tmp_path, content)
    assert [(c.number, c.label_state, c.note, c.column) for c in chips] == [
        (3, "missing", "", 0),
        (5, "missing", "", 2),
    ]


@pytest.mark.parametrize(
    "name",
    [
        "SN3_roads_train_AOI_2_Vegas_geojson_roads_speed_img1.geojson",
        "SN3_roads_train_AOI_2_Vegas_geojson_roads_img1_speed.geojson",
        "geojson_roads_speed/SN3_roads_train_AOI_2_Vegas_geojson_roads_img1.geojson",
    ],
)
def test_spacenet3_speed_labels_come_from_a_second_tarball(tmp_path: Path, name: str) -> None:
    plain = label(ROAD, ROAD, road_type="5")
    images = {
        "AOI_2_Vegas/PS-MS/SN3_roads_train_AOI_2_Vegas_PS-MS_img1.tif": image(),
        "AOI_2_Vegas/PS-MS/SN3_roads_train_AOI_2_Vegas_PS-MS_img2.tif": image(1),
        "AOI_2_Vegas/geojson_roads/SN3_roads_train_AOI_2_Vegas_geojson_roads_img1.geojson": plain,
        "AOI_2_Vegas/geojson_roads/SN3_roads_train_AOI_2_Vegas_geojson_roads_img2.geojson": plain,
    }
    bucket = write_bucket(tmp_path / "b", a=tarball(images), speed=tarball({name: label(ROAD)}))
    first, second = acquire(tmp_path, bucket, Tarball(key="a.tar.gz"), Tarball(key="speed.tar.gz"))
    assert first.label is not None
    assert first.label.read_bytes() == label(ROAD)
    assert second.label is not None
    assert second.label.read_bytes() == plain


def test_odd_chips_stay_in_the_table_with_a_note(tmp_path: Path) -> None:
    content = {f"{NAME}_PS-MS_chip{n}.tif": image(n) for n in range(5)}
    content[f"{NAME}_PS-MS_chip5.tif"] = image(5)[:-2000]
    content[f"{NAME}_PS-MS_chip6.tif"] = b"no image at all"
    content[f"{NAME}_PS-MS_chip7.tif"] = image(6.3)
    content[f"{NAME}_PS-MS_chip8.tif"] = image(3.5, 0)
    content[f"{NAME}_geojson_roads_speed_chip9.geojson"] = label(ROAD)
    chips = {chip.number: chip for chip in acquire_members(tmp_path, content)}
    assert {number: chip.note.replace("no label file", "").strip("; ") for number, chip in chips.items()} == {
        **dict.fromkeys((0, 1, 2), ""),
        3: "overlaps AOI_7_Moscow_chip8 by 50%",
        4: "overlaps AOI_7_Moscow_chip8 by 50%",
        5: "image is damaged: the file is cut short",
        6: f"image is damaged: not a readable raster ('{chips[6].image}' not recognized as being in a supported file"
        " format.); expected a GeoTIFF",
        7: "off the grid by 30% of a chip",
        8: "off the grid by 50% of a chip; overlaps AOI_7_Moscow_chip3 by 50%; overlaps AOI_7_Moscow_chip4 by 50%",
        9: "no image",
    }
    assert [chips[n].column for n in (0, 1, 2, 3, 4, 5, 6, 7, 9)] == [0, 1, 2, 3, 4, 5, -1, 6, -1]


def test_a_grid_that_is_not_quite_the_chips_width_does_not_add_up(tmp_path: Path) -> None:
    # 60 chips, each gap 2 % wider than a chip: counted in widths, the last would be one column too far.
    content = {f"{NAME}_PS-MS_chip{n}.tif": image(1.02 * n, size=8) for n in range(60)}
    chips = acquire_members(tmp_path, content)
    assert [chip.column for chip in chips] == list(range(60))
    assert {chip.note for chip in chips} == {""}


def test_second_run_does_nothing_and_lost_files_come_back(tmp_path: Path) -> None:
    acquire_members(tmp_path, members())
    table = (tmp_path / "city/chips.csv").read_bytes()
    (tmp_path / "bucket/a.tar.gz").rename(tmp_path / "bucket/b.tar.gz")
    acquire(tmp_path, (tmp_path / "bucket").as_uri())
    (tmp_path / "bucket/b.tar.gz").rename(tmp_path / "bucket/a.tar.gz")
    lost = next((tmp_path / "city/images").iterdir())
    lost.unlink()
    acquire(tmp_path, (tmp_path / "bucket").as_uri())
    assert lost.exists()
    assert (tmp_path / "city/chips.csv").read_bytes() == table


def test_wrong_checksum_is_found_before_a_byte_is_used(tmp_path: Path) -> None:
    bucket = write_bucket(tmp_path / "bucket", a=tarball(members()))
    with pytest.raises(FetchError, match=r"checksum is .* known MD5 is 0{32}"):
        acquire(tmp_path, bucket, Tarball(key="a.tar.gz", md5="0" * 32))
    assert not list((tmp_path / "city").glob("[!.]*"))
    assert not list((tmp_path / "city").glob(".unpack*"))
    right = hashlib.md5((tmp_path / "bucket/a.tar.gz").read_bytes()).hexdigest()
    assert len(acquire(tmp_path, bucket, Tarball(key="a.tar.gz", md5=right.upper()))) == 4


def test_unreadable_label(tmp_path: Path) -> None:
    content = members()
    content[f"{SN5}/geojson_roads_speed/{NAME}_geojson_roads_speed_chip1.geojson"] = b'{"type": "Feat'
    with pytest.raises(InputError, match=r"geojson_roads_speed_chip1\.geojson: label is unreadable"):
        acquire_members(tmp_path, content)
    assert not (tmp_path / "city/chips.csv").exists()
    chip = acquire_members(tmp_path, content, unreadable_labels="missing")[1]
    assert (chip.label, chip.label_state) == (None, "missing")
    assert "label is unreadable" in chip.note


@pytest.mark.parametrize(
    ("tarballs", "said"),
    [
        ((Tarball(key="absent.tar.gz"),), "no such object"),
        ((Tarball(key="a.tar.gz", size=7),), "bytes, expected 7"),
        ((Tarball(key="empty.tar.gz"),), "no PS-MS image"),
        ((Tarball(key="nothing.tar.gz"),), "empty"),
    ],
)
def test_what_cannot_work_is_one_clear_line(tmp_path: Path, tarballs: tuple[Tarball, ...], said: str) -> None:
    bucket = write_bucket(tmp_path / "bucket", a=tarball(members()), empty=tarball({"readme": b"x"}), nothing=b"")
    with pytest.raises(RoadspeedError, match=said) as caught:
        acquire(tmp_path, bucket, *tarballs)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "city/chips.csv").exists()


@pytest.mark.parametrize("bucket", ["", "spacenet-dataset", "ftp://x/y", "s3://", "file://"])
def test_addresses_that_are_none(tmp_path: Path, bucket: str) -> None:
    with pytest.raises(InputError, match="is no address"):
        acquire(tmp_path, bucket)
