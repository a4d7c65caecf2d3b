"""Training a fold: it learns, goes on after a kill as if nothing had happened, and says when it cannot."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.toy_city import QUICK_TRAINING, make_toy_city, metrics

from roadspeed.errors import TrainingError
from roadspeed.files import read_table
from roadspeed.host.engine import Engine
from roadspeed.speedbins import SpeedBins
from roadspeed.train import validate
from roadspeed.train.checkpoint import TrainingState
from roadspeed.train.chips import index_chips, read_fold_chips
from roadspeed.train.crops import CropSource
from roadspeed.train.fold import channel_names, train_fold
from roadspeed.train.loader import Batch, CropLoader, split_threads
from roadspeed.train.loop import Trainer, learning_rate, make_optimizer
from roadspeed.train.losses import RoadLoss
from roadspeed.train.model import ModelSettings, build_model
from roadspeed.train.settings import TrainSettings

BINS = SpeedBins()
QUICK = QUICK_TRAINING | {
    "epochs": 4,
    "learning_rate": 5e-3,
}


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    return make_toy_city(tmp_path_factory.mktemp("toy"))


def train(city, folder, **values):
    settings = TrainSettings.checked(QUICK | values)
    train_fold(city.folds, [city.rgb], [city.masks], 0, folder, settings, BINS, threads=1)


@pytest.fixture(scope="module")
def trained(city, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    train(city, folder)
    return folder


def test_it_learns_and_leaves_a_record(trained):
    rows = read_table(trained / "metrics.csv")
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert float(rows[-1]["train_loss"]) < 0.8 * float(rows[0]["train_loss"])
    assert {"val_loss", "dice", "learning_rate", *(f"f1_{n}" for n in channel_names(BINS))} <= set(rows[0])
    record = json.loads((trained / "model.json").read_text())
    best = max(range(4), key=lambda i: float(rows[i]["dice"]))
    assert record["best_epoch"] == best + 1
    assert record["fold"] == 0
    assert record["engine"]["name"] == "native"
    assert record["settings"]["crop_px"] == 64
    assert record["versions"]["torch"] == torch.__version__.split("+")[0]
    assert list((trained / "tensorboard").glob("events*"))


def _start(city, folder):
    """Start a training in a process of its own: what other tests loaded into this one may round differently."""
    program = (
        "import json, sys; from pathlib import Path; from roadspeed.train.fold import train_fold; "
        "from roadspeed.train.settings import TrainSettings; from roadspeed.speedbins import SpeedBins; "
        "a = [Path(p) for p in sys.argv[1:5]]; "
        "train_fold(a[0], [a[1]], [a[2]], 0, a[3], TrainSettings.checked(json.loads(sys.argv[5])), SpeedBins(), 1)"
    )
    paths = [str(p) for p in (city.folds, city.rgb, city.masks, folder)]
    return subprocess.Popen([sys.executable, "-c", program, *paths, json.dumps(QUICK)], start_new_session=True)


def test_killed_training_goes_on_as_if_never_interrupted(city, tmp_path):
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    assert _start(city, undisturbed).wait(timeout=300) == 0
    process = _start(city, killed)
    deadline = time.monotonic() + 300
    while len(read_table(killed / "metrics.csv") if (killed / "metrics.csv").exists() else []) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = (killed / "metrics.csv").read_text().splitlines()
    assert not (killed / "model.safetensors").exists()
    assert _start(city, killed).wait(timeout=300) == 0
    after = (killed / "metrics.csv").read_text().splitlines()
    assert after[: len(before)] == before, "a finished epoch was done again"
    assert metrics(killed) == metrics(undisturbed)
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (killed, undisturbed))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(("name", "optimizer"), [("native", "adamw"), ("ipex", "adam"), ("ipex", "adamw")])
def test_state_is_complete_on_each_engine(tmp_path, name, optimizer):
    """Three BF16 steps after loading a state are those after making it."""
    if name == "ipex":
        pytest.importorskip("intel_extension_for_pytorch")
    settings = TrainSettings.checked({"optimizer": optimizer, "loss": {"focal_gamma": 0}})
    dice = torch.Generator().manual_seed(0)
    images = torch.randint(0, 255, (6, 4, 3, 64, 64), dtype=torch.uint8, generator=dice)
    targets = 255 * (torch.rand((6, 4, 8, 64, 64), generator=dice) > 0.8).to(torch.uint8)
    batches = [Batch(*pair, ("crop",)) for pair in zip(images, targets, strict=True)]

    def fresh():
        network = ModelSettings(encoder="test_resnet", decoder_channels=(16, 16, 8, 8, 8))
        trainer = Trainer(
            build_model(network, seed=1), RoadLoss(settings.loss, 8), settings, Engine(name, "bf16", "")
        )
        return trainer, TrainingState(trainer.model, trainer.ema, trainer.optimizer)

    trainer, state = fresh()
    before = [trainer.train_batch(batch, lambda step: 1e-3) for batch in batches[:3]]
    state.save(tmp_path / "state.safetensors", {"steps": trainer.steps})
    after = [trainer.train_batch(batch, lambda step: 1e-3) for batch in batches[3:]]
    mean = trainer.kept.state_dict()
    trainer, state = fresh()
    trainer.steps = state.load(tmp_path / "state.safetensors")["steps"]
    assert [trainer.train_batch(batch, lambda step: 1e-3) for batch in batches[3:]] == after
    assert all(torch.equal(mean[key], value) for key, value in trainer.kept.state_dict().items())
    assert len(set(before + after)) == 6


def test_finished_training_is_only_written_out_again(city, trained, tmp_path, caplog):
    caplog.set_level(logging.INFO, "roadspeed")
    weights, rows = (trained / "model.safetensors").read_bytes(), metrics(trained)
    for name in ("model.safetensors", "model.json", "metrics.csv"):
        (trained / name).unlink()
    train(city, trained, engine="auto")  # another engine is no reason to train again
    assert "trained already" in caplog.text
    assert "epoch 1 of" not in caplog.text
    assert (trained / "model.safetensors").read_bytes() == weights
    assert metrics(trained) == rows


def test_finished_training_is_followed_by_one_with_other_settings(city, tmp_path, caplog):
    train(city, tmp_path, epochs=1)
    train(city, tmp_path, epochs=1, learning_rate=1e-3, optimizer="adam", loss={"focal_gamma": 2})
    text = caplog.text
    assert "starts afresh" in text
    assert "learning_rate: 0.005 → 0.001" in text
    assert 'optimizer: "adamw" → "adam"' in text
    assert "loss.focal_gamma: 1.0 → 2.0" in text
    assert "dice_weight" not in text
    assert len(metrics(tmp_path)) == 1


def interrupt(city, folder, monkeypatch, epochs_done, **values):
    """Train until validation of the epoch after some finished ones."""
    finished = []

    def scored(*arguments):
        if len(finished) == epochs_done:
            raise KeyboardInterrupt
        finished.append(1)
        return validate.validate(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("roadspeed.train.fold.validate", scored)
        with pytest.raises(KeyboardInterrupt):
            train(city, folder, **values)


def test_unfinished_training_refuses_other_settings_and_goes_on_with_its_own(city, trained, tmp_path, monkeypatch):
    interrupt(city, tmp_path, monkeypatch, 2)
    with pytest.raises(TrainingError) as refused:
        train(city, tmp_path, learning_rate=1e-3, loss={"road_weight": 1.0}, engine="auto")
    message = str(refused.value)
    assert "2 epochs done" in message
    assert "learning_rate: 0.005 → 0.001; loss.road_weight: 3.0 → 1.0;" in message
    assert "engine" not in message
    state = Path(message.split("remove ")[1].split(" to start afresh")[0])
    before = metrics(tmp_path)
    train(city, tmp_path)
    assert metrics(tmp_path)[:2] == before[:2], "a finished epoch was done again"
    for ours, theirs in zip(metrics(tmp_path), metrics(trained), strict=True):
        assert float(ours["val_loss"]) == pytest.approx(float(theirs["val_loss"]), rel=1e-3)
    assert state.is_dir()


def test_unfinished_training_can_be_given_up(city, tmp_path, monkeypatch):
    interrupt(city, tmp_path, monkeypatch, 1)
    with pytest.raises(TrainingError, match=r"epochs: 4 → 1.*remove .* to start afresh") as refused:
        train(city, tmp_path, epochs=1)
    shutil.rmtree(str(refused.value).split("remove ")[1].split(" to start afresh")[0])
    train(city, tmp_path, epochs=1)
    assert len(metrics(tmp_path)) == 1


def test_only_what_could_go_on_refuses(city, tmp_path, monkeypatch, caplog):
    """Neither a training without a finished epoch, nor one whose chips were made anew."""
    interrupt(city, tmp_path / "begun", monkeypatch, 0)
    train(city, tmp_path / "begun", epochs=1)
    interrupt(city, tmp_path / "other", monkeypatch, 1)
    chips = make_toy_city(tmp_path / "made anew")
    train(chips, tmp_path / "other", epochs=1)
    assert "starts afresh" in caplog.text and "training chips:" in caplog.text


def test_patience_stops_and_best_by_loss_is_kept(city, tmp_path):
    train(city, tmp_path, epochs=6, patience=1, best_by="loss", learning_rate=1e-9, ema_decay=0, rare_share=0)
    rows = metrics(tmp_path)
    losses = [float(row["val_loss"]) for row in rows]
    record = json.loads((tmp_path / "model.json").read_text())
    assert record["best_epoch"] == losses.index(min(losses)) + 1
    if len(rows) < 6:
        assert record["stopped_early"]
        assert record["best_epoch"] == len(rows) - 1


@pytest.mark.filterwarnings("ignore")
def test_non_finite_loss_names_the_crops(city, tmp_path):
    with pytest.raises(TrainingError, match=r"(loss|gradient) became .* AOI_9_Toy_chip\d at column"):
        train(city, tmp_path, learning_rate=1e30, clip_norm=0, warmup_epochs=0, epochs=30)
    assert not (tmp_path / "model.safetensors").exists()


@pytest.mark.filterwarnings("ignore")
def test_lower_learning_rate_is_taken_after_a_non_finite_loss(city, tmp_path, monkeypatch):
    """What the message advises is not refused, though an epoch was done before."""
    with monkeypatch.context() as patch:
        patch.setattr("roadspeed.train.loop.learning_rate", lambda settings, step, steps: 1e-3 if step < 4 else 1e30)
        with pytest.raises(TrainingError, match=r"lower train\.learning_rate"):
            train(city, tmp_path, clip_norm=0)
    assert len(metrics(tmp_path)) == 1
    train(city, tmp_path, epochs=1, learning_rate=1e-3)
    assert len(metrics(tmp_path)) == 1


def test_accumulation_halves_the_steps(city, tmp_path):
    train(city, tmp_path, accumulate=2, epochs=1, schedule="constant", warmup_epochs=1)
    # 4 training chips × 4 crops / batch 4 = 4 batches = 2 steps, both within the warm-up.
    assert float(metrics(tmp_path)[0]["learning_rate"]) == pytest.approx(5e-3 * 2 / 3, rel=1e-5)


def test_schedules():
    def rates(**values):
        settings = TrainSettings.checked({"learning_rate": 1.0, "epochs": 30, "warmup_epochs": 0} | values)
        return [learning_rate(settings, step, 10) for step in range(300)]

    cosine = rates(schedule="cosine", warmup_epochs=1)
    assert cosine[:3] == pytest.approx([1 / 11, 2 / 11, 3 / 11])
    assert cosine[10] == 1
    assert cosine[155] == pytest.approx(0.5, abs=1e-9)
    assert cosine[-1] < 1e-3
    steps = rates(schedule="step", step_epochs=[20, 25], step_factor=0.2)
    assert (steps[199], steps[200], steps[250]) == (1, 0.2, pytest.approx(0.04))
    assert set(rates(schedule="constant")) == {1.0}


def test_only_weights_are_decayed():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    groups = make_optimizer(model, TrainSettings(weight_decay=0.5)).param_groups
    assert [(len(g["params"]), g["weight_decay"]) for g in groups] == [(1, 0.5), (3, 0.0)]


def test_threads_add_up():
    for threads in (1, 2, 7, 8, 56, 112):
        for workers in (None, 0, 3, 200):
            network, loading = split_threads(threads, workers)
            assert network >= 1
            assert network + loading == threads


def test_loaders_keep_up_with_the_network_and_take_few_cores():
    """Whatever the host, the chosen division feeds the network and is no worse than reading between steps."""
    for amx, share in ((False, 1 / 50), (True, 1 / 12)):
        for threads in (1, 2, 8, 16, 28, 56, 112):
            for batch in (1, 4, 8, 32):
                network, loading = split_threads(threads, None, batch, amx)
                if loading:
                    assert loading / share >= network, "starved: crops made in the time of one network pass a core"
                    assert loading / threads <= share * threads / min(batch, threads)
    assert split_threads(4, None) == (4, 0)
    assert split_threads(56, None) == (54, 2)
    assert split_threads(56, None, amx=True) == (49, 7)
    assert split_threads(56, 5) == (51, 5)


def test_worker_processes_give_the_same_batches(city):
    chips = read_fold_chips(city.folds, [city.rgb], [city.masks])
    settings = TrainSettings.checked(QUICK)
    source = CropSource(chips, index_chips(chips, BINS, 3, 1), settings, BINS)
    with CropLoader(source, 4, workers=0, threads=2) as own, CropLoader(source, 4, workers=1, threads=1) as other:
        assert len(own) == 6
        for epoch in (0, 1):
            pairs = list(zip(own.epoch(epoch), other.epoch(epoch), strict=True))
            assert len(pairs) == 6
            for a, b in pairs:
                assert torch.equal(a.images, b.images)
                assert torch.equal(a.targets, b.targets)
                assert a.names == b.names


def test_loader_processes_end_with_a_killed_training(city):
    program = """
