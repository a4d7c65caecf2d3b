"""Painting roads: pavements and verges, kerbs, asphalt, wear, markings, bridges."""

import math

import numpy as np
from numpy.typing import NDArray

from roadspeed.acquire.sample.along import box, dashes, outside_circles, parallel, pieces, places, ribbon
from roadspeed.acquire.sample.canvas import Canvas
from roadspeed.acquire.sample.network import Road

Points = NDArray[np.float64]

MARK_M = 0.22
"""Width of painted lines; a little more than real ones, as glare makes them look."""


def paint_roads(canvas: Canvas, near: list[Road]) -> None:
    """Paint roads at ground level: strips beside them, kerbs, surfaces by rank, traces of traffic, markings."""
    order = sorted(near, key=lambda road: road.road.order)
    for road in order:
        _strips(canvas, road)
    for road in order:
        if road.road.kerb:
            _surface(canvas, road, road.road.width_m + 0.5, canvas.paint("kerb", 0.85))
    for road in order:
        _surface(canvas, road, road.road.width_m, _road_paint(canvas, road))
        _details(canvas, road)
    for road in order:
        _traces(canvas, road)
        _markings(canvas, road)
    for road in order:
        if road.ring:
            _island(canvas, road)


def _road_paint(canvas: Canvas, road: Road) -> int:
    age = canvas.spec.rng(road.key[0] * 7 + road.key[1], road.key[2], 42).uniform(-1, 1)
    gain = canvas.spec.look.asphalt * (1 + 0.06 * float(age))
    other = {"gravel_road": "soil_tan", "dirt_road": canvas.spec.look.ground[1]}.get(road.road.material)
    return canvas.paint(road.road.material, gain, other, (0.05, 0.06, 0.04) if other else (0.0, 0.0, 0.0), 0.15)


def _surface(canvas: Canvas, road: Road, width_m: float, paint: int) -> None:
    canvas.band(road.points, width_m, paint)
    if road.bulb:
        x, y = road.points[-1]
        angle = np.linspace(0, math.tau, 25)
        radius = 7.6 + (width_m - road.road.width_m) / 2
        canvas.fill(np.column_stack([x + radius * np.cos(angle), y + radius * np.sin(angle)]), paint)


def _strips(canvas: Canvas, road: Road) -> None:
    """Paint pavements or verges, and what lies between two carriageways."""
    kind, look = road.road, canvas.spec.look
    grass = canvas.paint(look.grass[0], 0.95, look.grass[1], (0.14, 0.2, 0.16), 0.55)
    paints = {
        "pavement": canvas.paint("pavement", 0.92),
        "gravel": canvas.paint("gravel", 1.0),
        "grass": grass,
        "verge": canvas.paint("verge", 1.0, look.ground[1], (0.15, 0.2, 0.1), 0.5),
    }
    if kind.half_gap_m:
        middle = parallel(road.points, road.shift_m / 2)
        width = abs(road.shift_m) + 1.0
        canvas.band(middle, width, grass if road.kind != "motorway" else paints["gravel"])
        if road.kind == "primary":
            canvas.band(parallel(road.points, road.shift_m * 0.75), abs(road.shift_m) / 2, paints["pavement"])
            canvas.band(parallel(road.points, road.shift_m), 1.8, grass)
    if kind.side:
        _surface(canvas, road, kind.width_m + 2 * kind.side_m, paints[kind.side])
    if road.kind == "motorway" and not road.bridge:
        barrier = parallel(road.points, road.shift_m)
        canvas.band(barrier, 0.6, canvas.paint("kerb", 1.0))
        canvas.shade([ribbon(barrier + canvas.spec.shadow * 0.6, 0.6)])


def _details(canvas: Canvas, road: Road) -> None:
    """Paint repairs into asphalt, and the grass between the ruts of a track."""
    kind = road.road
    if road.kind == "track":
        look = canvas.spec.look
        canvas.band(road.points, 0.6, canvas.paint("verge", 0.95, look.ground[1], (0.15, 0.2, 0.1), 0.45))
    if not kind.kerb or len(road.points) < 3:
        return
    rng = canvas.spec.rng(*road.key, 43)
    patch = canvas.paint("asphalt_patch", 1.1, kind.material, (0.0, 0.1, 0.0), 0.55)
    for _ in range(rng.poisson(0.03 * len(road.points) * kind.width_m)):
        k = int(rng.integers(len(road.points) - 1))
        a, b = road.points[k], road.points[k + 1]
        middle = a + (b - a) * rng.random()
        angle = math.atan2(b[1] - a[1], b[0] - a[0])
        across = np.array([-math.sin(angle), math.cos(angle)]) * rng.uniform(-0.3, 0.3) * kind.width_m
        canvas.fill(box(middle + across, angle, float(rng.uniform(1.5, 7)), float(rng.uniform(0.8, 2.4))), patch)


def _traces(canvas: Canvas, road: Road) -> None:
    """Darken the middle of lanes, or the ruts where there are none."""
    kind = road.road
    if kind.lanes == 1 or kind.surface == "unpaved":
        for side in (-0.75, 0.75):
            canvas.wear_band(parallel(road.points, side), 0.6, 150)
        return
    lane = min(3.6, kind.width_m / kind.lanes)
    for k in range(kind.lanes):
        offset = (k + 0.5 - kind.lanes / 2) * lane
        canvas.wear_band(parallel(road.points, offset), 1.5, 200 if kind.order > 4 else 110)


