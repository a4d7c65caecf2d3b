"""The canvas of one chip: polygons and bands of materials, then light, sensor and noise.

Strategy: paint on square pixels of 0.15 m an index of "paints" (a material with a brightness), not colours.
At the end each band is looked up from the index, roughened, mixed and shaded by fields fixed to the ground,
blurred by the sensor's point spread, and sampled at the chip's own pixels. That costs one pass a band however
many things are painted, and needs about 50 bytes a canvas pixel.
"""

import math
from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from roadspeed.acquire.sample.along import ribbon
from roadspeed.acquire.sample.materials import BANDS, MATERIALS
from roadspeed.acquire.sample.noise import field
from roadspeed.acquire.sample.spec import CitySpec

Points = NDArray[np.float64]

CANVAS_M = 0.15
PAD_M = 3.0
"""Canvas beyond the chip, so that blurring sees what lies there."""
SCALES_PX = (2, 4, 12, 40, 160)
"""Feature sizes of the fields of noise in canvas pixels: 0.3, 0.6, 1.8, 6 and 24 m."""
PSF_PX = 1.25
"""Deviation of the sensor's point spread, in canvas pixels."""
SHADOW = (0.46, 0.52, 0.6, 0.64, 0.66, 0.7, 0.74, 0.75)
"""Share of the light that a shadow takes away; the sky still lights it, blue most."""
_SHIFT = 4


