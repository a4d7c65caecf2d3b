"""Scores of all cities of a run to one table: a row a city and role, and the mean over cities."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from roadspeed.errors import InputError
from roadspeed.files import read_table, write_json, write_table

ROLES = ("validation", "unseen", "train", "not predicted")
MEANS = (
    "apls_length",
    "apls_time",
    "apls_length_compatible",
    "apls_time_compatible",
    "topo_f1",
    "sp",
)
COLUMNS = ("city", "role", "chips", *MEANS, "truth_km", "proposal_km")
OVERALL = "mean of cities"


def summarise(scores: Mapping[str, Path], out: Path) -> None:
    """Write the run's table of scores, and the same rows as JSON beside it.

    For each city and role (`validation`: labelled, kept out of training; `unseen`: a city never trained on; `train`;
    `not predicted`): the number of scored chips, the mean of each score over its chips (`compatible` ones over chips
    where neither truth nor proposal is empty), kilometres of road. Then the mean over cities, as the challenge
    averages. Chips without a label are not counted.

    Args:
        scores: city name to its scores.csv.
        out: the table to write.

    Raises:
        InputError: a table is missing or is none of scores.
    """
    rows: list[dict[str, object]] = []
    for city, path in scores.items():
        rows += _city_rows(city, path)
    for role in dict.fromkeys(str(row["role"]) for row in sorted(rows, key=_role_order)):
        rows.append(_joined([row for row in rows if row["role"] == role]))
    write_table(out, COLUMNS, rows)
    write_json(Path(out).with_suffix(".json"), rows)


def _city_rows(city: str, path: Path) -> list[dict[str, object]]:
    if not Path(path).is_file():
        raise InputError(f"{path}: no such table; run the score stage of {city} first")
    table = read_table(path)
    result = []
    try:
        scored = [row for row in table if row["apls_length"]]
        for role in dict.fromkeys(row["role"] for row in scored):
            mine = [row for row in scored if row["role"] == role]
            summary: dict[str, object] = {"city": city, "role": role or "not predicted", "chips": len(mine)}
            summary |= {name: _mean([row[name] for row in mine]) for name in MEANS}
            for name in ("truth_km", "proposal_km"):
                summary[name] = round(sum(float(row[name]) for row in mine), 3)
            result.append(summary)
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: not a table of scores ({error}); run the score stage of {city} again") from error
    return sorted(result, key=_role_order)


def _role_order(row: Mapping[str, object]) -> tuple[bool, int, str]:
    """Order rows by role: what was not trained on first, roles of other programs last."""
    role = str(row["role"])
    return role not in ROLES, ROLES.index(role) if role in ROLES else 0, role


def _mean(cells: Sequence[str]) -> float | None:
    values = [float(cell) for cell in cells if cell]
    return round(fmean(values), 4) if values else None


def _joined(rows: list[dict[str, object]]) -> dict[str, object]:
    """Return the mean over cities, each counting the same; chips and kilometres are summed."""
    joined: dict[str, object] = {"city": OVERALL, "role": rows[0]["role"]}
    for name in COLUMNS[2:]:
        values = [value for row in rows if isinstance(value := row[name], int | float)]
        if name in MEANS:
            joined[name] = round(fmean(values), 4) if values else None
        else:
            joined[name] = round(sum(values), 3)
    return joined
