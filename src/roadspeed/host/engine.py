"""The engine a network runs on: Intel's extension (IPEX) or stock PyTorch, in BF16 or FP32.

IPEX 2.8 is the last release and belongs to one PyTorch version; stock PyTorch ("native") must do without it.
In training both keep FP32 parameters and run the heavy operators in BF16 by autocast, so the state of a
training can be continued on either.
"""

import logging
import warnings
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import nn

from roadspeed.errors import HostError

log = logging.getLogger(__name__)

EngineName = Literal["auto", "ipex", "native"]
PrecisionName = Literal["auto", "bf16", "fp32"]
BF16_FLAGS = ("amx_bf16", "avx512_bf16", "avx_ne_convert", "bf16")
"""CPU flags of native BF16 products; the last is Arm's."""


@dataclass(frozen=True)
class Engine:
    """A chosen engine: what runs the network, in which precision, and why."""

    name: Literal["ipex", "native"]
    precision: Literal["bf16", "fp32"]
    reason: str

    def record(self) -> dict[str, str]:
        """Return the choice as plain values for the record beside a result."""
        return asdict(self)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the heavy operators."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def autocast(self) -> torch.autocast:
        """Return the context in which the network's forward pass runs."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16")


def choose_engine(engine: EngineName = "auto", precision: PrecisionName = "auto", threads: int = 1) -> Engine:
    """Choose engine and precision for this computer, set torch's threads, and log the choice with its reason.

    Args:
        engine: `auto` takes IPEX when it imports, else stock PyTorch.
        precision: `auto` takes BF16 where the CPU multiplies it natively, else FP32.
        threads: cores that the network may use.

    Raises:
        HostError: `ipex` is demanded and cannot be imported.
    """
    problem = "not asked for" if engine == "native" else _ipex_problem()
    if engine == "ipex" and problem:
        raise HostError(f"engine 'ipex' is demanded, but {problem}; install it, or set engine to auto or native")
    name: Literal["ipex", "native"] = "native" if problem else "ipex"
    why = f"native PyTorch {torch.__version__} (IPEX: {problem})" if problem else f"IPEX {_version_of_ipex()}"
    flags = cpu_flags()
    found = [flag for flag in BF16_FLAGS if flag in flags]
    chosen: Literal["bf16", "fp32"]
    if precision == "auto":
        chosen = "bf16" if found else "fp32"
        why += f"; {chosen}: CPU has {found[0]}" if found else "; fp32: this CPU has no BF16 instructions"
    else:
        chosen = precision
        why += f"; {chosen} as set" + ("" if found or chosen == "fp32" else ", which this CPU only emulates: slow")
    torch.set_num_threads(max(1, threads))
    result = Engine(name, chosen, why)
    log.info("engine %s on %d threads", why, max(1, threads))
    return result


def cpu_flags(path: Path | str = "/proc/cpuinfo") -> frozenset[str]:
    """Return the instruction-set flags of the first CPU; empty where the system does not tell."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip().lower() in ("flags", "features"):
            return frozenset(value.split())
    return frozenset()


def channels_last(model: nn.Module) -> nn.Module:
    """Order a model's weights in memory as oneDNN likes them, in place; return the model."""
    cast(Any, model).to(memory_format=torch.channels_last)
    return model


def prepare_training(
    engine: Engine, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Put a model and its optimizer on the engine, in channels-last order; parameters stay FP32.

    IPEX's weight prepacking is left out: measured without gain in training, and its blocked weights would
    have to be unpacked for each average and checkpoint.
    """
    model = channels_last(model)
    if engine.name == "ipex":
        ipex = _import_ipex()
        model, optimizer = ipex.optimize(
            model.train(), dtype=torch.float32, optimizer=optimizer, weights_prepack=False, inplace=True
        )
    return model, optimizer


def prepare_inference(
    engine: Engine, model: nn.Module, examples: Iterable[torch.Tensor]
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Turn a model into the engine's fastest inference form: traced, frozen and warmed up.

    Tracing a ResNet34-U-Net takes a second; `torch.compile` gives the same speed after twenty.

    Args:
        engine: the engine.
        model: takes and gives tensors (N, C, H, W); it is changed (weights packed, layers merged).
        examples: one input of each shape that will come; the first is traced, all are run once.

    Returns:
        A function of one tensor, giving FP32; it builds no gradients.
    """
    model = channels_last(model.eval())
    examples = list(examples)
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if engine.name == "ipex":
            model = _import_ipex().optimize(model, dtype=engine.dtype, inplace=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=engine.precision == "bf16", cache_enabled=False):
            traced = torch.jit.freeze(torch.jit.trace(model, examples[0], check_trace=False))
        for example in examples:
            for _ in range(2):  # the profiling executor fuses in the second run
                traced(example)

    def run(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            result: torch.Tensor = traced(x)
            return result.float()

    return run


def _version_of_ipex() -> str | None:
    try:
        return metadata.version("intel-extension-for-pytorch")
    except metadata.PackageNotFoundError:
        return None


def _ipex_problem() -> str:
    """Say why IPEX cannot be used; empty when it can. A wrong version would end the process in its import."""
    version = _version_of_ipex()
    if version is None:
        return "not installed"
    if version.split(".")[:2] != torch.__version__.split(".")[:2]:
        return f"version {version} does not fit torch {torch.__version__}"
    try:
        _import_ipex()
    except (ImportError, OSError, RuntimeError) as error:
        return f"cannot be imported ({error})"
    return ""


def _import_ipex() -> Any:
    """Import IPEX without its remarks on CUDA and itself, and its logger class."""
    for name in ("torch.utils.cpp_extension", "IPEX"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logger_class = logging.getLoggerClass()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import intel_extension_for_pytorch
    logging.setLoggerClass(logger_class)
    return intel_extension_for_pytorch