def _markings(canvas: Canvas, road: Road) -> None:
    kind = road.road
    if not (kind.centre or kind.lane_lines or kind.edge_lines) or road.ring:
        return
    white, yellow = canvas.paint("paint_white", 0.9), canvas.paint("paint_yellow", 0.9)
    spans = outside_circles(road.points, road.breaks)

    def solid(offset: float, paint: int) -> None:
        line = parallel(road.points, offset)
        for piece in pieces(line, _scaled(spans, road.points, line)):
            canvas.band(piece, MARK_M, paint)

    def dashed(offset: float, paint: int, dash_m: float, gap_m: float) -> None:
        line = parallel(road.points, offset)
        for piece in pieces(line, dashes(_scaled(spans, road.points, line), dash_m, gap_m)):
            canvas.band(piece, MARK_M, paint)

    if kind.order >= 5 and road.kind != "link":
        _stop_lines(canvas, road, spans, white)
    if kind.centre == "double":
        solid(-0.25, yellow)
        solid(0.25, yellow)
    if kind.centre == "dashed":
        dashed(0.0, white, 3.0, 4.0)
    lane = min(3.6, kind.width_m / kind.lanes)
    if kind.lane_lines:
        for k in range(1, kind.lanes):
            dashed((k - kind.lanes / 2) * lane, white, 3.0, 6.0)
    if kind.edge_lines:
        inset = kind.width_m / 2 - (1.6 if kind.centre else 0.9)
        outer = 1 if road.shift_m >= 0 else -1
        solid(-outer * inset, white)
        solid(outer * inset, yellow if kind.half_gap_m else white)


def _stop_lines(canvas: Canvas, road: Road, spans: list[tuple[float, float]], white: int) -> None:
    """Paint a stop line, and where there are pavements a zebra crossing, before each crossing."""
    kind, worn = road.road, canvas.paint("paint_white", 0.62)
    length = float(np.hypot(*np.diff(road.points, axis=0).T).sum())
    for start, end in spans:
        for at_m, away in ((start, 1), (end, -1)):
            if not 1 < at_m < length - 1:
                continue
            point, direction = places(road.points, np.array([at_m]))
            across = np.array([-direction[0, 1], direction[0, 0]])
            # Traffic keeps to the right: the half that drives towards the crossing stops.
            half = (-0.5, 0.5) if kind.half_gap_m else ((-0.5, 0.0) if away > 0 else (0.0, 0.5))
            if not kind.half_gap_m or (road.shift_m > 0) == (away > 0):
                ends = [point[0] + across * share * (kind.width_m - 1.0) for share in half]
                canvas.band(np.array(ends), 0.4, white)
            if kind.kerb and kind.width_m > 9:
                for share in np.arange(-0.46, 0.47, 1.1 / kind.width_m):
                    middle = point[0] + across * share * kind.width_m - direction[0] * away * 2.0
                    along = direction[0] * 1.1
                    canvas.band(np.array([middle - along, middle + along]), 0.4, worn)


def _scaled(spans: list[tuple[float, float]], line: Points, other: Points) -> list[tuple[float, float]]:
    """Return spans along a parallel of the line they were measured on."""
    ratio = np.hypot(*np.diff(other, axis=0).T).sum() / np.hypot(*np.diff(line, axis=0).T).sum()
    return [(a * float(ratio), b * float(ratio)) for a, b in spans]


def _island(canvas: Canvas, road: Road) -> None:
    """Paint a roundabout's island."""
    middle = road.points[:-1].mean(axis=0)
    away = road.points - middle
    radius = np.hypot(*away.T).mean()
    inner = middle + away * ((radius - road.road.width_m / 2) / radius)
    look = canvas.spec.look
    canvas.fill(inner, canvas.paint("kerb", 0.85))
    canvas.fill(
        middle + (inner - middle) * 0.94, canvas.paint(look.grass[0], 0.95, look.grass[1], (0.14, 0.2, 0.16), 0.4)
    )


def paint_bridges(canvas: Canvas, decks: list[Road]) -> None:
    """Paint bridges above what is there already: their shadow, parapets, surface, markings."""
    drop = 5.5 if any(road.over for road in decks) else 2.0
    for road in decks:
        width = road.road.width_m + 2 * min(road.road.side_m, 1.8)
        length = float(np.hypot(*np.diff(road.points, axis=0).T).sum())
        # Only what spans the gap throws a shadow; at its ends the deck lies on the ground.
        for span in pieces(road.points, [(drop + 1, length - drop - 1)]) if length > 2 * drop + 3 else []:
            canvas.shade([ribbon(span + canvas.spec.shadow * drop, width)])
    for road in sorted(decks, key=lambda road: road.road.order):
        width = road.road.width_m + 2 * min(road.road.side_m, 1.8)
        canvas.lit(ribbon(road.points, width + 0.9))
        canvas.deck(road.points, width + 0.9, canvas.paint("kerb", 0.95))
        canvas.deck(road.points, width - 0.1, canvas.paint("pavement", 0.85))
        canvas.deck(road.points, road.road.width_m, _road_paint(canvas, road))
        _traces(canvas, road)
        _markings(canvas, road)
