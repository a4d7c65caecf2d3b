"""The report page of a run: one HTML file that holds its pictures and needs no network."""

import base64
import html
import json
from collections.abc import Sequence
from pathlib import Path

from roadspeed.files import read_table, write_text

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1b1f24; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #d0d7de; padding-bottom: .3rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid #d0d7de; }
th { text-align: left; } td.number { text-align: right; font-variant-numeric: tabular-nums; }
tr.overall { font-weight: 600; } img { max-width: 100%; height: auto; } figure { margin: 1.5rem 0; }
figcaption { color: #57606a; } code, pre { font-size: .85rem; }
pre { overflow: auto; background: #f6f8fa; padding: 1rem; }
@media (prefers-color-scheme: dark) {
  body { background: #0d1117; color: #e6edf3; } pre { background: #161b22; } figcaption { color: #9198a1; }
}
"""


def write_report(
    run: str,
    scores: Path,
    models: Sequence[Path],
    curves: Path,
    grids: Sequence[Path],
    maps: Sequence[Path],
    chip_pictures: Sequence[Path],
    out: Path,
) -> None:
    """Write the page.

    Args:
        run: name of the run.
        scores: scores.csv of the run.
        models: model.json of every fold.
        curves: picture of the training curves.
        grids: grid.png of every training city.
        maps: map.png of every city and split; their folders name both.
        chip_pictures: chips.png of every labelled city.
        out: HTML file to write.
    """
    parts = [
        f"<h1>roadspeed: {html.escape(run)}</h1>",
        "<h2>Scores</h2>",
        "<p>APLS by length and by travel time, 0 to 1. <em>validation</em>: chips of trained cities that the network "
        "did not learn from; <em>unseen</em>: cities it never saw; <em>train</em>: chips it learned from.</p>",
        _table(read_table(scores)),
        "<h2>Training</h2>",
        _figure(curves, "Training curves"),
        *(_model(path) for path in models),
        "<h2>Training cities: road density and folds</h2>",
        *(_figure(path, path.parent.parent.name) for path in grids),
        "<h2>Maps</h2>",
        *(_figure(path, f"{path.parent.parent.name}, {path.parent.name}") for path in maps),
        "<h2>Chips, from the best scored to the worst</h2>",
        *(_figure(path, f"{path.parent.parent.name}, {path.parent.name}") for path in chip_pictures),
    ]
    write_text(
        out,
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>roadspeed: {html.escape(run)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n",
    )


def _table(rows: list[dict[str, str]]) -> str:
    if not rows:
        return "<p>No labelled chip was scored.</p>"
    head = "".join(f"<th>{html.escape(name.replace('_', ' '))}</th>" for name in rows[0])
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(map(_row, rows))}</tbody></table>"


def _row(row: dict[str, str]) -> str:
    cells = "".join(_cell(value) for value in row.values())
    return f'<tr class="overall">{cells}</tr>' if "all" in row.values() else f"<tr>{cells}</tr>"


def _cell(value: str) -> str:
    try:
        number = float(value)
    except ValueError:
        return f"<td>{html.escape(value)}</td>"
    return f'<td class="number">{value if number.is_integer() and "." not in value else f"{number:.3f}"}</td>'


def _figure(path: Path, caption: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    text = html.escape(caption)
    return f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>'


def _model(path: Path) -> str:
    settings = json.loads(path.read_text(encoding="utf-8"))
    text = html.escape(json.dumps(settings, indent=2, ensure_ascii=False))
    return f"<details><summary>Settings of {html.escape(path.parent.name)}</summary><pre>{text}</pre></details>"
