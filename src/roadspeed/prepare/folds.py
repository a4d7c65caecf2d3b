"""Chips to folds, chip by chip or in blocks of neighbours, and how much of the one is seen from the other.

The folds depend on the chips' names, places, road shares and the seed, never on the order of files.
"""

import hashlib
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roadspeed.chips import Chip, read_chips
from roadspeed.errors import InputError
from roadspeed.files import provenance, read_table, write_json, write_table
from roadspeed.prepare.settings import FoldSettings

log = logging.getLogger(__name__)

FOLD_COLUMNS = ("city", "split", "chip_id", "fold", "note")


@dataclass(frozen=True)
class FoldInput:
    """The tables of one city and split."""

    chips: Path
    rgb: Path
    masks: Path


@dataclass(frozen=True)
class FoldChip:
    """What the folds depend on, of one usable chip."""

    city: str
    split: str
    chip_id: str
    row: int
    """Row on the city's grid, -1 where the chip has no place on it."""
    column: int
    road_share: float

    @property
    def key(self) -> tuple[str, str, str]:
        """What names the chip among all cities."""
        return self.city, self.split, self.chip_id


def make_folds(cities: Sequence[FoldInput], settings: FoldSettings, out: Path) -> None:
    """Write `folds.csv`: one row a chip of all cities, with its fold from 0, empty where the chip cannot be used.

    `folds.json` beside it holds for each fold its chips, empty chips, mean road share and leakage (share of its chips
    that touch a chip it is trained without), and over all cities the classes' pixels and weights.

    Args:
        cities: the tables of each city and split.
        settings: number of folds, method, seed.
        out: the table to write.

    Raises:
        InputError: a table is missing, or there are fewer usable chips than folds.
    """
    out = Path(out)
    usable: list[FoldChip] = []
    rows: list[dict[str, object]] = []
    for city in cities:
        masks, images = _by_chip(city.masks), _by_chip(city.rgb)
        for chip in read_chips(city.chips):
            row: dict[str, object] = {"city": chip.city, "split": chip.split, "chip_id": chip.chip_id, "fold": ""}
            image, mask = images.get(chip.chip_id, {}), masks.get(chip.chip_id, {})
            if image.get("rgb") and mask.get("mask"):
                usable.append(_fold_chip(chip, mask))
                row["note"] = mask["note"]
            else:
                row["note"] = mask.get("note") or image.get("note") or chip.note or "no image or no mask"
            rows.append(row)
    if len(usable) < settings.count:
        raise InputError(
            f"{len(usable)} chips have an image and a label, expected at least {settings.count}, one a fold; "
            "check the notes in masks.csv, or lower folds.count"
        )
    folds = assign_folds(usable, settings)
    for row in rows:
        row["fold"] = folds.get((str(row["city"]), str(row["split"]), str(row["chip_id"])), "")
    report = fold_report(usable, folds, settings.count)
    log.info(
        "folds (%s): %s chips; %.0f%% of validation chips touch a training chip",
        settings.method,
        ", ".join(str(fold["chips"]) for fold in report["folds"]),  # type: ignore[attr-defined]
        100 * float(str(report["leakage"])),
    )
    statistics = {"classes": _classes(cities), **provenance(settings.model_dump())}
    write_json(out.with_suffix(".json"), {"method": settings.method, **report, **statistics})
    write_table(out, FOLD_COLUMNS, rows)


