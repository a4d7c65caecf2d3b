"""Training in two processes: the steps of one process, the same files, the same end of all."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.toy_city import QUICK_TRAINING, make_toy_city, metrics

SCRIPT = Path(__file__).resolve().parents[2] / "workflow" / "scripts" / "train.py"
QUICK = QUICK_TRAINING | {
    "epochs": 2,
}
STEPS = """
import sys
from pathlib import Path
from roadspeed.host.ranks import enter_ranks
from roadspeed.logs import run_main

def work():
    rank, code = enter_ranks(2, int(sys.argv[1]), most=8)
    if code is not None:
        return code
    import torch
    from roadspeed.host.engine import Engine
    from roadspeed.train.checkpoint import save_tensors
    from roadspeed.train.loader import Batch
    from roadspeed.train.loop import Trainer
    from roadspeed.train.losses import RoadLoss
    from roadspeed.train.model import ModelSettings, build_model
    from roadspeed.train.ranks import joined
    from roadspeed.train.settings import TrainSettings

    torch.set_num_threads(1)
    settings = TrainSettings(accumulate=2, clip_norm=0.5)
    network = ModelSettings(encoder="test_resnet", decoder_channels=(16, 16, 8, 8, 8))
    dice = torch.Generator().manual_seed(0)
    images = torch.randint(0, 255, (6, 3, 3, 64, 64), dtype=torch.uint8, generator=dice)
    targets = 255 * (torch.rand((6, 3, 8, 64, 64), generator=dice) > 0.8).to(torch.uint8)
    with joined(rank) as ranks:
        model = build_model(network, seed=1)
        trainer = Trainer(model, RoadLoss(settings.loss, 8), settings, Engine("native", "fp32", ""), ranks)
        trainer.model.eval()  # batch norm's statistics are each process's own: all else must be the same
        part = ranks.part(3, least=1)
        losses = [
            trainer.train_batch(Batch(i[part], t[part], ("crop",)), lambda step: 1e-2)
            for i, t in zip(images, targets, strict=True)
        ]
        state = trainer.model.state_dict() | {"losses": torch.tensor(losses)}
        save_tensors(Path(f"{sys.argv[2]}-{rank.number}.safetensors"), state, {})

sys.exit(run_main(work))
"""


def environ() -> dict[str, str]:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("two processes need two cores")
    return {key: value for key, value in os.environ.items() if key != "ROADSPEED_CPUS"}


def test_two_processes_take_the_steps_of_one(tmp_path):
    """Six batches of three crops, shared two to one, two batches a step."""
    runs = [
        subprocess.Popen([sys.executable, "-c", STEPS, str(count), str(tmp_path / str(count))], env=environ())
        for count in (1, 2)
    ]
    assert [run.wait(timeout=120) for run in runs] == [0, 0]
    alone, first, second = (load_file(tmp_path / f"{name}.safetensors") for name in ("1-0", "2-0", "2-1"))
    assert all(torch.equal(first[name], value) for name, value in second.items())
    assert torch.allclose(first["losses"], alone["losses"], rtol=1e-4)
    assert alone["losses"][-1] < 0.98 * alone["losses"][0], "the case must learn"
    for name, value in alone.items():
        assert torch.allclose(first[name], value, rtol=1e-3, atol=2e-4), name


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    return make_toy_city(tmp_path_factory.mktemp("toy"))


def start(city, folder, *launcher, **values):
    command = [
        *(*(launcher or (sys.executable,)), str(SCRIPT), "--fold", "0", "--threads", "2"),
        *("--folds", str(city.folds), "--rgb", str(city.rgb), "--masks", str(city.masks)),
        *("--settings", json.dumps(QUICK | {"processes": 2} | values), "--out", str(folder / "model.safetensors")),
    ]
    return subprocess.Popen(command, env=environ(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def train(city, folder, *launcher, **values):
    process = start(city, folder, *launcher, **values)
    err = process.communicate(timeout=200)[1]
    assert process.returncode == 0, err
    return err


@pytest.fixture(scope="module")
def two(city, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    err = train(city, folder)
    assert err.count("epoch 1 of 2: loss") == 1, "one process tells"
    return folder


def test_two_processes_write_what_one_does(city, two, tmp_path):
    train(city, tmp_path, processes=1)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in two.iterdir()}
    assert json.loads((two / "model.json").read_text())["processes"] == 2
    for ours, theirs in zip(metrics(two), metrics(tmp_path), strict=True):
        assert ours.keys() == theirs.keys()
        for name in ("train_loss", "val_loss"):
            assert float(ours[name]) == pytest.approx(float(theirs[name]), rel=0.05)
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (two, tmp_path))
    assert {name: value.shape for name, value in ours.items()} == {k: v.shape for k, v in theirs.items()}


def _children(pid):
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_killed_parent_leaves_nothing_and_the_next_run_goes_on(city, two, tmp_path):
    process = start(city, tmp_path)
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("last.safetensors")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    ranks = _children(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert len(ranks) == 2
    while any(Path(f"/proc/{pid}/cmdline").exists() for pid in ranks) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(Path(f"/proc/{pid}/cmdline").exists() for pid in ranks)
    assert not (tmp_path / "model.safetensors").exists()
    assert "going on after epoch 1 of 2" in train(city, tmp_path)
    assert metrics(tmp_path) == metrics(two)
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (tmp_path, two))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_torchrun_starts_the_script_too(city, two, tmp_path):
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    train(city, tmp_path, *torchrun, processes="auto")
    assert metrics(tmp_path) == metrics(two)
    assert json.loads((tmp_path / "model.json").read_text())["processes"] == 2


def test_failure_of_one_process_is_one_line(tmp_path):
    """The second process validates on the second chip, whose pixels cannot be read."""
    city = make_toy_city(tmp_path)
    broken = tmp_path / "rgb" / "AOI_9_Toy_chip3.tif"
    broken.write_bytes(broken.read_bytes()[:2000])
    process = start(city, tmp_path / "out")
    err = process.communicate(timeout=200)[1]
    assert process.returncode == 2, err
    errors = [line for line in err.splitlines() if "error" in line.lower()]
    assert len(errors) == 1, err
    assert errors[0].startswith("roadspeed: error: ")
    assert "AOI_9_Toy_chip3.tif" in errors[0]
    assert "Traceback" not in err
