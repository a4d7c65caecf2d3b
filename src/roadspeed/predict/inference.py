"""Networks made ready for inference, and probabilities averaged over flips and networks."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from roadspeed.errors import InputError
from roadspeed.host.engine import Engine, prepare_inference
from roadspeed.predict.openvino import prepare_openvino
from roadspeed.speedbins import SpeedBins
from roadspeed.train.checkpoint import Checkpoint, load_checkpoint

log = logging.getLogger(__name__)

SYMMETRIES = {1: (0,), 4: (0, 1, 2, 3), 8: (0, 1, 2, 3, 4, 5, 6, 7)}
"""Views by their number: bit 0 flips rows, bit 1 columns, bit 2 then transposes."""
WARM_SHAPES = 3
"""Shapes run through a network before its first image; cities have one or two."""


def turn(x: torch.Tensor, symmetry: int) -> torch.Tensor:
    """Apply one of the square's eight symmetries to the last two dimensions."""
    if symmetry & 3:
        x = x.flip([dim for bit, dim in ((1, -2), (2, -1)) if symmetry & bit])
    return x.transpose(-1, -2) if symmetry & 4 else x


def turn_back(x: torch.Tensor, symmetry: int) -> torch.Tensor:
    """Undo `turn`."""
    if symmetry & 4:
        x = x.transpose(-1, -2)
    return x.flip([dim for bit, dim in ((1, -2), (2, -1)) if symmetry & bit]) if symmetry & 3 else x


def mean_probability(
    networks: Sequence[Callable[[torch.Tensor], torch.Tensor]], image: torch.Tensor, flips: int
) -> torch.Tensor:
    """Return the mean of the probabilities of all networks in all views; each passes one sigmoid.

    The views go one by one: on a CPU a batch is slower, since its activations leave the caches.

    Args:
        networks: functions from (1, bands, H, W) to logits (1, C, H, W).
        image: (1, bands, H, W).
        flips: 1, 4 or 8.

    Returns:
        (C, H, W) float32 in 0 … 1.
    """
    total: torch.Tensor | None = None
    for symmetry in SYMMETRIES[flips]:
        view = turn(image, symmetry).contiguous(memory_format=torch.channels_last)
        for network in networks:
            probability = turn_back(torch.sigmoid_(network(view).float())[0], symmetry)
            total = probability.clone() if total is None else total.add_(probability)
    assert total is not None
    return total.div_(len(SYMMETRIES[flips]) * len(networks))


@dataclass(frozen=True)
class Network:
    """A checkpoint ready for inference."""

    run: Callable[[torch.Tensor], torch.Tensor]
    fold: int | None
    bands: int
    bins: SpeedBins


class Predictor:
    """Probabilities of images by one or more networks."""

    def __init__(self, networks: Sequence[Network], flips: int) -> None:
        assert networks
        self.networks, self.flips = list(networks), flips
        self.bands, self.bins = networks[0].bands, networks[0].bins

    @property
    def band_names(self) -> list[str]:
        """A name for each band of the result."""
        lower = (0.0, *self.bins.upper_mph)
        bins = [f"over {low:g} to {high:g} mph" for low, high in zip(lower, self.bins.upper_mph, strict=False)]
        return [*bins, "all roads"]

    def scaled(self, image: NDArray[np.uint8], which: Sequence[int] | None = None) -> NDArray[np.float32]:
        """Return probabilities × 255 of an image; pixels without data get 0.

        Args:
            image: (bands, H, W), H and W multiples of 32, 0 in all bands = no data.
            which: places of the networks to use; all by default.

        Returns:
            (C, H, W) float32.
        """
        networks = [network.run for place, network in enumerate(self.networks) if which is None or place in which]
        mean = mean_probability(networks, torch.from_numpy(np.ascontiguousarray(image))[None], self.flips)
        mean *= torch.from_numpy(image.any(0))
        return mean.mul_(255).numpy()

    def probabilities(self, image: NDArray[np.uint8], which: Sequence[int] | None = None) -> NDArray[np.uint8]:
        """Return `scaled`, rounded to uint8."""
        return torch.from_numpy(self.scaled(image, which)).round_().to(torch.uint8).numpy()


def load_networks(
    paths: Sequence[Path],
    engine: Engine,
    shapes: Sequence[tuple[int, int]],
    flips: int,
    calibration: Sequence[Sequence[Path]] = (),
) -> list[Network]:
    """Read checkpoints and make them ready for images of the given heights and widths.

    Args:
        paths: the checkpoints.
        engine: what runs them.
        shapes: heights and widths of the images to come.
        flips: views of each image.
        calibration: for each checkpoint, images that it was trained on; only INT8 asks for them.

    Raises:
        InputError: a checkpoint is missing or unreadable, or they differ in bands or speed bins, or INT8 has nothing
            to calibrate on.
    """
    if not paths:
        raise InputError("no checkpoint given; train a fold first, or give a model.safetensors")
    checkpoints: list[Checkpoint] = [load_checkpoint(path) for path in paths]
    first = checkpoints[0]
    networks = []
    for path, checkpoint, images in zip(paths, checkpoints, calibration or [()] * len(paths), strict=True):
        bands = checkpoint.model.settings.bands
        if bands != first.model.settings.bands or checkpoint.bins != first.bins:
            raise InputError(f"{path}: has other bands or speed bins than {paths[0]}; average networks of one kind")
        examples = [
            torch.zeros(1, bands, *shape, dtype=torch.uint8)
            for shape in _with_transposed(shapes[:WARM_SHAPES], flips)
        ]
        examples = [example.contiguous(memory_format=torch.channels_last) for example in examples]
        if engine.name == "openvino":
            run = prepare_openvino(path, checkpoint, engine, images, examples)
        else:
            run = prepare_inference(engine, checkpoint.model, examples)
        networks.append(Network(run, checkpoint.fold, bands, checkpoint.bins))
    log.info("%d network(s), %d view(s) of each image", len(networks), len(SYMMETRIES[flips]))
    return networks


def _with_transposed(shapes: Sequence[tuple[int, int]], flips: int) -> list[tuple[int, int]]:
    both = [*shapes, *((width, height) for height, width in shapes)] if flips == 8 else shapes
    return list(dict.fromkeys(both))
