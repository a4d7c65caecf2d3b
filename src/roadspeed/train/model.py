"""The network: a U-Net with a timm encoder through segmentation-models-pytorch, normalising its own input."""

import logging
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import segmentation_models_pytorch as smp
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from roadspeed.errors import InputError
from roadspeed.settings import Settings

log = logging.getLogger(__name__)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
RGB_OF_EIGHT = (4, 2, 1)
"""Places, from 0, of red, green and blue among WorldView's eight bands."""
MULTIPLE_PX = 32
"""Height and width of the input must be multiples of this."""
PRIOR = 0.05
"""Share of road that the untrained network predicts: the first steps then need not learn what is rare."""


class ModelSettings(Settings):
    """What must be known to build the network again."""

    encoder: str = "resnet34"
    """timm's name of the encoder."""
    decoder_channels: tuple[int, ...] = (256, 128, 64, 32, 16)
    """Channels of the decoder's steps."""
    decoder_batch_norm: bool = True
    """Batch norm in the decoder."""
    bands: int = 3
    """Bands of the input."""
    outputs: int = 8
    """Channels of the output: one a speed bin, then all roads."""
    mean: tuple[float, ...] = IMAGENET_MEAN
    """Mean of each band, of values scaled to 0 … 1."""
    std: tuple[float, ...] = IMAGENET_STD
    """Standard deviation of each band, likewise."""


class RoadNet(nn.Module):
    """U-Net from pixels to logits.

    Input: (N, bands, H, W), uint8 or float in 0 … 255, H and W multiples of 32. Output: (N, outputs, H, W) logits.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.settings = settings
        self.net = smp.Unet(
            f"tu-{settings.encoder}",
            encoder_weights=None,
            in_channels=settings.bands,
            classes=settings.outputs,
            decoder_channels=settings.decoder_channels,
            decoder_use_norm="batchnorm" if settings.decoder_batch_norm else False,
        )
        self.register_buffer("mean", 255 * torch.tensor(settings.mean).reshape(1, -1, 1, 1), persistent=False)
        self.register_buffer("scale", 1 / (255 * torch.tensor(settings.std)).reshape(1, -1, 1, 1), persistent=False)
        head = self.net.segmentation_head[0]
        nn.init.constant_(head.bias, float(torch.logit(torch.tensor(PRIOR))))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        logits: torch.Tensor = self.net((x.float() - self.mean) * self.scale)
        return logits


def build_model(settings: ModelSettings, weights: str = "random", seed: int = 0) -> RoadNet:
    """Build the network and give it its first weights.

    Args:
        settings: the architecture.
        weights: `random`, `imagenet`, or a file of an encoder's or a whole network's weights.
        seed: of the random weights.

    Raises:
        InputError: the encoder is unknown, or the weights cannot be had or do not fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model = RoadNet(settings)
        except (KeyError, RuntimeError, ValueError, AttributeError) as error:
            raise InputError(
                f"encoder '{settings.encoder}' cannot be built ({_line(error)}); give a timm model with features at "
                "strides 2 to 32, such as resnet34"
            ) from error
    if weights == "random":
        return model
    state = _imagenet_weights(settings.encoder) if weights == "imagenet" else read_weights(Path(weights))
    if any(name.startswith("net.segmentation_head") for name in state):
        _load(model, state, weights)
    else:
        encoder = model.net.encoder.model
        own = encoder.state_dict()
        known = {name: value for name, value in _encoder_names(state).items() if name in own}
        first = next(iter(own))
        if first in known and known[first].shape[1] != settings.bands:
            known[first] = inflate(known[first], settings.bands)
        _load(encoder, known, weights)
    log.info("weights: %s (%d tensors)", weights, len(state))
    return model


def inflate(weight: torch.Tensor, bands: int) -> torch.Tensor:
    """Widen the first layer's weights from RGB to more bands, keeping the size of its output.

    Args:
        weight: (filters, 3, h, w) of a network for RGB.
        bands: bands wanted. Of eight, WorldView's red, green and blue take their own weights, others the mean.

    Returns:
        (filters, bands, h, w), scaled by 3 / bands.
    """
    wide = weight.mean(1, keepdim=True).repeat(1, bands, 1, 1)
    places = RGB_OF_EIGHT if bands == 8 else tuple(range(min(bands, 3)))
    for source, place in enumerate(places):
        wide[:, place] = weight[:, source]
    return wide * (weight.shape[1] / bands)


def normalisation(bands: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return ImageNet's mean and deviation for each band; bands that are not red, green or blue get the average."""
    if bands == 3:
        return IMAGENET_MEAN, IMAGENET_STD
    mean, std = [sum(IMAGENET_MEAN) / 3] * bands, [sum(IMAGENET_STD) / 3] * bands
    for source, place in enumerate(RGB_OF_EIGHT if bands == 8 else range(min(bands, 3))):
        mean[place], std[place] = IMAGENET_MEAN[source], IMAGENET_STD[source]
    return tuple(mean), tuple(std)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read a state dict from safetensors, or from PyTorch's format without unpickling anything but tensors.

    Raises:
        InputError: the file is missing or is neither.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file of weights; give a file, 'imagenet' or 'random'")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, UnpicklingError, RuntimeError, OSError, EOFError, ValueError, LookupError) as error:
        raise InputError(
            f"{path}: not readable weights ({_line(error)}); expected safetensors or a state dict"
        ) from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(f"{path}: holds no state dict; expected names with tensors")
    return dict(state)


def _imagenet_weights(encoder: str) -> dict[str, torch.Tensor]:
    import timm

    try:
        return timm.create_model(encoder, pretrained=True).state_dict()
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"ImageNet weights of {encoder} cannot be fetched ({_line(error)}); set weights to a local file of them, "
            "or to 'random'"
        ) from error


def _encoder_names(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Strip the prefixes under which encoders are commonly stored."""
    result = {}
    for name, value in state.items():
        for prefix in ("module.", "net.", "encoder.", "model."):
            name = name.removeprefix(prefix)
        result[name] = value
    return result


def _load(module: nn.Module, state: Mapping[str, torch.Tensor], source: str) -> None:
    try:
        missing, unexpected = module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise InputError(f"{source}: weights do not fit the network ({_line(error)})") from error
    if missing or unexpected:
        raise InputError(
            f"{source}: weights do not fit the network: {len(missing)} missing such as {missing[:2]}, "
            f"{len(unexpected)} unknown such as {unexpected[:2]}; is it another encoder?"
        )


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
