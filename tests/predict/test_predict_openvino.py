"""OpenVINO: beside PyTorch, exported and quantised once, on the job's own cores, refused where it must be."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from tests.toy_city import make_toy_city, save_network

from roadspeed.cli import main
from roadspeed.errors import ConfigError, HostError, InputError
from roadspeed.files import read_table
from roadspeed.host.engine import Engine, choose_engine
from roadspeed.predict.calibration import training_images, windows
from roadspeed.predict.inference import load_networks
from roadspeed.predict.settings import PredictSettings
from roadspeed.predict.shard import predict_shard
from roadspeed.raster import read_raster
from roadspeed.train.checkpoint import load_checkpoint
from roadspeed.train.settings import TrainSettings

INT8 = PredictSettings(engine="openvino", precision="int8", flips=1)


@pytest.fixture(scope="module")
def openvino():
    """OpenVINO, imported as roadspeed does it; the test is skipped where it is not installed."""
    pytest.importorskip("nncf", reason="the extra roadspeed[openvino] is not installed")
    from roadspeed.host.engine import import_openvino

    return import_openvino()


@pytest.fixture(autouse=True)
def _keep_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    return make_toy_city(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def quantised(openvino, city, tmp_path_factory):
    """A network quantised by the prediction of a shard: its file, and the folder of the prediction."""
    folder = tmp_path_factory.mktemp("quantised")
    model = save_network(folder / "model.safetensors")
    run = [city.rgb, city.chips, [model], city.folds, 0, 1, folder / "out", INT8]
    predict_shard(*run, threads=1, calibration=[city.rgb])
    return model, folder / "out"


def exports(model, kind="*"):
    return sorted((model.parent / f".{model.stem}.openvino").glob(f"{kind}.xml"))


def probabilities(model, engine, x, images=()):
    return torch.sigmoid(load_networks([model], engine, [x.shape[2:]], 1, [images])[0].run(x))


def test_probabilities_agree_with_pytorch(openvino, quantised, city):
    model, _ = quantised
    image = windows([city.rgb.parent / "rgb" / "AOI_9_Toy_chip0.tif"], 3)[0]
    x = torch.from_numpy(image)[..., :96].contiguous()
    exact = torch.sigmoid(load_checkpoint(model).model(x)).detach()
    found = {name: probabilities(model, Engine("openvino", name, ""), x) for name in ("fp32", "bf16", "int8")}
    worst = {name: float((value - exact).abs().max()) for name, value in found.items()}
    mean = {name: float((value - exact).abs().mean()) for name, value in found.items()}
    assert found["fp32"].shape == (1, 8, 128, 96)
    assert found["fp32"].dtype == torch.float32
    assert worst["fp32"] < 1e-4
    assert worst["bf16"] < 0.02
    assert mean["bf16"] < 0.004
    assert worst["int8"] < 0.15
    assert mean["int8"] < 0.02
    assert mean["int8"] > mean["fp32"]


def test_a_result_outlives_the_next_call_and_shapes_may_change(openvino, quantised):
    model, _ = quantised
    network = load_networks([model], Engine("openvino", "fp32", ""), [(64, 64)], 1)[0]
    x = torch.randint(0, 255, (1, 3, 64, 64), dtype=torch.uint8)
    first = network.run(x)
    kept = first.clone()
    for side in (32, 96, 128, 160, 192):
        assert network.run(torch.zeros(1, 3, side, 64, dtype=torch.uint8)).shape == (1, 8, side, 64)
    network.run(255 - x)
    assert torch.equal(first, kept)
    assert torch.equal(network.run(x.contiguous(memory_format=torch.channels_last)), kept)


def test_int8_is_quantised_and_the_shard_says_what_ran(openvino, quantised, city):
    model, out = quantised
    (exported,) = exports(model, "int8-*")
    types = [node.get_type_name() for node in openvino.Core().read_model(exported).get_ops()]
    assert types.count("FakeQuantize") > types.count("Convolution") // 2
    assert exported.with_suffix(".bin").stat().st_size < 0.4 * model.stat().st_size
    record = json.loads(exported.with_suffix(".json").read_text())
    # Chips 0 and 3 are of the fold that validated the network: it must not be calibrated on them.
    assert {path[-5] for path in record["settings"]["calibrated_on"]} == set("1245")
    assert "nncf" in record["versions"]
    engine = json.loads((out / "shard0.json").read_text())["engine"]
    assert (engine["name"], engine["precision"]) == ("openvino", "int8")
    assert "OpenVINO" in engine["reason"]
    assert [row["role"] for row in read_table(out / "shard0.csv")] == ["validation", "train", "train"] * 2
    pixels, _ = read_raster(out / "prob" / "AOI_9_Toy_chip0.tif")
    assert pixels.shape == (8, 128, 128)
    assert pixels.std() > 0


def test_an_export_is_used_again_and_made_anew_for_another_network(openvino, quantised, city, tmp_path):
    model, _ = quantised
    moved = tmp_path / "model.safetensors"
    moved.write_bytes(model.read_bytes())
    engine = Engine("openvino", "int8", "")
    x = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    with pytest.raises(InputError, match="no images to calibrate on"):
        probabilities(moved, engine, x)
    images = training_images(
        city.folds, {f"AOI_9_Toy_chip{n}": city.rgb.parent / f"rgb/AOI_9_Toy_chip{n}.tif" for n in range(6)}, 0
    )
    first = probabilities(moved, engine, x, images)
    (made,) = exports(moved)
    # The same images and network give the same file, byte by byte.
    assert made.name == exports(model, "int8-*")[0].name
    assert made.with_suffix(".bin").read_bytes() == exports(model, "int8-*")[0].with_suffix(".bin").read_bytes()
    before = made.stat().st_mtime_ns
    assert torch.equal(probabilities(moved, engine, x, images), first)
    assert torch.equal(probabilities(moved, engine, x), first)
    assert made.stat().st_mtime_ns == before
    save_network(moved, seed=2)
    probabilities(moved, Engine("openvino", "fp32", ""), x)
    assert [path.name[:6] for path in exports(moved)] == ["float-"]
    assert not made.exists()
    assert not made.with_suffix(".bin").exists()


def test_finished_chips_are_kept_until_the_calibration_changes(openvino, quantised, city, caplog):
    model, out = quantised
    caplog.set_level("INFO", "roadspeed")
    run = [city.rgb, city.chips, [model], city.folds, 0, 1, out, INT8]
    predict_shard(*run, threads=1, calibration=[city.rgb])
    assert "6 of 6 chips are predicted already" in caplog.text
    image = city.rgb.parent / "rgb" / "AOI_9_Toy_chip5.tif"
    os.utime(image, (1, 1))
    caplog.clear()
    predict_shard(*run, threads=1, calibration=[city.rgb])
    assert "6 chips are predicted afresh" in caplog.text


def test_it_stays_on_its_cores_beside_a_preloaded_allocator(openvino, city, tmp_path):
    """As the launcher starts it: some cores, Intel OpenMP and tcmalloc preloaded where they are installed.

    OpenMP binds its main thread to one core; OpenVINO's threads, started from it, must have them all.
    """
    model = save_network(tmp_path / "model.safetensors")
    threads = min(2, len(os.sched_getaffinity(0)))
    images = f"[Path({str(city.rgb.parent / 'rgb' / 'AOI_9_Toy_chip1.tif')!r})]"
    program = f"""
