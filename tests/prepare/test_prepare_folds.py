"""Folds: complete, balanced, deterministic, and what leaks from one into the other."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadspeed.chips import Chip, write_chips
from roadspeed.errors import InputError
from roadspeed.files import read_table, write_table
from roadspeed.prepare.folds import FoldChip, FoldInput, assign_folds, fold_report, make_folds
from roadspeed.prepare.settings import FoldSettings

RANDOM, BLOCKS = FoldSettings(method="random"), FoldSettings(method="blocks")


def town(name: str, rows: int, columns: int, seed: int = 0) -> list[FoldChip]:
    """A city with roads in its middle and none at its rim."""
    rng = np.random.default_rng(seed)
    chips = []
    for row in range(rows):
        for column in range(columns):
            far = max(abs(row / rows - 0.5), abs(column / columns - 0.5))
            share = 0.0 if far > 0.38 else round(float(rng.uniform(0.01, 0.12)), 6)
            chips.append(FoldChip(name, "train", f"{name}{row * columns + column}", row, column, share))
    return chips


@pytest.mark.parametrize("chosen", [RANDOM, BLOCKS])
def test_every_chip_has_one_fold_and_sizes_are_alike(chosen: FoldSettings) -> None:
    chips = town("a", 30, 30) + town("b", 12, 20, seed=1)
    folds = assign_folds(chips, chosen)
    assert set(folds) == {chip.key for chip in chips}
    sizes = np.bincount(list(folds.values()), minlength=5)
    assert sizes.sum() == 1140
    assert sizes.max() - sizes.min() <= (1 if chosen is RANDOM else 0.06 * 1140)


def test_blocks_are_stratified_by_city_and_road_share() -> None:
    chips = town("a", 30, 30) + town("b", 30, 30, seed=1)
    report = fold_report(chips, assign_folds(chips, BLOCKS), 5)
    overall = np.mean([chip.road_share for chip in chips])
    empties = sum(chip.road_share == 0 for chip in chips)
    for fold in report["folds"]:  # type: ignore[attr-defined]
        assert fold["cities"]["a"] == pytest.approx(180, rel=0.1)
        assert fold["cities"]["b"] == pytest.approx(180, rel=0.1)
        assert fold["road_share"] == pytest.approx(overall, rel=0.12)
        assert fold["empty_chips"] == pytest.approx(empties / 5, rel=0.12)


def test_blocks_leak_less_than_random() -> None:
    chips = town("a", 30, 30)
    random_leak = fold_report(chips, assign_folds(chips, RANDOM), 5)["leakage"]
    leaks = [
        fold_report(chips, assign_folds(chips, FoldSettings(block_chips=side)), 5)["leakage"] for side in (1, 3, 6)
    ]
    assert random_leak > 0.99  # type: ignore[operator]
    assert leaks[0] > leaks[1] > leaks[2]  # type: ignore[operator]
    assert leaks[2] < 0.65  # type: ignore[operator]


def test_leakage_by_hand() -> None:
    # Two blocks side by side, a gap, and a chip alone: A A B B _ B, and one without a place.
    places = {"p": (0, 0, 0), "q": (0, 1, 0), "r": (0, 2, 1), "s": (0, 3, 1), "t": (0, 5, 1), "u": (-1, -1, 0)}
    chips = [FoldChip("c", "train", name, row, column, 0.1) for name, (row, column, _) in places.items()]
    folds = {("c", "train", name): fold for name, (_, _, fold) in places.items()}
    report = fold_report(chips, folds, 2)
    assert [fold["leakage"] for fold in report["folds"]] == [0.3333, 0.3333]  # type: ignore[attr-defined]
    assert report["leakage"] == 0.3333


@pytest.mark.parametrize("method", ["random", "blocks"])
def test_neither_order_nor_other_cities_names_matter(method: str) -> None:
    chips = town("a", 10, 10) + town("b", 7, 9)
    chosen = FoldSettings.checked({"method": method})
    folds = assign_folds(chips, chosen)
    shuffled = chips.copy()
    random.Random(3).shuffle(shuffled)
    assert assign_folds(shuffled, chosen) == folds
    assert assign_folds(chips, FoldSettings.checked({"method": method, "seed": 43})) != folds


@settings(max_examples=40, deadline=None)
@given(
    st.sets(st.tuples(st.integers(-1, 8), st.integers(-1, 8)), min_size=5, max_size=60),
    st.integers(2, 5),
    st.integers(1, 6),
    st.sampled_from(["random", "blocks"]),
)
def test_any_city_gets_complete_folds(
    places: set[tuple[int, int]], count: int, block_chips: int, method: str
) -> None:
    chips = [
        FoldChip("c", "train", f"c{row}_{column}", min(row, column) if min(row, column) < 0 else row, column, 0.1)
        for row, column in places
    ]
    chosen = FoldSettings.checked({"method": method, "count": count, "block_chips": block_chips})
    folds = assign_folds(chips, chosen)
    assert set(folds) == {chip.key for chip in chips}
    assert set(folds.values()) == set(range(count))


def write_inputs(tmp_path: Path, unusable: bool = True) -> FoldInput:
    """A row of 12 chips; the first three without label, without usable image, and black."""
    chips, rgb, masks = [], [], []
    for n in range(12):
        name = f"c{n}"
        chips.append(Chip(name, "c", "train", 1, n, None, None, "roads", 0, n, 10, 10, 0, 0, 1, 1, "EPSG:4326"))
        bad = unusable and n < 3
        rgb.append(
            {"chip_id": name, "rgb": "" if bad and n else "rgb/x.tif", "valid_share": 1, "note": "black" * (n == 2)}
        )
        note = ("no label file", "no image", "black")[n] if bad else ""
        masks.append(
            {"chip_id": name, "mask": "" if bad else "masks/x.tif", "road_share": "" if bad else 0.1, "note": note}
        )
    write_chips(tmp_path / "chips.csv", chips)
    write_table(tmp_path / "rgb.csv", ("chip_id", "rgb", "valid_share", "note"), rgb)
    write_table(tmp_path / "masks.csv", ("chip_id", "mask", "road_share", "note"), masks)
    (tmp_path / "masks.json").write_text(json.dumps({"class_pixels": [90, 0, 10]}))
    return FoldInput(tmp_path / "chips.csv", tmp_path / "rgb.csv", tmp_path / "masks.csv")


def test_table(tmp_path: Path) -> None:
    make_folds([write_inputs(tmp_path)], FoldSettings(count=3), tmp_path / "folds.csv")
    rows = read_table(tmp_path / "folds.csv")
    assert [row["chip_id"] for row in rows] == [f"c{n}" for n in range(12)]
    assert [(row["fold"], row["note"]) for row in rows[:3]] == [
        ("", "no label file"),
        ("", "no image"),
        ("", "black"),
    ]
    assert sorted(row["fold"] for row in rows[3:]) == ["0"] * 3 + ["1"] * 3 + ["2"] * 3
    assert {(row["city"], row["split"]) for row in rows} == {("c", "train")}
    report = json.loads((tmp_path / "folds.json").read_text())
    assert [fold["chips"] for fold in report["folds"]] == [3, 3, 3]
    assert 0 < report["leakage"] <= 1
    assert report["classes"] == {"class_pixels": [90, 0, 10], "class_weights": [0.555556, 0.0, 5.0]}


def test_too_few_chips(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="9 chips have an image and a label, expected at least 10"):
        make_folds([write_inputs(tmp_path)], FoldSettings(count=10), tmp_path / "folds.csv")


def test_missing_table(tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path)
    inputs.masks.unlink()
    with pytest.raises(InputError, match=r"masks\.csv: no such table"):
        make_folds([inputs], FoldSettings(), tmp_path / "folds.csv")