import multiprocessing, sys, time
from pathlib import Path
from roadspeed.speedbins import SpeedBins
from roadspeed.train.chips import index_chips, read_fold_chips
from roadspeed.train.crops import CropSource
from roadspeed.train.loader import CropLoader
from roadspeed.train.settings import TrainSettings
if __name__ == "__main__":
    tables = [Path(p) for p in sys.argv[1:]]
    chips, bins = read_fold_chips(tables[0], tables[1:2], tables[2:]), SpeedBins()
    source = CropSource(chips, index_chips(chips, bins, 3, 1), TrainSettings(crop_px=64), bins)
    with CropLoader(source, 2, workers=1, threads=1) as loader:
        next(loader.epoch(0))
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
        time.sleep(300)
"""
    paths = [str(p) for p in (city.folds, city.rgb, city.masks)]
    process = subprocess.Popen([sys.executable, "-c", program, *paths], stdout=subprocess.PIPE, text=True)
    workers = [int(pid) for pid in process.stdout.readline().split()]
    assert len(workers) == 1
    process.kill()
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{workers[0]}/cmdline").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{workers[0]}/cmdline").exists(), "the worker outlives its parent"


def test_scores_worked_by_hand():
    # Channel 0: 2 hit of 3 predicted and 4 true; channel 1: nothing; roads: 6 hit of 6 predicted and 8 true.
    scores = validate.scores_of(0.5, *torch.tensor([[2, 0, 6], [3, 0, 6], [4, 0, 8]]).numpy())
    assert scores.f1[0] == pytest.approx(4 / 7)
    assert scores.iou[0] == pytest.approx(2 / 5)
    assert scores.f1[1] != scores.f1[1]
    assert scores.f1[2] == pytest.approx(12 / 14)
    assert scores.dice == pytest.approx((12 / 14 + 4 / 7) / 2)


def test_a_real_chip_is_learned_through_the_same_code(real_data, tmp_path):
    """A few steps on SpaceNet's Vegas img0 must already bring the loss down a lot."""
    import geopandas
    from rasterio.features import rasterize

    from roadspeed.files import write_table
    from roadspeed.raster import read_raster, write_raster

    folder = real_data / "vegas_img0"
    pixels, grid = read_raster(folder / "RGB-PanSharpen_AOI_2_Vegas_img0.tif", [1, 2, 3])
    roads = geopandas.read_file(folder / "AOI_2_Vegas_img0.geojson").to_crs(32611).buffer(2).to_crs(4326)
    mask = rasterize([(road, 3) for road in roads], (1300, 1300), transform=grid.transform)
    for name in ("a", "b"):
        write_raster(tmp_path / f"{name}.tif", pixels, grid)
        write_raster(tmp_path / f"{name}_mask.tif", mask[None], grid)
    rows = [{"chip_id": n, "rgb": f"{n}.tif", "mask": f"{n}_mask.tif", "fold": f} for f, n in enumerate("ab")]
    for table, column in (("rgb", "rgb"), ("masks", "mask"), ("folds", "fold")):
        cells = [{"chip_id": row["chip_id"], column: row[column]} for row in rows]
        write_table(tmp_path / f"{table}.csv", ["chip_id", column], cells)
    settings = TrainSettings.checked(
        QUICK | {"crop_px": 128, "crops_per_chip": 24, "batch": 4, "epochs": 4, "augment": {"warp_share": 0}}
    )
    paths = [tmp_path / "folds.csv", [tmp_path / "rgb.csv"], [tmp_path / "masks.csv"]]
    train_fold(*paths, 0, Path(tmp_path / "out"), settings, BINS, threads=1)
    rows = read_table(tmp_path / "out" / "metrics.csv")
    assert float(rows[-1]["train_loss"]) < 0.85 * float(rows[0]["train_loss"])
    assert float(rows[-1]["f1_roads"]) > 0.3