class Canvas:
    """An index of paints over one chip. Coordinates are city metres (x east, y south)."""

    def __init__(self, spec: CitySpec, bounds_m: tuple[float, float, float, float]) -> None:
        self.spec = spec
        x0, y0, x1, y1 = bounds_m
        self.x0, self.y0 = math.floor((x0 - PAD_M) / CANVAS_M), math.floor((y0 - PAD_M) / CANVAS_M)
        self.width = math.ceil((x1 + PAD_M) / CANVAS_M) - self.x0
        self.height = math.ceil((y1 + PAD_M) / CANVAS_M) - self.y0
        self.index = np.zeros((self.height, self.width), np.uint16)
        self.shadow = np.zeros((self.height, self.width), np.uint8)
        self.wear = np.zeros((self.height, self.width), np.uint8)
        self._numbers: dict[tuple[object, ...], int] = {}
        self._paints: list[tuple[Sequence[float], ...]] = []

    def paint(
        self,
        name: str,
        gain: float = 1.0,
        other: str | None = None,
        mix: tuple[float, float, float] = (0.0, 0.0, 0.0),
        lean: float = 0.5,
    ) -> int:
        """Return the number of a paint.

        Args:
            name: a material.
            gain: its brightness.
            other: a second material it is mixed with.
            mix: how strongly the mixture follows the fields of 1.8, 6 and 24 m.
            lean: the mean share of the second material.
        """
        key = (name, round(gain, 2), other, mix, lean)
        if key not in self._numbers:
            material, second = MATERIALS[name], MATERIALS[other or name]
            self._paints.append(
                (
                    [r * key[1] for r in material.reflectance],
                    [r * key[1] for r in second.reflectance],
                    material.rough,
                    (*mix, lean),
                    (1.0 if "asphalt" in name else 0.55 if name in ("concrete", "gravel_road") else 0.0,),
                )
            )
            self._numbers[key] = len(self._paints) - 1
        return self._numbers[key]

    def _pixels(self, points: Points) -> NDArray[np.int32]:
        pixels = np.asarray(points) / CANVAS_M - (self.x0, self.y0) - 0.5
        return np.rint(pixels * (1 << _SHIFT)).astype(np.int32)

    def seen(self, points: Points, reach_m: float = 0.0) -> bool:
        """Whether something with these points may touch the canvas."""
        low, high = points.min(axis=0) / CANVAS_M, points.max(axis=0) / CANVAS_M
        reach = reach_m / CANVAS_M
        return bool(
            low[0] <= self.x0 + self.width + reach
            and high[0] >= self.x0 - reach
            and low[1] <= self.y0 + self.height + reach
            and high[1] >= self.y0 - reach
        )

    def fill(self, polygon: Points, paint: int) -> None:
        """Fill one polygon (n, 2)."""
        cv2.fillPoly(self.index, [self._pixels(polygon)], paint, cv2.LINE_8, _SHIFT)

    def band(self, line: Points, width_m: float, paint: int) -> None:
        """Paint a band along a line (n, 2), with round joints and ends."""
        self._band(self.index, line, width_m, paint)

    def _band(self, target: NDArray[np.uint16] | NDArray[np.uint8], line: Points, width_m: float, value: int) -> None:
        thickness = max(1, round(width_m / CANVAS_M))
        cv2.polylines(target, [self._pixels(line)], False, value, thickness, cv2.LINE_8, _SHIFT)

    def deck(self, line: Points, width_m: float, paint: int) -> None:
        """Paint a band along a line with square ends."""
        self.fill(ribbon(line, width_m), paint)

    def wear_band(self, line: Points, width_m: float, strength: int) -> None:
        """Darken a band of a road's surface by traffic; 255 is the strongest."""
        self._band(self.wear, line, width_m, strength)

    def shade(self, polygons: Iterable[Points]) -> None:
        """Put polygons into shadow."""
        for polygon in polygons:
            cv2.fillPoly(self.shadow, [self._pixels(polygon)], 255, cv2.LINE_8, _SHIFT)

    def lit(self, polygon: Points) -> None:
        """Take a polygon out of the shadow: what is painted there stands high."""
        cv2.fillPoly(self.shadow, [self._pixels(polygon)], 0, cv2.LINE_8, _SHIFT)

    def render(self, chip_px: int, bounds_m: tuple[float, float, float, float]) -> NDArray[np.float32]:
        """Return the chip as the sensor sees it, before noise: (8, chip_px, chip_px) float32 digital numbers."""
        look = self.spec.look
        window = (self.x0, self.y0, self.width, self.height)
        base = self.spec.seed * 64 + self.spec.index * 8
        fields = [field(base + k, scale, *window) for k, scale in enumerate(SCALES_PX)]
        first, second, rough, mix, worn = (
            np.array([paint[k] for paint in self._paints], np.float32) for k in range(5)
        )
        index = self.index
        share = mix[:, 3][index]
        for k in range(3):
            if mix[:, k].any():
                share += mix[:, k][index] * fields[k + 2]
        np.clip(share, 0, 1, out=share)
        light = np.ones(index.shape, np.float32)
        for k, noise in enumerate(fields):
            light += rough[:, k][index] * noise
        del fields
        wear = cv2.GaussianBlur(self.wear, (0, 0), 2.2).astype(np.float32) / 255
        light -= 0.16 * worn[:, 0][index] * wear
        np.maximum(light, 0.25, out=light)
        dark = cv2.GaussianBlur(self.shadow, (0, 0), 1.4).astype(np.float32) / 255
        x0, y0, x1, y1 = bounds_m
        step_x, step_y = (x1 - x0) / chip_px / CANVAS_M, (y1 - y0) / chip_px / CANVAS_M
        to_canvas = np.array(
            [
                [step_x, 0, x0 / CANVAS_M - self.x0 - 0.5 + step_x / 2],
                [0, step_y, y0 / CANVAS_M - self.y0 - 0.5 + step_y / 2],
            ]
        )
        out = np.empty((BANDS, chip_px, chip_px), np.float32)
        for band in range(BANDS):
            value = first[:, band][index]
            value += (second - first)[:, band][index] * share
            value *= light
            value *= 1 - np.float32(SHADOW[band]) * dark
            blurred = cv2.GaussianBlur(value, (0, 0), PSF_PX)
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            sampled = cv2.warpAffine(
                blurred, to_canvas, (chip_px, chip_px), flags=flags, borderMode=cv2.BORDER_REPLICATE
            )
            out[band] = sampled * look.gain[band] + look.haze[band]
        return out


def pansharpened(pixels: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.uint16]:
    """Give a clean picture what pan-sharpening and the sensor do to it.

    Colours come from pixels four times as large, sharpness from the panchromatic band; noise grows with the
    root of the signal.

    Args:
        pixels: (8, rows, columns) float32 digital numbers.
        rng: for the noise.

    Returns:
        (8, rows, columns) uint16, 1 to 2047 (11 bits).
    """
    pan = pixels[1:6].mean(axis=0)
    coarse = cv2.GaussianBlur(pan, (0, 0), 1.5)
    detail = pan / np.maximum(coarse, 1)
    noise = rng.standard_normal((2, *pan.shape), np.float32)
    out = np.empty(pixels.shape, np.uint16)
    for band, values in enumerate(pixels):
        sharp = cv2.GaussianBlur(values, (0, 0), 1.5) * detail
        mixed = 0.65 * sharp + 0.35 * values
        grain = noise[0] * 0.8 + np.roll(noise[1], (band * 17, band * 29), (0, 1)) * 0.6
        mixed += grain * (1.5 + 0.22 * np.sqrt(mixed))
        out[band] = np.clip(np.rint(mixed), 1, 2047)
    return out
