"""Networks on OpenVINO, Intel's inference runtime: exported from the checkpoint once, in floats or quantised.

The export lies in a hidden folder beside the checkpoint, named by the checkpoint's content and, quantised, by the
images it was calibrated on; every job that uses the checkpoint shares it. `model.safetensors` thus has
`.model.openvino/float-….xml` (FP32 weights, which run in FP32 or BF16) and `int8-….xml`, each with a `.bin`.
"""

import contextlib
import io
import logging
import shutil
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from roadspeed.errors import HostError, InputError
from roadspeed.files import file_digest, fingerprint, locked, provenance, write_json
from roadspeed.host.cpus import use_own_cpus
from roadspeed.host.engine import BF16_FLAGS, Engine, cpu_flags, import_nncf, import_openvino
from roadspeed.predict.calibration import stamps, windows
from roadspeed.train.checkpoint import Checkpoint
from roadspeed.train.model import MULTIPLE_PX

log = logging.getLogger(__name__)

RECIPE = 1
"""Number of the way of quantising; a new one makes new exports."""
RANKING_WINDOWS = 4
"""Windows on which the layers' part of the error is measured."""
HURTING_SHARE = 0.1
"""Layers that cause this share of the error of quantisation, or more, stay in floats."""
KEPT_SHAPES = 4
"""Shapes of input whose compiled form is kept, with its memory; cities have one or two."""


