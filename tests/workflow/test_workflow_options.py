"""Options on which other rules' inputs hang, in a real run: all bands, best epoch by APLS, INT8 prediction."""

import json

import pytest

from roadspeed.files import read_table
from tests.workflow.conftest import Project


@pytest.mark.workflow
def test_all_bands_best_by_apls_and_int8(project: Project) -> None:
    pytest.importorskip("nncf", reason="the extra roadspeed[openvino] is not installed")
    project.write_config(
        {
            "shards": 1,
            "prepare": {"stretch": {"bands": "all"}},
            "train": {"best_by": "apls", "apls_chips": 2, "epochs": 2},
            "predict": {"engine": "openvino", "precision": "int8"},
        }
    )
    city = next(iter(project.config["cities"]))
    project.run(f"results/tiny/{city}/train/scores.csv")
    fold = project.folder / "results/tiny/train/fold0"
    rows = read_table(fold / "metrics.csv")
    assert len(rows) == 2 and all(row["apls_length"] and row["apls_time"] for row in rows)
    means = [float(row["apls_length"]) + float(row["apls_time"]) for row in rows]
    record = json.loads((fold / "model.json").read_text())
    assert record["model"]["bands"] == 8
    assert means[record["best_epoch"] - 1] == max(means)
    assert len(list((fold / ".model.openvino").glob("int8-*.xml"))) == 1
    (shard,) = (project.folder / f"results/tiny/predict/{city}/train").glob("shard0.json")
    assert json.loads(shard.read_text())["engine"]["precision"] == "int8"
