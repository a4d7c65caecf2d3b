"""Checkpoints: finished networks, and the state from which an interrupted training goes on. No pickles."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from roadspeed.errors import ConfigError, InputError
from roadspeed.files import atomic
from roadspeed.speedbins import SpeedBins
from roadspeed.train.model import ModelSettings, RoadNet, build_model

log = logging.getLogger(__name__)

METADATA_KEY = "roadspeed"


@dataclass(frozen=True)
class Checkpoint:
    """A finished network with what is needed to use it."""

    model: RoadNet
    bins: SpeedBins
    fold: int | None
    """The fold whose chips it was validated on, not trained on."""
    record: dict[str, Any]


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], record: Mapping[str, object]) -> None:
    """Write named tensors with a JSON record in the file's header, atomically."""
    plain = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    with atomic(path) as temporary:
        save_file(plain, temporary, {METADATA_KEY: json.dumps(record)})


def read_record(path: Path) -> dict[str, Any]:
    """Return the JSON record of a file written by `save_tensors`, without reading the tensors.

    Raises:
        InputError: the file is missing, damaged, or was written by something else.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint; expected a model.safetensors that training wrote")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        record: dict[str, Any] = json.loads(metadata[METADATA_KEY])
        return record
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not a readable checkpoint ({error}); expected safetensors") from error
    except KeyError as error:
        raise InputError(
            f"{path}: safetensors without roadspeed's settings; give a checkpoint that it trained"
        ) from error


def save_checkpoint(
    path: Path, weights: Mapping[str, torch.Tensor], model: ModelSettings, bins: SpeedBins, fold: int
) -> None:
    """Write a finished network: weights, architecture, normalisation, bins and fold in one file."""
    record = {"model": model.model_dump(mode="json"), "bins": bins.model_dump(mode="json"), "fold": fold}
    save_tensors(path, weights, record)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a finished network.

    Raises:
        InputError: the file is missing, damaged, or no checkpoint of roadspeed.
    """
    record = read_record(path)
    try:
        settings, bins = ModelSettings.checked(record["model"]), SpeedBins.checked(record["bins"])
        model = build_model(settings)
        model.load_state_dict(load_file(path))
    except (KeyError, ConfigError, RuntimeError, SafetensorError) as error:
        line = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: not a checkpoint of this version of roadspeed ({line}); train it again") from error
    return Checkpoint(model.eval(), bins, record.get("fold"), record)


class TrainingState:
    """Model, running mean and optimizer, to and from one file of tensors."""

    def __init__(self, model: nn.Module, ema: nn.Module | None, optimizer: torch.optim.Optimizer) -> None:
        self.model, self.ema, self.optimizer = model, ema, optimizer

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return all tensors by name, as they are in use: what is written into them takes effect."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        if self.ema is not None:
            tensors |= {f"ema.{name}": tensor for name, tensor in self.ema.state_dict().items()}
        for number, values in self.optimizer.state_dict()["state"].items():
            for name, value in values.items():
                tensors[f"optimizer.{number}.{name}"] = torch.as_tensor(value)
        return tensors

    def save(self, path: Path, record: Mapping[str, object]) -> None:
        """Write all tensors and the record of the training so far."""
        save_tensors(path, self.tensors(), record)

    def load(self, path: Path) -> dict[str, Any]:
        """Put the tensors of a file back and return its record."""
        record = read_record(path)
        parts: dict[str, dict[str, torch.Tensor]] = {"model": {}, "ema": {}, "optimizer": {}}
        for name, tensor in load_file(path).items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        self.model.load_state_dict(parts["model"])
        if self.ema is not None:
            self.ema.load_state_dict(parts["ema"])
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in parts["optimizer"].items():
            number, _, key = name.partition(".")
            parameter = parameters[int(number)]
            if tensor.shape == parameter.shape:
                # In the parameter's own order of memory: fused optimizers walk both as flat arrays.
                tensor = torch.empty_like(parameter, dtype=tensor.dtype, requires_grad=False).copy_(tensor)
            state.setdefault(int(number), {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        return record
