"""A shard from tables to rasters, resumed chip by chip, and the command on images of any size."""

import json

import numpy as np
import pytest
from tests.toy_city import make_toy_city, save_network

from roadspeed.cli import main
from roadspeed.errors import InputError
from roadspeed.files import read_table, write_table
from roadspeed.predict import shard as shard_module
from roadspeed.predict.settings import PredictSettings
from roadspeed.predict.shard import predict_shard
from roadspeed.raster import Grid, read_grid, read_raster, write_raster

SETTINGS = PredictSettings(engine="native", precision="fp32", flips=1)


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    return make_toy_city(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return [save_network(folder / f"{fold}.safetensors", seed=fold, fold=fold) for fold in (0, 1)]


def run(city, models, folder, shard=0, shards=1, folds=True, settings=SETTINGS):
    folds = city.folds if folds else None
    predict_shard(city.rgb, city.chips, models, folds, shard, shards, folder, settings, threads=1)
    return read_table(folder / f"shard{shard}.csv")


def probabilities(folder, chip):
    return read_raster(folder / "prob" / f"AOI_9_Toy_chip{chip}.tif")[0].astype(int)


def test_shards_roles_and_rasters(city, models, tmp_path):
    rows = run(city, models, tmp_path, 0, 2) + run(city, models, tmp_path, 1, 2)
    assert [row["chip_id"][-1] for row in rows] == list("012345")
    assert [row["role"] for row in rows] == ["validation", "validation", "train"] * 2
    assert [row["models"] for row in rows] == ["fold0", "fold1", "fold0 fold1"] * 2
    for row in rows:
        assert read_grid(tmp_path / row["probability"]) == read_grid(
            city.rgb.parent / "rgb" / f"{row['chip_id']}.tif"
        )
    # A chip of fold 2 is the mean of what each network alone gives; one of fold 0 is the first network's alone.
    alone = [tmp_path / "a", tmp_path / "b"]
    for folder, model in zip(alone, models, strict=True):
        assert {row["role"] for row in run(city, [model], folder, folds=False)} == {"unseen"}
    mean = (probabilities(alone[0], 2) + probabilities(alone[1], 2)) / 2
    assert np.abs(probabilities(tmp_path, 2) - mean).max() <= 1
    assert (probabilities(tmp_path, 0) == probabilities(alone[0], 0)).all()
    assert probabilities(tmp_path, 0).shape == (8, 128, 128)
    record = json.loads((tmp_path / "shard0.json").read_text())
    assert record["engine"]["name"] == "native"
    assert record["settings"]["flips"] == 1


def test_finished_chips_are_kept_and_changed_ones_done_again(city, models, tmp_path, monkeypatch, caplog):
    done = []
    write = shard_module.write_raster

    def counting(path, *args):
        if len(done) == 3 and not resumed:
            raise KeyboardInterrupt
        done.append(path.stem)
        write(path, *args)

    resumed = False
    monkeypatch.setattr(shard_module, "write_raster", counting)
    with pytest.raises(KeyboardInterrupt):
        run(city, models, tmp_path)
    assert not (tmp_path / "shard0.csv").exists()
    finished = len(list((tmp_path / ".state").glob("*.mark")))
    assert 1 <= finished <= 3
    resumed = True
    done.clear()
    run(city, models, tmp_path)
    assert len(done) == 6 - finished
    done.clear()
    (tmp_path / "shard0.csv").unlink()
    run(city, models, tmp_path)
    assert done == []
    run(city, models, tmp_path, settings=SETTINGS.model_copy(update={"flips": 4}))
    assert len(done) == 6
    assert "6 chips are predicted afresh" in caplog.text


def test_chip_without_image_keeps_its_row(city, models, tmp_path):
    rows = read_table(city.rgb)
    rows[1] |= {"rgb": "", "note": "only 0.0% of its pixels have data"}
    table = city.rgb.parent / "rgb_hole.csv"
    write_table(table, list(rows[0]), rows)
    predict_shard(table, city.chips, models, city.folds, 0, 1, tmp_path, SETTINGS, 1)
    row = read_table(tmp_path / "shard0.csv")[1]
    assert row["probability"] == ""
    assert row["note"] == "only 0.0% of its pixels have data"
    assert len(list((tmp_path / "prob").glob("*.tif"))) == 5


def test_missing_checkpoint_and_tables_are_one_clear_error(city, models, tmp_path):
    with pytest.raises(InputError, match="no such checkpoint"):
        run(city, [tmp_path / "model.safetensors"], tmp_path)
    with pytest.raises(InputError, match="no checkpoint given"):
        run(city, [], tmp_path)
    with pytest.raises(InputError, match="shard 3 of 2"):
        run(city, models, tmp_path, 3, 2)
    with pytest.raises(InputError, match="no such table of images"):
        predict_shard(tmp_path / "rgb.csv", city.chips, models, None, 0, 1, tmp_path, SETTINGS, 1)


def test_command_on_any_size_and_16_bits(models, tmp_path, capsys):
    rng = np.random.default_rng(0)
    grid = read_grid(write_image(tmp_path / "byte.tif", rng.integers(1, 255, (3, 170, 300)).astype(np.uint8)))
    write_image(tmp_path / "deep.tif", rng.integers(200, 900, (8, 90, 70)).astype(np.uint16))
    rgba = rng.integers(1, 255, (4, 64, 64)).astype(np.uint8)
    rgba[3] = 255
    rgba[3, :9] = 0
    write_image(tmp_path / "alpha.tif", rgba, photometric="RGB", alpha="YES")
    out = tmp_path / "out"
    small = json.dumps({"window_px": 96, "overlap_px": 32, "whole_px": 100})
    images = [str(tmp_path / f"{name}.tif") for name in ("byte", "deep", "alpha")]
    common = ["--checkpoint", str(models[0]), "-o", str(out), "--settings", small, "--flips", "1", "--threads", "1"]
    engine = ["--engine", "native", "--precision", "fp32"]
    assert main(["predict", *images, *common, *engine]) == 0
    assert read_grid(out / "byte.tif") == grid
    assert read_raster(out / "byte.tif")[0].shape == (8, 170, 300)
    assert read_raster(out / "deep.tif")[0].any()
    alpha = read_raster(out / "alpha.tif")[0]
    assert not alpha[:, :9].any()
    assert alpha[:, 9:].any()
    assert capsys.readouterr().out == ""
    assert main(["predict", str(tmp_path / "none.tif"), *common]) == 2
    assert "no such file" in capsys.readouterr().err
    assert main(["predict", images[0], images[0], *common]) == 2
    assert main(["predict", images[0], "--checkpoint", str(models[0]), "-o", str(tmp_path)]) == 2
    assert "would overwrite" in capsys.readouterr().err


def write_image(path, pixels, **options):
    from rasterio.crs import CRS
    from rasterio.transform import Affine

    transform = Affine(2.7e-6, 0, 10, 0, -2.7e-6, 20)
    write_raster(path, pixels, Grid(pixels.shape[2], pixels.shape[1], CRS.from_epsg(4326), transform), **options)
    return path
