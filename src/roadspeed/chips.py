"""The chip table: every chip of a city and split, with its files, label state and place; a stage's one list.

Each stage that makes something a chip writes a table of its own beside its files; no chip ever leaves it:
one that cannot be used stays with the reason in `note`.
"""

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from roadspeed.errors import InputError
from roadspeed.files import read_table, write_table

LabelState = Literal["roads", "empty", "missing"]
LABEL_STATES: tuple[LabelState, ...] = get_args(LabelState)


@dataclass(frozen=True)
class Chip:
    """One image tile. Bounds are in `crs`; `row` and `column` count on the city's grid from its north-west."""

    chip_id: str
    city: str
    """The name in the config, such as `moscow`."""
    split: str
    aoi: int
    number: int
    image: Path | None
    """The image file, or None when there is none (a label without an image)."""
    label: Path | None
    label_state: LabelState
    row: int
    column: int
    width: int
    height: int
    west: float
    south: float
    east: float
    north: float
    crs: str
    note: str = ""
    """Why the chip cannot be used, or what is odd about it; empty when all is well."""


_TYPES = {"aoi": int, "number": int, "row": int, "column": int, "width": int, "height": int}
_FLOATS = ("west", "south", "east", "north")
COLUMNS = tuple(field.name for field in fields(Chip))


def write_chips(path: Path | str, chips: list[Chip]) -> None:
    """Write a chip table; file paths are stored relative to the table's folder."""
    folder = Path(path).parent.resolve()

    def cell(value: object) -> object:
        return os.path.relpath(value.resolve(), folder) if isinstance(value, Path) else value

    write_table(path, COLUMNS, ({name: cell(getattr(chip, name)) for name in COLUMNS} for chip in chips))


def read_chips(path: Path | str) -> list[Chip]:
    """Read a chip table.

    Raises:
        InputError: the file is missing or is not a chip table.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such chip table; run the acquire stage of this city first")
    chips = []
    for line, row in enumerate(read_table(path), 2):
        try:
            values: dict[str, object] = {name: row[name] for name in COLUMNS}
            for name, kind in _TYPES.items():
                values[name] = kind(row[name])
            for name in _FLOATS:
                values[name] = float(row[name])
            for name in ("image", "label"):
                values[name] = path.parent / row[name] if row[name] else None
            if values["label_state"] not in LABEL_STATES:
                raise ValueError(f"label_state {row['label_state']!r} is none of {', '.join(LABEL_STATES)}")
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}, line {line}: not a chip table ({error}); make it again") from error
        chips.append(Chip(**values))  # type: ignore[arg-type]
    return chips
