"""The whole workflow on a tiny sample: its outputs, kills at every stage, reports."""

import shutil
import subprocess
from pathlib import Path

import geopandas
import pytest
import rasterio

from roadspeed.chips import read_chips
from roadspeed.files import read_table
from tests.acquire.servers import web_server
from tests.workflow.conftest import Project

pytestmark = pytest.mark.workflow


def test_every_chip_reaches_every_table(finished: Project) -> None:
    folder = finished.folder
    for city, splits in finished.config["cities"].items():
        for split in ("train", "test_public"):
            if split not in splits:
                continue
            chips = [chip.chip_id for chip in read_chips(folder / f"data/acquire/{city}/{split}/chips.csv")]
            assert len(chips) == len(set(chips)) > 0
            predicted = [
                row["chip_id"]
                for shard in range(2)
                for row in read_table(folder / f"results/tiny/predict/{city}/{split}/shard{shard}.csv")
            ]
            assert sorted(predicted) == sorted(chips)
            submitted = {row["ImageId"] for row in read_table(folder / f"results/tiny/{city}/{split}/submission.csv")}
            assert submitted == set(chips)
            if split == "train":
                scores = read_table(folder / f"results/tiny/{city}/{split}/scores.csv")
                assert sorted(row["chip_id"] for row in scores) == sorted(chips)


def test_outputs_are_what_the_contracts_say(finished: Project) -> None:
    folder = finished.folder
    city = next(iter(finished.config["cities"]))
    table = folder / f"results/tiny/predict/{city}/train/shard0.csv"
    row = next(row for row in read_table(table) if row["probability"])
    chip = next(c for c in read_chips(folder / f"data/acquire/{city}/train/chips.csv") if c.chip_id == row["chip_id"])
    with rasterio.open(table.parent / row["probability"]) as source:
        assert (source.count, source.dtypes[0], source.crs.to_epsg()) == (8, "uint8", 4326)
        assert (source.width, source.height) == (chip.width, chip.height)
        assert source.bounds.left == pytest.approx(chip.west, abs=1e-9)
    edges = geopandas.read_file(folder / f"results/tiny/{city}/train/roads.gpkg", layer="edges")
    assert {"u", "v", "key", "chip", "length_m", "speed_mph", "speed_mps", "travel_time_s"} <= set(edges.columns)
    assert {"inferred_speed_mph", "inferred_speed_mps", "length"} <= set(edges.columns)
    roles = {row["role"] for row in read_table(folder / f"results/tiny/{city}/train/scores.csv")}
    assert {"train", "validation"} <= roles
    held_out = list(finished.config["cities"])[1]
    roles = {row["role"] for row in read_table(folder / f"results/tiny/{held_out}/train/scores.csv")}
    assert roles == {"unseen"}


def _deterministic_files(folder: Path) -> dict[str, bytes]:
    """Return the outputs whose bytes a resumed run must repeat."""
    kept = ("*.tif", "*.geojson", "*.csv", "*.gpkg", "*.graphml", "*.safetensors", "map.png")
    paths = {
        path for pattern in kept for path in folder.rglob(pattern) if not any(p.startswith(".") for p in path.parts)
    }
    timed = ("metrics.csv",)
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths) if path.name not in timed}


def _compare(left: Path, right: Path, parts: tuple[str, ...]) -> None:
    for part in parts:
        a, b = _deterministic_files(left / part), _deterministic_files(right / part)
        assert a.keys() == b.keys()
        assert a, part
        different = [name for name in a if a[name] != b[name]]
        assert not different, different


def test_kill_while_downloading(project: Project, finished: Project, bucket: Path) -> None:
    city = next(iter(project.config["cities"]))
    size = (bucket / project.config["cities"][city]["train"][0]["key"]).stat().st_size
    target = f"data/acquire/{city}/train/chips.csv"
    with web_server(bucket) as server:
        server.bytes_per_s = size / 8
        project.write_config({"bucket": server.url, "acquire": {"connections": 2, "range_mib": 1}})
        project.kill_when(lambda: server.sent > size / 3, target)
        assert not (project.folder / target).exists()
        server.bytes_per_s = 0
        project.run(target)
        assert server.sent < 1.6 * size, "what was fetched before the kill is used"
    _compare(project.folder, finished.folder, (f"data/acquire/{city}/train",))


