"""From vectors to one chip's pixels: what is painted, in which order; the ground itself."""

import numpy as np
from numpy.typing import NDArray

from roadspeed.acquire.sample.canvas import Canvas, pansharpened
from roadspeed.acquire.sample.inventory import Land, Things
from roadspeed.acquire.sample.lines import make_lines
from roadspeed.acquire.sample.network import roads_within
from roadspeed.acquire.sample.paint_roads import paint_bridges, paint_roads
from roadspeed.acquire.sample.paint_things import paint_cars, paint_houses, paint_parking, paint_trees
from roadspeed.acquire.sample.spec import CitySpec, Place
from roadspeed.acquire.sample.things import things

REACH_M = 30.0
"""How far a thing outside the chip may still throw a shadow into it, or reach over its border."""


def draw_chip(spec: CitySpec, place: Place) -> NDArray[np.uint16]:
    """Draw a chip.

    Args:
        spec: the city.
        place: which chip.

    Returns:
        (8, chip_px, chip_px) uint16, bands as in PS-MS; 0 where there is no data, 1 to 2047 elsewhere.
    """
    bounds = spec.chip_bounds_m(place.row, place.column)
    wide = (bounds[0] - REACH_M, bounds[1] - REACH_M, bounds[2] + REACH_M, bounds[3] + REACH_M)
    canvas = Canvas(spec, bounds)
    found = [things(spec, i, j) for i, j in make_lines(spec).cells(spec.plan_bounds(*wide))]
    near = roads_within(spec, wide)
    _ground(canvas, found)
    ground = [road for road in near if not road.over]
    above = [road for road in near if road.over]
    paint_roads(canvas, [road for road in ground if not road.bridge])
    paint_parking(canvas, found)
    for deck in ([road for road in ground if road.bridge], above):
        paint_bridges(canvas, deck)
    paint_cars(canvas, [car for group in found for car in group.cars if car.on_bridge])
    paint_houses(canvas, [house for group in found for house in group.houses])
    paint_trees(canvas, [tree for group in found for tree in group.trees])
    rng = spec.rng(place.row, place.column, 41)
    pixels = pansharpened(canvas.render(spec.chip_px, bounds), rng)
    pixels[:, ~has_data(spec, place)] = 0
    return pixels


def has_data(spec: CitySpec, place: Place) -> NDArray[np.bool_]:
    """Return which pixels the image strip covers: (chip_px, chip_px) bool."""
    a, b, c = spec.nodata_line
    x = np.arange(spec.chip_px) + place.column * spec.chip_px + 0.5
    y = np.arange(spec.chip_px) + place.row * spec.chip_px + 0.5
    return a * x[None, :] + b * y[:, None] >= c


def rgb_preview(spec: CitySpec, pixels: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return PS-RGB, (3, rows, columns) uint8, from PS-MS, with a stretch fixed for the city; 0 = no data."""
    out = np.zeros((3, *pixels.shape[1:]), np.uint8)
    for k, band in enumerate((4, 2, 1)):
        low = spec.look.haze[band] + 0.015 * spec.look.gain[band]
        high = spec.look.haze[band] + 0.4 * spec.look.gain[band]
        scaled = np.clip((pixels[band].astype(np.float32) - low) / (high - low), 0, 1)
        out[k] = np.where(pixels[band] > 0, np.rint(1 + 254 * scaled**0.8), 0)
    return out


_LAND_ORDER = {"meadow": 0, "crop": 1, "soil": 1, "lot": 2, "lawn": 3, "yard": 3, "bank": 4, "water": 5}
"""What is painted first; equal ones in the order of superblocks."""


def _ground(canvas: Canvas, found: list[Things]) -> None:
    look = canvas.spec.look
    canvas.index[:] = canvas.paint(look.ground[0], 1.0, look.ground[1], (0.2, 0.12, 0.2))
    lands = [land for group in found for land in group.land if canvas.seen(land.polygon)]
    for land in sorted(lands, key=lambda land: _LAND_ORDER[land.use]):
        _land(canvas, land)
    for group in found:
        for line, width in group.drives:
            if canvas.seen(line, width):
                canvas.band(line, width, canvas.paint("pavement", 0.95))


def _land(canvas: Canvas, land: Land) -> None:
    look, tone = canvas.spec.look, round(land.tone, 1)
    if land.use == "water":
        paint = canvas.paint("water", 1.0, "water_green", (0.0, 0.05, 0.1), 0.2 + 0.6 * tone)
    elif land.use == "lot":
        paint = canvas.paint("asphalt_dark", 0.9 + 0.15 * tone, "asphalt_old", (0.1, 0.15, 0.1), 0.25)
    elif land.use == "crop":
        paint = canvas.paint("crop_green" if tone < 0.55 else "crop_ripe", 0.9 + 0.2 * tone, "grass_dry",
                             (0.08, 0.14, 0.1), 0.25)  # fmt: skip
    elif land.use in ("soil", "yard", "bank"):
        paint = canvas.paint(look.ground[1], 0.85 + 0.25 * tone, "soil_dark", (0.1, 0.14, 0.1), 0.3)
    else:
        lean = 0.15 + 0.6 * tone
        paint = canvas.paint(look.grass[0], 0.9 + 0.2 * tone, look.grass[1], (0.14, 0.2, 0.16), lean)
    canvas.fill(land.polygon, paint)
    if land.furrows:
        base = "crop_green" if land.use == "crop" and tone < 0.55 else look.ground[1]
        line = canvas.paint(base, 0.8, "soil_dark", (0.1, 0.15, 0.1), 0.35)
        for furrow in land.furrows:
            canvas.band(furrow, 0.6, line)
