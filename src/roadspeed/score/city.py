"""The graphs of a labelled city against its labels, chip by chip: scores.csv."""

import logging
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path

from roadspeed.chips import Chip, read_chips
from roadspeed.errors import InputError
from roadspeed.files import provenance, read_table, write_json, write_table
from roadspeed.parallel import map_ordered
from roadspeed.prepare.labels import read_labels
from roadspeed.score.evaluate import Scores, evaluate
from roadspeed.score.readers import read_geopackage_roads
from roadspeed.score.roads import Roads, no_roads
from roadspeed.score.settings import ScoreSettings

log = logging.getLogger(__name__)

_SCORES = tuple(field.name for field in fields(Scores) if field.name != "topo")
COLUMNS = ("chip_id", "role", "label_state", *_SCORES, "topo_precision", "topo_recall", "topo_f1", "note")


def score_city(
    chips: Path, graphs: Path, shards: Sequence[Path], out: Path, settings: ScoreSettings, threads: int = 1
) -> None:
    """Score each chip's graph against its label and write one row a chip; the table is whole or absent.

    A chip without a label file stays in the table without a score. A chip that was not predicted counts as an empty
    graph. Beside the table, `<name>.provenance.json` tells the settings, versions and host.

    Args:
        chips: chip table of the city and split.
        graphs: `chips.gpkg`, edges with a column `chip`.
        shards: shard tables of the prediction, for each chip's role.
        out: the table to write.
        settings: how to score.
        threads: cores to use.

    Raises:
        InputError: a table, the graphs or a label is missing or unreadable.
    """
    table = read_chips(chips)
    if not Path(graphs).is_file():
        raise InputError(f"{graphs}: no such file; run the extract stage of this city first")
    roads = read_geopackage_roads(graphs)
    predictions = {row["chip_id"]: row for shard in shards for row in read_table(shard)}
    unknown = sorted(set(roads) - {chip.chip_id for chip in table})
    if unknown:
        raise InputError(
            f"{graphs}: has roads of {unknown[0]!r}{f' and {len(unknown) - 1} more' if unknown[1:] else ''}, which "
            f"{chips} does not list; give the chip table the graphs were made from"
        )
    jobs = ((chip, roads.get(chip.chip_id, no_roads()), predictions.get(chip.chip_id)) for chip in table)
    city = f"{table[0].city} {table[0].split}" if table else "no chips"
    rows = list(map_ordered(partial(_score_chip, settings), jobs, len(table), threads, f"scores {city}"))
    write_table(out, COLUMNS, rows)
    write_json(Path(out).with_suffix(".provenance.json"), provenance(settings.model_dump(), seed=settings.seed))
    sampled = [row["chip_id"] for row in rows if row["compared_nodes_truth"] != row["control_nodes_truth"]]
    if sampled:
        log.warning("%d chips have too many control nodes for all pairs; a sample was compared", len(sampled))


def _score_chip(
    settings: ScoreSettings, job: tuple[Chip, Roads, dict[str, str] | None]
) -> dict[str, float | str | None]:
    chip, proposal, prediction = job
    row: dict[str, float | str | None] = dict.fromkeys(COLUMNS)
    row |= {
        "chip_id": chip.chip_id,
        "role": prediction["role"] if prediction else "",
        "label_state": chip.label_state,
    }
    notes = []
    if prediction is None:
        notes.append("not predicted")
    elif not prediction["probability"]:
        notes.append(prediction["note"] or "not predicted")
    if chip.label is None or chip.label_state == "missing":
        row["note"] = "; ".join(["no label, not scored", *notes])
        return row
    labels = read_labels(chip.label)
    scores = evaluate(Roads(labels.lines, labels.speed_mph), proposal, settings)
    if not len(labels.lines):
        notes.append("truth has no road")
    if not len(proposal):
        notes.append("proposal has no road")
    for name, value in scores.numbers().items():
        row[name] = round(value, 6) if isinstance(value, float) else value
    row["note"] = "; ".join(notes)
    return row