def test_kill_while_unpacking(project: Project, finished: Project) -> None:
    city = next(iter(project.config["cities"]))
    folder = project.folder / f"data/acquire/{city}/train"
    project.kill_when(lambda: any(folder.rglob("*.tif")), str(Path(f"data/acquire/{city}/train/chips.csv")))
    assert not (folder / "chips.csv").exists()
    project.run(f"data/acquire/{city}/train/chips.csv")
    part = f"data/acquire/{city}/train"
    _compare(project.folder, finished.folder, (part,))


def test_kill_while_training(finished: Project, tmp_path: Path) -> None:
    project = finished.copy(tmp_path / "copy")
    project.write_config({"run": "killed", "train": {"epochs": 4}})
    fold = project.folder / "results/killed/train/fold0"
    project.kill_when(lambda: any(fold.rglob("last.safetensors")), "results/killed/train/fold0/model.safetensors")
    assert not (fold / "model.safetensors").exists()
    project.write_config({"train": {"learning_rate": 2e-3}})
    text = project.run("results/killed/train/fold0/model.safetensors", fails=True)
    assert "other settings: learning_rate: 0.001 → 0.002; set them back to go on" in text
    project.write_config({"train": {"learning_rate": 1e-3}})
    text = project.run("results/killed/train/fold0/model.safetensors")
    assert "going on after epoch" in text
    assert "epoch 1 of 4: loss" not in text, "a finished epoch is not done again"
    metrics = read_table(fold / "metrics.csv")
    assert [int(row["epoch"]) for row in metrics] == [1, 2, 3, 4]
    undisturbed = finished.copy(tmp_path / "undisturbed")
    undisturbed.write_config({"run": "killed", "train": {"epochs": 4}})
    undisturbed.run("results/killed/train/fold0/model.safetensors")
    again = read_table(undisturbed.folder / "results/killed/train/fold0/metrics.csv")
    for row, other in zip(metrics, again, strict=True):
        assert float(row["val_loss"]) == pytest.approx(float(other["val_loss"]), rel=0.05)


@pytest.mark.parametrize("stage", ["predict", "extract"])
def test_kill_while_predicting_and_extracting(finished: Project, tmp_path: Path, stage: str) -> None:
    project = finished.copy(tmp_path / "copy")
    city = next(iter(project.config["cities"]))
    splits = set(project.config["cities"][city]) & {"train", "test_public"}
    results = project.folder / "results/tiny"
    if stage == "predict":
        shutil.rmtree(results / f"predict/{city}")
        declared = f"predict/{city}/train/shard0.csv"
        targets = [f"results/tiny/predict/{city}/{split}/shard{n}.csv" for split in splits for n in (0, 1)]
        project.kill_when(lambda: any((results / f"predict/{city}").rglob("*.tif")), f"results/tiny/{declared}")
    else:
        shutil.rmtree(results / city)
        declared, targets = f"{city}/train/roads.gpkg", []
        project.kill_when(lambda: _has_state(results / city / "train"), f"results/tiny/{declared}")
    assert not (results / declared).exists()
    project.run(*targets)
    _compare(project.folder, finished.folder, (f"results/tiny/{city}", f"results/tiny/predict/{city}"))


def _has_state(folder: Path) -> bool:
    return folder.is_dir() and any(path.is_file() for path in folder.rglob("*") if path.name != ".lock")


def test_snakemakes_own_report(finished: Project) -> None:
    finished.run("--report", "report.zip")
    assert (finished.folder / "report.zip").stat().st_size > 100_000


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_report_page_in_a_browser(finished: Project, tmp_path: Path) -> None:
    page = finished.folder / "results/tiny/report.html"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    done = subprocess.run(
        ["chromium", *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    pictures = done.stdout.count("<img ")
    splits = sum(len(set(city) & {"train", "test_public"}) for city in finished.config["cities"].values())
    trained = sum(city["use"] == "train" for city in finished.config["cities"].values())
    assert pictures == 1 + trained + splits + len(finished.config["cities"])
    assert "validation" in done.stdout
