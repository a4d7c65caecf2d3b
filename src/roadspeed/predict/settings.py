"""Settings of the predict stage."""

from typing import Literal, Self

from pydantic import Field, model_validator

from roadspeed.settings import Settings


class PredictSettings(Settings):
    """Settings of turning images into probabilities."""

    engine: Literal["auto", "ipex", "native", "openvino"] = "auto"
    """What runs the network: IPEX, stock PyTorch, or IPEX where it imports; `openvino` is an extra to install."""
    precision: Literal["auto", "bf16", "fp32", "int8"] = "auto"
    """Precision of the heavy operators; `auto` is BF16 where the CPU multiplies it natively. `int8` needs engine
    openvino: the network is quantised once, on images it was trained on."""
    flips: Literal[1, 4, 8] = 4
    """Views of each image whose probabilities are averaged: as it is, with both flips, and with transposes."""
    context_px: int = Field(default=6, ge=0, le=512)
    """Least border taken from neighbouring chips (reflected where there is none). A chip with its border is filled
    up to a multiple of 32: 6 makes 1312 of SpaceNet's 1300."""
    window_px: int = Field(default=1024, ge=64, multiple_of=32)
    """Side of the windows in which images larger than `whole_px` are worked through."""
    overlap_px: int = Field(default=128, ge=0)
    """Overlap of neighbouring windows, in which their probabilities fade into each other."""
    whole_px: int = Field(default=1536, ge=64)
    """Largest side of an image that goes through the network in one piece."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.precision == "int8" and self.engine != "openvino":
            raise ValueError(f"precision int8 needs engine openvino, found engine {self.engine}")
        if self.overlap_px > self.window_px // 2:
            raise ValueError(f"overlap_px {self.overlap_px} is above half of window_px {self.window_px}")
        return self