import os, torch
from pathlib import Path
from roadspeed.host.cpus import own_cpus
from roadspeed.host.engine import choose_engine
from roadspeed.predict.inference import load_networks
engine = choose_engine("openvino", "int8", {threads})
run = load_networks([Path({str(model)!r})], engine, [(64, 64)], 1, [{images}])[0].run
print(run(torch.zeros(1, 3, 64, 64, dtype=torch.uint8)).shape)
masks = [os.sched_getaffinity(int(task)) for task in os.listdir("/proc/self/task")]
leased = set(own_cpus())
# Only OpenMP's further threads may be bound to a core.
print(len(leased), all(mask <= leased for mask in masks), sum(mask != leased for mask in masks) < {threads})
"""
    pin = [sys.executable, "-m", "roadspeed", "pin", "--threads", str(threads), "--"]
    done = subprocess.run([*pin, sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["torch.Size([1, 8, 64, 64])", f"{threads} True True"]


def test_the_command_runs_it(openvino, quantised, city, tmp_path):
    model, _ = quantised
    image = city.rgb.parent / "rgb" / "AOI_9_Toy_chip1.tif"
    options = ["--engine", "openvino", "--precision", "int8", "--threads", "1", "--flips", "1"]
    assert main(["predict", str(image), "--checkpoint", str(model), *options, "-o", str(tmp_path / "a")]) == 0
    found, _ = read_raster(tmp_path / "a" / image.name)
    assert found.shape == (8, 128, 128)
    other = save_network(tmp_path / "other.safetensors", seed=5)
    command = ["predict", str(image), "--checkpoint", str(other), *options, "-o", str(tmp_path / "b")]
    assert main(command) == 2
    assert main([*command, "--calibrate", str(image)]) == 0


@pytest.mark.parametrize("name", ["openvino", "nncf"])
def test_a_missing_package_is_named_with_what_installs_it(monkeypatch, city, tmp_path, name):
    if name == "nncf":
        pytest.importorskip("openvino", reason="the extra roadspeed[openvino] is not installed")
    monkeypatch.setitem(sys.modules, name, None)
    model = save_network(tmp_path / "model.safetensors")
    run = [city.rgb, city.chips, [model], city.folds, 0, 1, tmp_path / "out", INT8]
    with pytest.raises(HostError, match=rf"{name}.*pip install 'roadspeed\[openvino\]'") as error:
        predict_shard(*run, threads=1, calibration=[city.rgb])
    assert "\n" not in str(error.value)


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="int8 needs engine openvino"):
        PredictSettings.checked({"precision": "int8"})
    with pytest.raises(ConfigError, match="int8 needs engine openvino"):
        choose_engine("auto", "int8")
    with pytest.raises(ConfigError, match="openvino only infers; training takes auto, ipex or native"):
        TrainSettings.checked({"engine": "openvino"})


def test_calibration_windows_are_full_of_data_and_always_the_same(city):
    images = [city.rgb.parent / "rgb" / f"AOI_9_Toy_chip{n}.tif" for n in range(3)]
    found, again = windows(images, 3), windows(images, 3)
    assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))
    assert {window.shape for window in found} == {(1, 3, 128, 128)}
    assert len(found) == 64
