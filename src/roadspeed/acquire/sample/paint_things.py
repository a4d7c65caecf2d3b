"""Painting what stands on the ground: parking lots, cars, houses, trees, with their shadows."""

import math

import numpy as np
from numpy.typing import NDArray

from roadspeed.acquire.sample.along import box, swept
from roadspeed.acquire.sample.canvas import Canvas
from roadspeed.acquire.sample.inventory import Car, House, Things, Tree

Points = NDArray[np.float64]


def paint_parking(canvas: Canvas, found: list[Things]) -> None:
    """Paint the lines of parking lots and all cars that are not on a bridge."""
    white = canvas.paint("paint_white", 0.8)
    for group in found:
        for stall in group.stalls:
            if canvas.seen(stall):
                canvas.band(stall, 0.15, white)
    paint_cars(canvas, [car for group in found for car in group.cars if not car.on_bridge])


def paint_cars(canvas: Canvas, cars: list[Car]) -> None:
    """Paint cars: shadow, body, windows."""
    sun = canvas.spec.shadow
    for car in cars:
        body = box((car.x, car.y), car.angle, car.length_m, 1.9 if car.length_m < 6 else 2.4)
        if not canvas.seen(body, 3):
            continue
        canvas.shade([swept(body, sun * 1.4)])
        canvas.lit(body)
        canvas.fill(body, canvas.paint(car.paint, 1.0))
        along = np.array([math.cos(car.angle), math.sin(car.angle)])
        for at, size in ((0.62, 0.75), (-1.35, 0.5)) if car.length_m < 6 else ((3.2, 0.7),):
            canvas.fill(box(np.array([car.x, car.y]) + along * at, car.angle, size, 1.5), canvas.paint("glass"))


def _parts(house: House) -> list[tuple[Points, float, float, float]]:
    """Return a house's rectangles as (corners, angle of the ridge, length, width)."""
    parts = [(box((house.x, house.y), house.angle, house.length_m, house.width_m), house.angle, house.length_m,
              house.width_m)]  # fmt: skip
    if house.wing:
        along, across = np.array([math.cos(house.angle), math.sin(house.angle)]), None
        across = np.array([-along[1], along[0]])
        middle = (house.x, house.y) + along * house.length_m * 0.27 + across * house.width_m * 0.42
        parts.append((box(middle, house.angle + math.pi / 2, house.width_m * 0.62, house.length_m * 0.4),
                      house.angle + math.pi / 2, house.width_m * 0.62, house.length_m * 0.4))  # fmt: skip
    return parts


def paint_houses(canvas: Canvas, houses: list[House]) -> None:
    """Paint houses: shadows, walls seen from aside, roofs; low ones first."""
    sun, lean = canvas.spec.shadow, canvas.spec.lean
    seen = [h for h in houses if canvas.seen(np.array([(h.x, h.y)]), h.length_m / 2 + 20)]
    for house in seen:
        canvas.shade(swept(corners, sun * house.height_m) for corners, *_ in _parts(house))
    for house in sorted(seen, key=lambda h: h.height_m):
        top = lean * house.height_m
        for corners, angle, length, width in _parts(house):
            wall = swept(corners, top)
            canvas.lit(wall)
            canvas.fill(wall, canvas.paint("wall", 0.75))
            roof = corners + top
            canvas.fill(roof, canvas.paint(house.roof, house.gain))
            if house.gable:
                _gable(canvas, house, roof, angle, length, width, sun)
            else:
                _seams(canvas, house, roof, angle, length, width)
            if length > 20:
                _roof_units(canvas, house, roof)


def _gable(
    canvas: Canvas, house: House, roof: Points, angle: float, length: float, width: float, sun: Points
) -> None:
    """Light the two slopes of a roof by how they face the sun."""
    across = np.array([-math.sin(angle), math.cos(angle)])
    middle = roof.mean(axis=0)
    toward = -sun / np.hypot(*sun)
    for side in (1, -1):
        slope = box(middle + across * side * width / 4, angle, length, width / 2)
        facing = float(np.dot(across * side, toward))
        canvas.fill(slope, canvas.paint(house.roof, house.gain * (1 + 0.24 * facing)))
    ridge = np.array([math.cos(angle), math.sin(angle)]) * length / 2
    canvas.band(np.array([middle - ridge, middle + ridge]), 0.15, canvas.paint(house.roof, house.gain * 1.3))


def _seams(canvas: Canvas, house: House, roof: Points, angle: float, length: float, width: float) -> None:
    """Rule a flat roof: an edge, and seams between its sheets."""
    along = np.array([math.cos(angle), math.sin(angle)])
    across = np.array([-along[1], along[0]])
    middle = roof.mean(axis=0)
    seam = canvas.paint(house.roof, house.gain * 0.86)
    step = 1.2 if length < 20 else 3.6
    for k in range(1, int(length / step)):
        at = middle + along * (k * step - length / 2)
        canvas.band(np.array([at - across * width / 2, at + across * width / 2]), 0.15, seam)
    canvas.band(np.vstack([roof, roof[:1]]), 0.4, canvas.paint(house.roof, house.gain * 0.8))


def _roof_units(canvas: Canvas, house: House, roof: Points) -> None:
    """Put small boxes on a large flat roof."""
    rng = np.random.default_rng(abs(int(house.x * 10)) * 7919 + abs(int(house.y * 10)))
    middle = roof.mean(axis=0)
    along = np.array([math.cos(house.angle), math.sin(house.angle)])
    across = np.array([-along[1], along[0]])
    for _ in range(int(house.length_m * house.width_m / 120)):
        du, dv = rng.uniform(-0.42, 0.42, 2)
        place = middle + along * du * house.length_m + across * dv * house.width_m
        unit = box(place, house.angle, float(rng.uniform(1.2, 3)), float(rng.uniform(1, 2)))
        canvas.fill(swept(unit, canvas.spec.shadow * 1.2), canvas.paint(house.roof, 0.5))
        canvas.fill(unit, canvas.paint("car_silver", 1.1))


def _crown(tree: Tree, size: float) -> Points:
    rng = np.random.default_rng(tree.shape)
    angle = np.linspace(0, math.tau, 21)[:-1]
    wave = 1 + 0.1 * np.sin(3 * angle + rng.uniform(0, 6)) + 0.09 * rng.uniform(-1, 1, 20)
    return np.column_stack([tree.x + size * wave * np.cos(angle), tree.y + size * wave * np.sin(angle)])


def paint_trees(canvas: Canvas, trees: list[Tree]) -> None:
    """Paint trees: shadows, then crowns that are lit from the sun's side; small ones first."""
    sun, lean, look = canvas.spec.shadow, canvas.spec.lean, canvas.spec.look
    toward = -sun / np.hypot(*sun)
    seen = [t for t in trees if canvas.seen(np.array([(t.x, t.y)]), 14)]
    for tree in seen:
        canvas.shade([swept(_crown(tree, tree.radius_m * 0.95), sun * tree.radius_m * 1.6)])
    for tree in sorted(seen, key=lambda t: t.radius_m):
        crown = _crown(tree, tree.radius_m) + lean * tree.radius_m
        canvas.lit(crown)
        name = look.tree[tree.species]
        canvas.fill(crown, canvas.paint(name, tree.gain * 0.72))
        middle = crown.mean(axis=0)
        for size, gain, shift in ((0.78, 1.0, 0.17), (0.45, 1.25, 0.34)):
            part = middle + (crown - middle) * size + toward * shift * tree.radius_m
            canvas.fill(part, canvas.paint(name, tree.gain * gain))
