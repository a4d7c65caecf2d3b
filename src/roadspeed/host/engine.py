"""The engine a network runs on: Intel's extension (IPEX), stock PyTorch or OpenVINO, in BF16, FP32 or INT8.

IPEX 2.8 is the last release and belongs to one PyTorch version; stock PyTorch ("native") must do without it.
In training both keep FP32 parameters and run the heavy operators in BF16 by autocast, so the state of a
training can be continued on either. OpenVINO, an extra, only infers; `predict.openvino` makes networks ready for it.
"""

import importlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import nn

from roadspeed.errors import ConfigError, HostError

log = logging.getLogger(__name__)

EngineName = Literal["auto", "ipex", "native", "openvino"]
PrecisionName = Literal["auto", "bf16", "fp32", "int8"]
BF16_FLAGS = ("amx_bf16", "avx512_bf16", "avx_ne_convert", "bf16")
"""CPU flags of native BF16 products; the last is Arm's."""
INT8_FLAGS = ("amx_int8", "avx512_vnni", "avx_vnni")
"""CPU flags of native INT8 products."""


@dataclass(frozen=True)
class Engine:
    """A chosen engine: what runs the network, in which precision, and why."""

    name: Literal["ipex", "native", "openvino"]
    precision: Literal["bf16", "fp32", "int8"]
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
        engine: `auto` takes IPEX when it imports, else stock PyTorch; `openvino` can only infer.
        precision: `auto` takes BF16 where the CPU multiplies it natively, else FP32; `int8` is OpenVINO's only.
        threads: cores that the network may use.

    Raises:
        ConfigError: `int8` is demanded of another engine than `openvino`.
        HostError: `ipex` or `openvino` is demanded and cannot be imported.
    """
    if precision == "int8" and engine != "openvino":
        raise ConfigError(f"precision int8 needs engine openvino, found engine {engine}; set both or neither")
    name: Literal["ipex", "native", "openvino"]
    if engine == "openvino":
        name, why = "openvino", f"OpenVINO {import_openvino().__version__.split('-')[0]} as set"
    else:
        problem = "not asked for" if engine == "native" else _ipex_problem()
        if engine == "ipex" and problem:
            raise HostError(f"engine 'ipex' is demanded, but {problem}; install it, or set engine to auto or native")
        name = "native" if problem else "ipex"
        why = f"native PyTorch {torch.__version__} (IPEX: {problem})" if problem else f"IPEX {_version_of_ipex()}"
    flags = cpu_flags()
    found = [flag for flag in (INT8_FLAGS if precision == "int8" else BF16_FLAGS) if flag in flags]
    chosen: Literal["bf16", "fp32", "int8"]
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


def import_openvino() -> Any:
    """Import OpenVINO, which must neither report its use over the network nor find its reporter installed.

    Raises:
        HostError: it is not installed.
    """
    return _import_extra("openvino")


def import_nncf() -> Any:
    """Import NNCF, OpenVINO's quantisation, likewise.

    Raises:
        HostError: it is not installed.
    """
    return _import_extra("nncf")


def _import_extra(name: Literal["openvino", "nncf"]) -> Any:
    # OpenVINO's TBB loads a helper that would bind to another `free` than the preloaded allocator's, and crash.
    os.environ.setdefault("TBB_ENABLE_SANITIZERS", "1")
    # Both packages send events to an analytics server when they are imported, unless this one cannot be.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    logger_class = logging.getLoggerClass()
    try:
        module = importlib.import_module(name)
        logging.getLogger(name).setLevel(logging.ERROR)
        return module
    except (ImportError, OSError) as error:
        raise HostError(
            f"engine 'openvino' needs the package {name}, which cannot be imported ({error}); "
            "install it: pip install 'roadspeed[openvino]'"
        ) from error
    finally:
        logging.setLoggerClass(logger_class)  # NNCF puts its own in place
