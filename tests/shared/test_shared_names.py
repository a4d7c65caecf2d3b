"""SpaceNet's names, each pattern as documented."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadspeed.names import parse_name
from roadspeed.speedbins import SpeedBins, expand_mask


@pytest.mark.parametrize(
    ("path", "product", "chip_id"),
    [
        ("nfs/x/PS-MS/SN5_roads_train_AOI_7_Moscow_PS-MS_chip390.tif", "PS-MS", "AOI_7_Moscow_chip390"),
        ("SN5_roads_train_AOI_7_Moscow_PS-RGB_chip390.tif", "PS-RGB", "AOI_7_Moscow_chip390"),
        ("SN5_roads_test_public_AOI_9_San_Juan_PS-MS_chip98.tif", "PS-MS", "AOI_9_San_Juan_chip98"),
        (
            "SN5_roads_train_AOI_7_Moscow_geojson_roads_speed_chip3.geojson",
            "geojson_roads_speed",
            "AOI_7_Moscow_chip3",
        ),
        ("SN3_roads_train_AOI_2_Vegas_geojson_roads_speed_img1.geojson", "geojson_roads_speed", "AOI_2_Vegas_img1"),
        ("SN3_roads_train_AOI_2_Vegas_geojson_roads_img2_speed.geojson", "geojson_roads_speed", "AOI_2_Vegas_img2"),
        ("geojson_roads_speed/S_AOI_2_Vegas_geojson_roads_img1.geojson", "geojson_roads_speed", "AOI_2_Vegas_img1"),
        ("geojson_roads/S_AOI_2_Vegas_geojson_roads_img1.geojson", "geojson_roads", "AOI_2_Vegas_img1"),
        ("MUL-PanSharpen_AOI_3_Paris_img3.tif", "PS-MS", "AOI_3_Paris_img3"),
        ("RGB-PanSharpen_AOI_2_Vegas_img0.tif", "PS-RGB", "AOI_2_Vegas_img0"),
        ("AOI_2_Vegas_img0.geojson", "geojson_roads", "AOI_2_Vegas_img0"),
    ],
)
def test_known_names(path: str, product: str, chip_id: str) -> None:
    name = parse_name(path)
    assert name is not None
    assert (name.product, name.chip_id) == (product, chip_id)


@pytest.mark.parametrize("path", ["readme.txt", "a.tif", "AOI_2_Vegas_img0.tif", "PS-MS_AOI_x_Vegas_img0.tif", ""])
def test_other_files_are_none(path: str) -> None:
    assert parse_name(path) is None


@given(st.text(max_size=80))
def test_any_text_is_a_name_or_none(text: str) -> None:
    name = parse_name(text + ".tif")
    assert name is None or name.number >= 0


def test_speed_bins_are_closed_above() -> None:
    bins = SpeedBins()
    assert bins.classes([0.1, 10, 10.1, 15, 18.75, 20, 25, 30, 35, 65, 70, 90]).tolist() == [
        1, 1, 2, 2, 2, 2, 3, 3, 4, 7, 7, 7,
    ]  # fmt: skip


def test_expanded_mask_has_one_channel_a_bin_and_all_roads() -> None:
    import numpy as np

    mask = np.array([[0, 1], [3, 7]], np.uint8)
    bands = expand_mask(mask, SpeedBins())
    assert bands.shape == (8, 2, 2)
    assert bands[0].tolist() == [[0, 255], [0, 0]]
    assert bands[2].tolist() == [[0, 0], [255, 0]]
    assert bands[6].tolist() == [[0, 0], [0, 255]]
    assert bands[7].tolist() == [[0, 255], [255, 255]]
    assert bands[[1, 3, 4, 5]].sum() == 0
