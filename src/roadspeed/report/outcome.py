"""What a finished run has to show, as text for the terminal."""

from pathlib import Path

from roadspeed.errors import InputError
from roadspeed.files import read_table


def describe_run(folder: Path) -> str:
    """Return where a run's results are and the scores it reached.

    Args:
        folder: folder of the run, such as results/sample.

    Raises:
        InputError: the run has no table of scores yet.
    """
    scores = folder / "scores.csv"
    if not scores.is_file():
        raise InputError(f"{scores}: no such file; the run has not finished")
    results = [("report", folder / "report.html"), ("scores", scores)]
    for split in sorted(folder.glob("*/*/roads.gpkg")):
        name = f"{split.parent.parent.name} {split.parent.name}"
        results += [(f"{name}: graph", split), (f"{name}: map", split.with_name("map.png"))]
    width = max(len(name) for name, _ in results)
    lines = ["", "Results:", *(f"  {name:<{width}}  {path}" for name, path in results), "", "APLS reached (0 to 1):"]
    rows = read_table(scores)
    lines += _columns([list(rows[0]), *(list(row.values()) for row in rows)]) if rows else ["  no chip was scored"]
    return "\n".join([*lines, ""])


def _columns(rows: list[list[str]]) -> list[str]:
    """Return rows of cells as aligned lines; decimal numbers with three digits."""

    def short(cell: str) -> str:
        try:
            return f"{float(cell):.3f}" if "." in cell else cell
        except ValueError:
            return cell

    cells = [[short(cell) for cell in row] for row in rows]
    widths = [max(len(row[index]) for row in cells) for index in range(len(cells[0]))]
    return ["  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in cells]
