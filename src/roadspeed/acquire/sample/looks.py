"""What makes one sample city look unlike another: place, sun, sensor, soil, plants, roofs, street patterns."""

from dataclasses import dataclass, replace

import numpy as np

PIXEL_DEG = 2.7e-6
"""Pixel of SpaceNet's pan-sharpened chips in degrees, in longitude as in latitude: 0.3 m northwards."""


@dataclass(frozen=True)
class Look:
    """A city's looks. Angles in degrees; sun and lean azimuths clockwise from north."""

    aoi: int
    name: str
    lat: float
    """Latitude of the grid's north-west corner, degrees north."""
    lon: float
    rotation_deg: float
    """Turn of the street grid."""
    wobble_m: float
    """How far arterial roads swing to either side."""
    block_m: float
    """Spacing of residential streets."""
    kinds: tuple[str, ...]
    """Patterns of the superblocks, from the centre outwards; then drawn at random from the same list."""
    unpaved: float
    """Share of residential streets without asphalt."""
    house_share: float
    """Share of lots that are built on."""
    tree_density: float
    """Trees of a garden, relative."""
    sun_azimuth: float
    sun_elevation: float
    lean_azimuth: float
    """Where roofs lean, because the sensor looks from aside."""
    lean: float
    """Lean in metres a metre of height."""
    ground: tuple[str, str]
    """The two materials that open ground is mixed from."""
    grass: tuple[str, str]
    tree: tuple[str, str]
    roofs: tuple[tuple[str, float], ...]
    """Roof materials and their weights."""
    gain: tuple[float, ...]
    """Digital numbers for reflectance 1, eight bands."""
    haze: tuple[float, ...]
    """Digital numbers added by the air, eight bands."""
    asphalt: float
    """Brightness of asphalt relative to the standard."""
    river: bool = False
    along_border: bool = False
    """Whether one arterial road runs along a border between chips."""


_GAIN = (1900.0, 2150.0, 2400.0, 2500.0, 2600.0, 2500.0, 2450.0, 2300.0)
_HAZE = (210.0, 165.0, 115.0, 85.0, 62.0, 50.0, 38.0, 30.0)


def _times(values: tuple[float, ...], factors: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(round(v * f, 3) for v, f in zip(values, factors, strict=True))


LOOKS = (
    Look(
        21, "Alderbrook", 42.317, -96.204, 2.5, 5.0, 47.0,
        ("grid", "crescent", "grid", "curvy", "commercial", "field", "grid"),
        0.12, 0.9, 1.0, 142.0, 52.0, 70.0, 0.16,
        ("grass_dry", "soil_brown"), ("grass_lush", "grass_dry"), ("tree_dark", "tree_green"),
        (("shingle_grey", 4), ("shingle_brown", 3), ("shingle_dark", 1.5), ("roof_white", 1.5), ("metal_blue", 0.6)),
        _GAIN, _HAZE, 1.0, along_border=True,
    ),
    Look(
        22, "Redmesa", 33.482, -109.655, 21.0, 10.0, 52.0,
        ("grid", "curvy", "commercial", "crescent", "field", "grid"),
        0.25, 0.8, 0.5, 168.0, 60.0, 250.0, 0.22,
        ("soil_red", "soil_tan"), ("grass_dry", "soil_tan"), ("tree_olive", "tree_dark"),
        (("roof_tile", 4), ("roof_tan", 3), ("roof_white", 2.5), ("shingle_grey", 1), ("metal_green", 0.4)),
        _times(_GAIN, (1.05, 1.05, 1.04, 1.04, 1.04, 1.02, 1.0, 1.0)),
        _times(_HAZE, (0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8)), 1.08, river=True,
    ),
    Look(
        23, "Port_Elm", -34.617, 138.744, -14.0, 9.0, 46.0,
        ("grid", "crescent", "grid", "curvy", "field", "commercial"),
        0.16, 0.88, 0.8, 28.0, 47.0, 120.0, 0.2,
        ("grass_dry", "soil_tan"), ("grass_lush", "soil_brown"), ("tree_olive", "tree_green"),
        (("roof_tile", 3), ("shingle_grey", 3), ("metal_blue", 1.2), ("roof_white", 2), ("shingle_dark", 1)),
        _times(_GAIN, (0.95, 0.95, 0.94, 0.94, 0.95, 0.95, 0.96, 0.96)),
        _times(_HAZE, (1.2, 1.2, 1.2, 1.15, 1.1, 1.1, 1.1, 1.0)), 0.95, river=True,
    ),
)  # fmt: skip
"""The three cities; the last is meant to be kept out of training."""

_HEADS = ("Ash", "Brook", "Cedar", "Dun", "Elk", "Fair", "Glen", "Hart", "Iron", "Kings", "Lake", "Maple", "North")
_TAILS = ("bury", "croft", "dale", "field", "gate", "haven", "mere", "port", "stead", "ton", "view", "wick")


def make_looks(cities: int, seed: int) -> list[Look]:
    """Return the looks of `cities` cities: the three above, then mixtures of them drawn from the seed."""
    looks = list(LOOKS[:cities])
    for index in range(len(looks), cities):
        rng = np.random.default_rng([seed, index, 0x100C])
        first, second, third = (LOOKS[k] for k in rng.permutation(3))
        head, tail = _HEADS[rng.integers(len(_HEADS))], _TAILS[rng.integers(len(_TAILS))]
        looks.append(
            replace(
                first,
                aoi=21 + index,
                name=head + tail,
                lat=round(float(rng.uniform(25, 48) * rng.choice([-1, 1])), 3),
                lon=round(float(rng.uniform(-170, 170)), 3),
                rotation_deg=round(float(rng.uniform(-25, 25)), 1),
                block_m=second.block_m,
                kinds=second.kinds,
                ground=second.ground,
                roofs=third.roofs,
                tree=third.tree,
                sun_azimuth=round(float(rng.uniform(110, 240)), 1),
                sun_elevation=round(float(rng.uniform(42, 65)), 1),
                lean_azimuth=round(float(rng.uniform(0, 360)), 1),
                gain=_times(first.gain, tuple(rng.uniform(0.95, 1.05, 8))),
                haze=_times(first.haze, tuple(rng.uniform(0.8, 1.2, 8))),
                along_border=False,
                river=bool(rng.random() < 0.6),
            )
        )
    return looks
