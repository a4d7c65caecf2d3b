"""The engine: what is chosen and why, operation without IPEX, BF16 beside FP32."""

import logging
import subprocess
import sys

import pytest
import torch

from roadspeed.errors import HostError
from roadspeed.host import engine as engines
from roadspeed.host.engine import Engine, choose_engine, cpu_flags, prepare_inference
from roadspeed.train.model import ModelSettings, build_model

TINY = ModelSettings(encoder="test_resnet", decoder_channels=(16, 16, 8, 8, 8))


@pytest.fixture(autouse=True)
def _keep_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("flags", "precision"),
    [("fpu avx512f avx512_bf16", "bf16"), ("fpu amx_bf16 amx_tile", "bf16"), ("fpu avx2", "fp32"), ("", "fp32")],
)
def test_precision_follows_the_flags_of_the_cpu(monkeypatch, caplog, tmp_path, flags, precision):
    caplog.set_level(logging.INFO, "roadspeed")
    record = tmp_path / "cpuinfo"
    record.write_text(f"processor\t: 0\nflags\t\t: {flags}\n\nprocessor\t: 1\nflags\t\t: other\n")
    found = cpu_flags(record)
    assert found == frozenset(flags.split())
    monkeypatch.setattr(engines, "cpu_flags", lambda: found)
    chosen = choose_engine("native", "auto", threads=1)
    assert (chosen.name, chosen.precision) == ("native", precision)
    assert chosen.reason in caplog.text
    assert chosen.record() == {"name": "native", "precision": precision, "reason": chosen.reason}
    assert "only emulates" in choose_engine("native", "bf16").reason or precision == "bf16"
    assert choose_engine("native", "fp32").precision == "fp32"


def test_threads_are_set():
    choose_engine("native", "fp32", threads=2)
    assert torch.get_num_threads() == 2


def test_unfitting_ipex_is_refused_without_being_imported(monkeypatch):
    monkeypatch.setattr(engines, "_version_of_ipex", lambda: "1.13.0")
    with pytest.raises(HostError, match=r"1\.13\.0 does not fit torch"):
        choose_engine("ipex")
    chosen = choose_engine("auto")
    assert chosen.name == "native"
    assert "does not fit" in chosen.reason
    monkeypatch.setattr(engines, "_version_of_ipex", lambda: None)
    with pytest.raises(HostError, match="not installed; install it"):
        choose_engine("ipex")


def test_without_ipex_all_works():
    """In a process where IPEX cannot be imported: auto falls back, and inference and a training step run."""
    program = """
import sys
sys.modules["intel_extension_for_pytorch"] = None
import torch
from roadspeed.host.engine import choose_engine, prepare_inference, prepare_training
from roadspeed.train.loop import make_optimizer
from roadspeed.train.model import ModelSettings, build_model
from roadspeed.train.settings import TrainSettings
engine = choose_engine("auto", "bf16", 1)
assert engine.name == "native" and ("cannot be imported" in engine.reason or "not installed" in engine.reason), engine
model = build_model(ModelSettings(encoder="test_resnet", decoder_channels=(16, 16, 8, 8, 8)))
model, optimizer = prepare_training(engine, model, make_optimizer(model, TrainSettings()))
x = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
with engine.autocast():
    loss = model(x).float().square().mean()
loss.backward()
optimizer.step()
print(prepare_inference(engine, model, [x])(x).shape)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "torch.Size([2, 8, 64, 64])" in done.stdout


@pytest.mark.parametrize("name", ["native", "ipex"])
def test_bf16_and_fp32_agree(name):
    if name == "ipex":
        pytest.importorskip("intel_extension_for_pytorch")
    x = torch.randint(0, 255, (1, 3, 96, 128), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    plain = torch.sigmoid(build_model(TINY, seed=1).eval()(x))
    found = {}
    for precision in ("fp32", "bf16"):
        run = prepare_inference(Engine(name, precision, ""), build_model(TINY, seed=1), [x])
        logits = run(x)
        assert logits.dtype == torch.float32
        assert not logits.requires_grad
        found[precision] = torch.sigmoid(logits)
    assert (found["fp32"] - plain).abs().max() < 1e-4
    assert (found["bf16"] - plain).abs().max() < 0.02
    assert (found["bf16"] - plain).abs().mean() < 0.004
    assert not torch.equal(found["bf16"], found["fp32"])
    # Another shape than the one traced works too.
    other = x[..., :64, :96]
    assert run(other).shape == (1, 8, 64, 96)