def prepare_openvino(
    path: Path, checkpoint: Checkpoint, engine: Engine, images: Sequence[Path], examples: Sequence[torch.Tensor]
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Make a checkpoint ready for inference on OpenVINO, exporting it if nobody has, and warm it up.

    Args:
        path: the checkpoint's file.
        checkpoint: what it holds.
        engine: the engine chosen; its precision decides the export.
        images: images it was trained on, for INT8; without any, an earlier quantised export is taken.
        examples: one input of each shape that will come.

    Returns:
        A function of one tensor (N, bands, H, W) uint8, giving logits (N, C, H, W) FP32.

    Raises:
        InputError: INT8 without images and without an export.
        HostError: the package is missing, or the export cannot be written.
    """
    _take_own_cpus()
    exported = export(path, checkpoint, engine.precision == "int8", images)
    half = engine.precision == "bf16" or (engine.precision == "int8" and not cpu_flags().isdisjoint(BF16_FLAGS))
    # choose_engine has set torch's threads to the job's cores.
    run = Compiled(exported, "bf16" if half else "f32", torch.get_num_threads())
    for example in examples:
        run(example)
    return run


def _take_own_cpus() -> None:
    """Let this thread, and so all of OpenVINO's, run on every core of the job.

    OpenVINO counts the cores that its first caller may use, and its threads inherit them; Intel OpenMP binds that
    caller to one core at the first parallel region. So this region comes first.
    """
    torch.ones(1 << 20).exp_()
    use_own_cpus()


class Compiled:
    """A network compiled for each shape it meets.

    Args:
        path: the exported network.
        precision: of the operators that are not quantised: `bf16` or `f32`.
        threads: cores to use.
    """

    def __init__(self, path: Path, precision: str, threads: int) -> None:
        self._openvino = import_openvino()
        self._core, self._path = self._openvino.Core(), path
        # Threads are not bound by OpenVINO, which numbers cores its own way: they keep to the job's cores, which are
        # as many, and without hyper-threads unless those were asked for.
        self._options = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,
            "INFERENCE_PRECISION_HINT": precision,
        }
        self._requests: OrderedDict[tuple[int, ...], Any] = OrderedDict()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (N, C, H, W) FP32 of an image (N, bands, H, W) uint8."""
        request = self._request(tuple(x.shape))
        result = torch.empty(tuple(request.model_outputs[0].shape))
        # Written by OpenVINO where it stays; the tensor may outlive the next call.
        request.set_output_tensor(self._openvino.Tensor(result.numpy(), shared_memory=True))
        request.infer([np.ascontiguousarray(x.numpy())], share_inputs=True, share_outputs=True)
        return result

    def _request(self, shape: tuple[int, ...]) -> Any:
        if shape in self._requests:
            self._requests.move_to_end(shape)
            return self._requests[shape]
        model = self._core.read_model(self._path)
        model.reshape(list(shape))
        if len(self._requests) == KEPT_SHAPES:
            self._requests.popitem(last=False)
        self._requests[shape] = self._core.compile_model(model, "CPU", self._options).create_infer_request()
        return self._requests[shape]


def export(path: Path, checkpoint: Checkpoint, int8: bool, images: Sequence[Path] = ()) -> Path:
    """Return the exported network of a checkpoint, made first where it is absent.

    Args:
        path: the checkpoint's file.
        checkpoint: what it holds.
        int8: whether it is quantised.
        images: images to calibrate INT8 on; without any, the latest quantised export is taken.

    Raises:
        InputError: INT8 without images and without an export.
        HostError: a package is missing, or the folder cannot be written.
    """
    folder = path.parent / f".{path.stem}.openvino"
    digest = file_digest(path)
    if int8 and not images:
        found = sorted(folder.glob(f"int8-{digest}-*.xml"), key=lambda file: file.stat().st_mtime_ns)
        if found:
            return found[-1]
        raise InputError(
            f"{path}: has not been quantised yet, and there are no images to calibrate on; "
            "give images it was trained on with --calibrate"
        )
    name = f"int8-{digest}-{fingerprint(RECIPE, stamps(images))}" if int8 else f"float-{digest}"
    target = folder / f"{name}.xml"
    if target.is_file():
        return target
    try:
        with locked(folder, f"export of {path.name}"):
            if not target.is_file():
                _remove_others(folder, digest)
                _make(path, checkpoint, target, images if int8 else ())
    except OSError as error:
        raise HostError(
            f"{folder}: cannot be written ({error.strerror}); OpenVINO's form of a network is kept beside its "
            "checkpoint: copy the checkpoint to a folder of yours"
        ) from error
    return target


def calibration_mark(images: Sequence[Path]) -> str:
    """Return what changes when a network would be calibrated on other images, or otherwise."""
    return fingerprint(RECIPE, stamps(images))


def _make(path: Path, checkpoint: Checkpoint, target: Path, images: Sequence[Path]) -> None:
    """Write target (.xml), its weights (.bin) and its record (.json); the .xml comes last, and makes it whole."""
    start = time.perf_counter()
    model = to_openvino(checkpoint)
    bands = checkpoint.model.settings.bands
    if images:
        log.info("%s: quantising on images it was trained on, once; this takes a minute", path)
        model = quantise(model, windows(images, bands))
    making = target.parent / "making"
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir()
    import_openvino().save_model(model, making / target.name, compress_to_fp16=False)
    quantised = sum(node.get_type_name() == "FakeQuantize" for node in model.get_ops())
    record = {"checkpoint": str(path), "fake_quantize": quantised, "calibrated_on": [str(image) for image in images]}
    write_json(target.with_suffix(".json"), provenance(record))
    for suffix in (".bin", ".xml"):
        (making / target.name).with_suffix(suffix).replace(target.with_suffix(suffix))
    making.rmdir()
    log.info("%s: exported to %s in %.0f s", path, target.name, time.perf_counter() - start)


def _remove_others(folder: Path, digest: str) -> None:
    """Remove exports of what the checkpoint's file held before."""
    for file in folder.glob("*-*.*"):
        if f"-{digest}" not in file.name:
            file.unlink(missing_ok=True)


def to_openvino(checkpoint: Checkpoint) -> Any:
    """Convert a network to OpenVINO's form, for any height and width."""
    bands = checkpoint.model.settings.bands
    example = torch.zeros(1, bands, 2 * MULTIPLE_PX, 3 * MULTIPLE_PX, dtype=torch.uint8)
    with warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")
        model = import_openvino().convert_model(checkpoint.model.eval(), example_input=example)
    model.reshape([-1, bands, -1, -1])
    return model


def quantise(model: Any, calibration: Sequence[NDArray[np.uint8]]) -> Any:
    """Quantise a network after training, to INT8 weights and activations; layers that hurt stay in floats.

    Which hurt is measured: the network is quantised whole; then each convolution by itself gets its floats back, and
    the probabilities of a few windows are compared with those of the network in floats.

    Args:
        model: in OpenVINO's form, not quantised.
        calibration: inputs (1, bands, H, W) uint8.
    """
    whole = _quantise(model, calibration, [])
    step = max(1, len(calibration) // RANKING_WINDOWS)
    hurting = layers_that_hurt(model, whole, calibration[::step])
    return _quantise(model, calibration, hurting) if hurting else whole


def layers_that_hurt(model: Any, quantised: Any, windows: Sequence[NDArray[np.uint8]]) -> list[str]:
    """Return the convolutions that cause at least a tenth of the error of quantisation each.

    Args:
        model: the network in floats.
        quantised: the same, quantised.
        windows: inputs (1, bands, H, W) uint8 to measure on.
    """
    exact = _probabilities(model, windows)

    def error(network: Any) -> float:
        return float(np.abs(_probabilities(network, windows) - exact).mean())

    base = error(quantised)
    names = [node.get_friendly_name() for node in model.get_ordered_ops() if node.get_type_name() == "Convolution"]
    gains = {name: 1 - error(_in_floats(quantised, model, name)) / base for name in names}
    hurting = [name for name in names if gains[name] >= HURTING_SHARE]
    log.info(
        "quantisation changes probabilities by %.5f in the mean; %d of %d convolutions stay in floats, gaining %s",
        base,
        len(hurting),
        len(names),
        ", ".join(f"{gains[name]:.0%}" for name in hurting) or "nothing",
    )
    return hurting


def _quantise(model: Any, calibration: Sequence[NDArray[np.uint8]], kept: Sequence[str]) -> Any:
    nncf = import_nncf()
    # NNCF's fast bias correction doubled the error of a trained network here, most of it in one step of the decoder;
    # the slow one gains nothing over none and takes eight times as long.
    plain = nncf.AdvancedQuantizationParameters(disable_bias_correction=True)
    scope = nncf.IgnoredScope(names=list(kept)) if kept else None
    with _quiet():
        return nncf.quantize(
            model.clone(),
            nncf.Dataset(list(calibration)),
            subset_size=len(calibration),
            ignored_scope=scope,
            advanced_parameters=plain,
        )


def _in_floats(quantised: Any, model: Any, name: str) -> Any:
    """Return a copy of a quantised network in which one layer has the weights and inputs it had before."""
    result = quantised.clone()
    layer = next(node for node in result.get_ops() if node.get_friendly_name() == name)
    before = next(node for node in model.get_ops() if node.get_friendly_name() == name)
    _bypass(layer.input(0))
    weights = before.input_value(1).get_node()
    layer.input(1).replace_source_output(import_openvino().op.Constant(weights.data.copy()).output(0))
    return result


def _bypass(place: Any) -> None:
    """Take the quantisation of a layer's input away, or of all parts of a concatenated input."""
    source = place.get_source_output().get_node()
    if source.get_type_name() == "FakeQuantize":
        place.replace_source_output(source.input_value(0))
    elif source.get_type_name() == "Concat":
        for part in source.inputs():
            _bypass(part)


def _probabilities(model: Any, windows: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Return probabilities (windows, C, H, W) of windows of one size, computed in FP32 where nothing is quantised."""
    model = model.clone()
    model.reshape(list(windows[0].shape))
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled = import_openvino().Core().compile_model(model, "CPU", options | {"ENABLE_CPU_PINNING": False})
    logits = np.concatenate([compiled([window])[0] for window in windows])
    return torch.sigmoid_(torch.from_numpy(logits)).numpy()


@contextlib.contextmanager
def _quiet() -> Any:
    """Keep progress bars and remarks off the standard output, which is for results."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
