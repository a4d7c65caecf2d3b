"""`roadspeed apls`, run as a program's user would."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from roads_by_hand import roads

from roadspeed.cli import main
from roadspeed.score.apls import prepare_pair
from roadspeed.score.diagnosis import FOUND, MISSING, TOO_LONG, TOO_SHORT, diagnose
from roadspeed.score.settings import ScoreSettings

KEYS = [
    "apls_length",
    "apls_length_truth_onto_proposal",
    "apls_length_proposal_onto_truth",
    "apls_time",
    "apls_time_truth_onto_proposal",
    "apls_time_proposal_onto_truth",
    "topo",
    "sp",
]


def write(path: Path, *lines: list[tuple[float, float]], mph: float | None = 25) -> str:
    """Write roads given in thousandths of a degree."""
    features = [
        {
            "type": "Feature",
            "properties": {"inferred_speed_mph": mph},
            "geometry": {"type": "LineString", "coordinates": [(10 + x / 1000, 50 + y / 1000) for x, y in line]},
        }
        for line in lines
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return str(path)


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main(["apls", *map(str, words)])
    return code, *capsys.readouterr()


def test_json_has_the_documented_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = write(tmp_path / "t.geojson", [(0, 0), (4, 0)], [(4, 0), (8, 0)], [(4, 0), (4, 4)])
    proposal = write(tmp_path / "p.geojson", [(0, 0), (8, 0)], mph=12.5)
    code, out, _ = run(capsys, truth, proposal, "--json", "--topo", "--sp")
    scores = json.loads(out)
    assert code == 0 and list(scores) == KEYS
    assert scores["apls_length_proposal_onto_truth"] == pytest.approx(1.0)
    assert scores["apls_time_proposal_onto_truth"] == pytest.approx(0.5)
    assert list(scores["topo"]) == ["precision", "recall", "f1"] and 0 < scores["topo"]["recall"] < 1
    assert 0 < scores["sp"] < 1
    assert json.loads(run(capsys, truth, proposal, "--json")[1])["topo"] is None


def test_the_table_is_readable_and_results_alone_are_on_stdout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = write(tmp_path / "t.geojson", [(0, 0), (4, 0)])
    code, out, _ = run(capsys, truth, truth, "--sp")
    head, row = out.splitlines()
    assert code == 0 and head.split()[:3] == ["chip", "APLS", "length"] and head.rstrip().endswith("proposal km")
    assert row.split()[:7] == ["roads", *["1.0000"] * 6]


def test_folders_and_chips_give_rows_and_means(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("truth", "proposal"):
        (tmp_path / folder).mkdir()
    name = "SN5_roads_train_AOI_7_Moscow_geojson_roads_speed_chip{}.geojson"
    for number, lines in {1: [[(0, 0), (4, 0)]], 2: [[(0, 0), (0, 4)]], 3: []}.items():
        write(tmp_path / "truth" / name.format(number), *lines)
    shutil.copy(tmp_path / "truth" / name.format(1), tmp_path / "proposal")
    shutil.copy(tmp_path / "truth" / name.format(3), tmp_path / "proposal")
    code, out, _ = run(capsys, tmp_path / "truth", tmp_path / "proposal", "--json")
    scores = json.loads(out)
    assert code == 0
    chips = {chip[-5:]: round(one["apls_length"], 6) for chip, one in scores["chips"].items()}
    assert chips == {"chip1": 1.0, "chip2": 0.0, "chip3": 1.0}
    assert scores["apls_length"] == pytest.approx(2 / 3)
    assert scores["compatible"] == pytest.approx({"apls_length": 1.0, "apls_time": 1.0, "chips": 1})
    table = run(capsys, tmp_path / "truth", tmp_path / "proposal")[1].splitlines()
    assert len(table) == 6 and table[-2].startswith("mean of 3") and table[-1].startswith("compatible, 1")


def test_a_missing_speed_is_null_and_can_be_filled_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], real_data: Path
) -> None:
    folder = real_data / "vegas_img0"
    words = [
        folder / "AOI_2_Vegas_img0_edited.geojson",
        folder / "proposal_albu.csv",
        "--image",
        folder / "RGB-PanSharpen_AOI_2_Vegas_img0.tif",
        "--json",
    ]
    scores = json.loads(run(capsys, *words)[1])
    assert scores["apls_time"] is None and scores["apls_length"] == pytest.approx(0.823, abs=0.001)
    filled = json.loads(run(capsys, *words, "--default-speed-mph", 30)[1])
    assert filled["apls_time"] == pytest.approx(0.51, abs=0.005)


def test_bad_input_is_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = write(tmp_path / "t.geojson", [(0, 0), (4, 0)])
    for words in ((truth, tmp_path / "none.gpkg"), (truth, truth, "--default-speed-mph", "-5")):
        code, out, err = run(capsys, *words)
        assert (code, out) == (2, "")
        assert err.startswith("roadspeed: error: ") and err.count("\n") == 1


def test_a_sample_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    truth = write(tmp_path / "t.geojson", *[[(0, y), (300, y)] for y in range(60)])
    code, out, _ = run(capsys, truth, truth, "--threads", 2)
    assert code == 0 and out.splitlines()[1].split()[1] == "1.0000"
    assert "sample with seed 7" in caplog.text and "20000 of" in caplog.text


def test_pictures_show_where_it_is_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = write(tmp_path / "t.geojson", [(0, 0), (4, 0)], [(4, 0), (4, 4)])
    proposal = write(tmp_path / "p.geojson", [(0, 0), (4, 0)])
    assert run(capsys, truth, proposal, "--draw", tmp_path / "lost.png")[0] == 0
    pixels = np.asarray(Image.open(tmp_path / "lost.png").convert("RGB")).astype(int)
    red = (abs(pixels - [215, 25, 28]).sum(-1) < 30).sum()
    assert red > 300
    assert run(capsys, truth, truth, "--draw", tmp_path / "none.png")[0] == 0
    pixels = np.asarray(Image.open(tmp_path / "none.png").convert("RGB")).astype(int)
    assert (abs(pixels - [215, 25, 28]).sum(-1) < 30).sum() < red / 3  # the legend only
    empty = write(tmp_path / "e.geojson")
    assert run(capsys, truth, empty, "--draw", tmp_path / "empty.png")[0] == 0
    assert (tmp_path / "empty.png").stat().st_size > 1000


def test_diagnosis_by_hand() -> None:
    # Three separate truth roads of 100 m: one missing, one with a detour of 20 %, one found; each in pieces of 50 m.
    truth = roads([(0, 0), (100, 0)], [(0, 100), (100, 100)], [(0, 200), (100, 200)])
    proposal = roads([(0, 100), (20, 100), (25, 70), (30, 100), (100, 100)], [(0, 200), (100, 200)])
    pair = prepare_pair(truth, proposal, ScoreSettings())
    found = diagnose(pair.truth, pair.proposal, ScoreSettings())
    by_road = {round(line.centroid.y - pair.truth.node_xy[:, 1].min()): [] for line in found.lines}
    for piece, state in zip(found.lines, found.state, strict=True):
        by_road[round(piece.centroid.y - pair.truth.node_xy[:, 1].min())].append((round(piece.length), int(state)))
    assert by_road[0] == [(50, MISSING)] * 2
    assert sorted(by_road[100]) == [(50, FOUND), (50, TOO_LONG)]
    assert by_road[200] == [(50, FOUND)] * 2
    back = diagnose(pair.proposal, pair.truth, ScoreSettings())
    assert TOO_SHORT in back.state or MISSING in back.state
    slow = prepare_pair(truth, roads([(0, 0), (100, 0)], mph=12.5), ScoreSettings())
    states = diagnose(slow.truth, slow.proposal, ScoreSettings(), "time").state
    assert (states == TOO_LONG).sum() == 2 and (states == MISSING).sum() == 4