def assign_folds(chips: Sequence[FoldChip], settings: FoldSettings) -> dict[tuple[str, str, str], int]:
    """Return the fold of each chip.

    `random`: chips are shuffled and dealt out in turn, so each fold has as many. `blocks`: each city is cut into
    squares of block_chips × block_chips (smaller where it has too few chips for the folds); the squares, large ones
    first and alike ones in the seed's order, go to the fold that then is nearest to an equal share of the city's
    chips, roads and empty chips.
    """
    if settings.method == "random":
        shuffled = sorted(chips, key=lambda chip: _draw(settings.seed, *chip.key))
        return {chip.key: i % settings.count for i, chip in enumerate(shuffled)}
    cities: dict[tuple[str, str], list[FoldChip]] = defaultdict(list)
    for chip in chips:
        cities[chip.city, chip.split].append(chip)
    folds: dict[tuple[str, str, str], int] = {}
    # Over all cities so far, in shares of a city: what one city cannot balance, the next one does.
    loads = np.zeros((settings.count, 3))
    for city in sorted(cities):
        blocks = _blocks(cities[city], settings)
        sizes = np.array([[len(b), sum(c.road_share for c in b), sum(c.road_share == 0 for c in b)] for b in blocks])
        shares = sizes / np.maximum(sizes.sum(axis=0), 1e-12)
        draws = [_draw(settings.seed, *min(chip.key for chip in block)) for block in blocks]
        ranked = sorted(range(len(blocks)), key=lambda i: (-shares[i].sum(), draws[i]))
        # Blocks of about the same size come in the order that the seed draws.
        group = {i: rank // (2 * settings.count) for rank, i in enumerate(ranked)}
        for i in sorted(ranked, key=lambda i: (group[i], draws[i])):
            after = ((loads + shares[i]) ** 2).sum(axis=1) - (loads**2).sum(axis=1)
            fold = int(np.argmin(after))
            loads[fold] += shares[i]
            folds |= {chip.key: fold for chip in blocks[i]}
    return folds


def fold_report(
    chips: Sequence[FoldChip], folds: Mapping[tuple[str, str, str], int], count: int
) -> dict[str, object]:
    """Return the balance and leakage of folds.

    Returns:
        `folds`: for each fold `chips`, `empty_chips`, `road_share` (mean), `leakage` (share of its chips with a chip
        of another fold among their eight neighbours), `cities` (chips of each); `leakage` over all chips.
    """
    place = {(chip.city, chip.split, chip.row, chip.column): folds[chip.key] for chip in chips if chip.row >= 0}
    touches = {}
    for chip in chips:
        around = [
            place.get((chip.city, chip.split, chip.row + down, chip.column + right))
            for down in (-1, 0, 1)
            for right in (-1, 0, 1)
        ]
        touches[chip.key] = chip.row >= 0 and any(fold not in (None, folds[chip.key]) for fold in around)
    report = []
    for fold in range(count):
        members = [chip for chip in chips if folds[chip.key] == fold]
        report.append(
            {
                "fold": fold,
                "chips": len(members),
                "empty_chips": sum(chip.road_share == 0 for chip in members),
                "road_share": round(_mean([chip.road_share for chip in members]), 6),
                "leakage": round(_mean([touches[chip.key] for chip in members]), 4),
                "cities": dict(sorted(Counter(chip.city for chip in members).items())),
            }
        )
    return {"folds": report, "leakage": round(_mean(list(touches.values())), 4)}


def _blocks(chips: Sequence[FoldChip], settings: FoldSettings) -> list[list[FoldChip]]:
    """Cut a city into blocks, the largest up to the wished size that still give each fold its share."""
    sides = [(a, b) for a in range(settings.block_chips, 0, -1) for b in (a, a - 1) if b or a == 1]
    for down, right in sides:
        blocks: dict[tuple[object, ...], list[FoldChip]] = defaultdict(list)
        for chip in sorted(chips, key=lambda chip: chip.key):
            placed = chip.row >= 0
            blocks[(chip.row // down, chip.column // right) if placed else (chip.chip_id,)].append(chip)
        largest = max(map(len, blocks.values()))
        if (len(blocks) >= settings.count and largest <= -(-len(chips) // settings.count)) or (down, right) == (1, 1):
            break
    if (down, right) != (settings.block_chips, settings.block_chips):
        log.info("%s: too few chips for larger blocks, %d×%d chips each are used", chips[0].city, down, right)
    return list(blocks.values())


def _draw(seed: int, *names: str) -> str:
    """Return a text that orders things at random, the same for the same seed and names."""
    return hashlib.sha256("\n".join((str(seed), *names)).encode()).hexdigest()


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0


def _fold_chip(chip: Chip, mask: Mapping[str, str]) -> FoldChip:
    return FoldChip(chip.city, chip.split, chip.chip_id, chip.row, chip.column, float(mask["road_share"]))


def _by_chip(path: Path) -> dict[str, dict[str, str]]:
    if not Path(path).is_file():
        raise InputError(f"{path}: no such table; run the prepare stage of this city first")
    return {row["chip_id"]: row for row in read_table(path)}


def _classes(cities: Sequence[FoldInput]) -> dict[str, object]:
    """Join the class pixels that the masks' statistics hold, where every city has them."""
    found = [city.masks.with_suffix(".json") for city in cities]
    if not all(path.is_file() for path in found):
        return {}
    pixels: NDArray[np.int64] = np.sum([json.loads(path.read_text())["class_pixels"] for path in found], axis=0)
    present = pixels > 0
    weights = np.where(present, np.median(pixels[present]) / np.maximum(pixels, 1), 0) if present.any() else pixels
    return {"class_pixels": pixels.tolist(), "class_weights": weights.round(6).tolist()}
