"""`roadspeed apls`: score a road graph against the truth."""

import argparse
import json
import logging
import os
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roadspeed.score.evaluate import Scores
    from roadspeed.score.topo import Topo

EXAMPLE = "roadspeed apls labels.geojson roads.gpkg --draw lost.png"

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    kinds = "GeoJSON, GeoPackage, GraphML, challenge CSV, or a folder of them"
    parser.add_argument("truth", type=Path, help=f"true roads: {kinds}")
    parser.add_argument("proposal", type=Path, help=f"roads to score: {kinds}")
    parser.add_argument(
        "--image", type=Path, help="for a CSV in pixels: its GeoTIFF, a folder of GeoTIFFs, or a chip table"
    )
    parser.add_argument("--json", action="store_true", help="print the scores as JSON on stdout")
    parser.add_argument("--topo", action="store_true", help="also TOPO: precision, recall and F1 of local topology")
    parser.add_argument("--sp", action="store_true", help="also SP: share of shortest paths that agree within 5 %%")
    parser.add_argument(
        "--draw",
        type=Path,
        metavar="PNG",
        help="picture of where the score is lost (one a chip, if there are several)",
    )
    parser.add_argument(
        "--default-speed-mph", type=float, metavar="MPH", help="speed of roads that state none (else no time score)"
    )
    parser.add_argument("--seed", type=int, default=7, help="seed of TOPO, SP and of samples of huge graphs")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="cores to use")


def run(args: argparse.Namespace) -> None:
    """Score, print, draw."""
    from roadspeed.score.apls import prepare_pair
    from roadspeed.score.evaluate import evaluate_pair
    from roadspeed.score.pairs import match_chips
    from roadspeed.score.readers import read_roads
    from roadspeed.score.settings import ScoreSettings

    metrics = [name for name in ("topo", "sp") if getattr(args, name)]
    settings = ScoreSettings.checked(
        {"seed": args.seed, "default_speed_mph": args.default_speed_mph, "metrics": metrics}
    )
    pairs = match_chips(read_roads(args.truth, args.image), read_roads(args.proposal, args.image))
    rows: dict[str, Scores] = {}
    for pair in pairs:
        prepared = prepare_pair(pair.truth, pair.proposal, settings)
        scores = rows[pair.chip] = evaluate_pair(prepared, settings, args.threads)
        if not pair.proposal_given:
            log.warning("%s: the proposal lacks this chip; it counts as empty", pair.chip)
        if scores.apls_time is None:
            log.warning("%s: no score by time, a road states no speed; see --default-speed-mph", pair.chip or "roads")
        if (scores.compared_nodes_truth, scores.compared_nodes_proposal) != prepared.control_nodes:
            log.warning(
                "%s: too many control nodes for all pairs; a sample with seed %d was compared, %d of %d (truth) and "
                "%d of %d (proposal)",
                pair.chip or "roads",
                args.seed,
                scores.compared_nodes_truth,
                prepared.control_nodes[0],
                scores.compared_nodes_proposal,
                prepared.control_nodes[1],
            )
        if args.draw:
            from roadspeed.score.diagnosis import draw_diagnosis

            path = args.draw if len(pairs) == 1 else args.draw.with_stem(f"{args.draw.stem}_{pair.chip}")
            title = f"{pair.chip} {args.truth.name} against {args.proposal.name}".strip()
            draw_diagnosis(prepared, path, settings, title, args.threads)
            log.info("drawn: %s", path)
    print(json.dumps(_as_json(rows), indent=2) if args.json else _as_text(rows))


def _as_json(rows: "dict[str, Scores]") -> dict[str, object]:
    """Return the documented keys; for several chips their strict means, beside them `compatible` and `chips`."""
    from roadspeed.score.pairs import mean_scores

    scores = list(rows.values())
    if len(scores) == 1:
        return _keys(scores[0])
    means = mean_scores(scores)
    compatible = {name: means[f"{name}_compatible"] for name in ("apls_length", "apls_time")}
    counted = sum(one.apls_length_compatible is not None for one in scores)
    return {
        **{name: value for name, value in means.items() if not name.endswith("_compatible") and name != "sp"},
        "topo": _mean_topo([one.topo for one in scores]),
        "sp": means["sp"],
        "compatible": {**compatible, "chips": counted},
        "chips": {chip: _keys(one) for chip, one in rows.items()},
    }


def _keys(scores: "Scores") -> dict[str, object]:
    from dataclasses import asdict

    from roadspeed.score.pairs import MEANS

    topo = asdict(scores.topo) if scores.topo else None
    return {**{name: getattr(scores, name) for name in MEANS}, "topo": topo, "sp": scores.sp}


def _mean_topo(topos: "list[Topo | None]") -> dict[str, float] | None:
    given = [topo for topo in topos if topo]
    if not given:
        return None
    return {name: fmean(getattr(topo, name) for topo in given) for name in ("precision", "recall", "f1")}


def _as_text(rows: "dict[str, Scores]") -> str:
    """Return the scores as a table for the eye."""
    from roadspeed.score.pairs import MEANS, mean_scores

    head = ["chip", "APLS length", "truth>prop", "prop>truth", "APLS time", "truth>prop", "prop>truth"]
    more = [name for name in ("topo", "sp") if any(getattr(one, name) is not None for one in rows.values())]
    head += [{"topo": "TOPO F1", "sp": "SP"}[name] for name in more] + ["truth km", "proposal km"]
    table = [head]
    for chip, one in rows.items():
        cells = [chip or "roads", *(_cell(getattr(one, name)) for name in MEANS)]
        cells += [_cell(one.topo.f1 if one.topo else None) if name == "topo" else _cell(one.sp) for name in more]
        table.append([*cells, f"{one.truth_km:.2f}", f"{one.proposal_km:.2f}"])
    if len(rows) > 1:
        means = mean_scores(list(rows.values()))
        topo = _mean_topo([one.topo for one in rows.values()])
        extra = [_cell(topo["f1"] if topo else None) if name == "topo" else _cell(means["sp"]) for name in more]
        table.append([f"mean of {len(rows)}", *(_cell(means[name]) for name in MEANS), *extra, "", ""])
        counted = sum(one.apls_length_compatible is not None for one in rows.values())
        both = [_cell(means[f"{name}_compatible"]) for name in ("apls_length", "apls_time")]
        table.append([f"compatible, {counted}", both[0], "", "", both[1], "", "", *("" for _ in more), "", ""])
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    lines = []
    for row in table:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
