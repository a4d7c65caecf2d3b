"""From vectors to one chip's pixels: what is painted, in which order."""

import math

import numpy as np
from numpy.typing import NDArray

from roadspeed.acquire.sample.along import box, dashes, outside_circles, parallel, pieces, places, ribbon, swept
from roadspeed.acquire.sample.canvas import Canvas, pansharpened
from roadspeed.acquire.sample.lines import make_lines
from roadspeed.acquire.sample.network import Road, roads_within
from roadspeed.acquire.sample.spec import CitySpec, Place
from roadspeed.acquire.sample.things import Car, House, Land, Things, Tree, things

Points = NDArray[np.float64]

REACH_M = 30.0
"""How far a thing outside the chip may still throw a shadow into it, or reach over its border."""
MARK_M = 0.22
"""Width of painted lines; a little more than real ones, as glare makes them look."""


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
    _roads(canvas, [road for road in ground if not road.bridge])
    _cars_and_lots(canvas, found)
    for deck in ([road for road in ground if road.bridge], above):
        _bridges(canvas, deck)
    _cars(canvas, [car for group in found for car in group.cars if car.on_bridge])
    _houses(canvas, [house for group in found for house in group.houses])
    _trees(canvas, [tree for group in found for tree in group.trees])
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


def _sun(spec: CitySpec) -> Points:
    """Return how far a shadow reaches a metre of height, in city metres (x, y)."""
    azimuth = math.radians(spec.look.sun_azimuth)
    length = 1 / math.tan(math.radians(spec.look.sun_elevation))
    return np.array([-math.sin(azimuth), math.cos(azimuth)]) * length


def _lean(spec: CitySpec) -> Points:
    azimuth = math.radians(spec.look.lean_azimuth)
    return np.array([math.sin(azimuth), -math.cos(azimuth)]) * spec.look.lean


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


def _roads(canvas: Canvas, near: list[Road]) -> None:
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
        canvas.shade([ribbon(barrier + _sun(canvas.spec) * 0.6, 0.6)])


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


def _bridges(canvas: Canvas, decks: list[Road]) -> None:
    """Paint bridges above what is there already: their shadow, parapets, surface, markings."""
    drop = 5.5 if any(road.over for road in decks) else 2.0
    for road in decks:
        width = road.road.width_m + 2 * min(road.road.side_m, 1.8)
        length = float(np.hypot(*np.diff(road.points, axis=0).T).sum())
        # Only what spans the gap throws a shadow; at its ends the deck lies on the ground.
        for span in pieces(road.points, [(drop + 1, length - drop - 1)]) if length > 2 * drop + 3 else []:
            canvas.shade([ribbon(span + _sun(canvas.spec) * drop, width)])
    for road in sorted(decks, key=lambda road: road.road.order):
        width = road.road.width_m + 2 * min(road.road.side_m, 1.8)
        canvas.lit(ribbon(road.points, width + 0.9))
        canvas.deck(road.points, width + 0.9, canvas.paint("kerb", 0.95))
        canvas.deck(road.points, width - 0.1, canvas.paint("pavement", 0.85))
        canvas.deck(road.points, road.road.width_m, _road_paint(canvas, road))
        _traces(canvas, road)
        _markings(canvas, road)


def _cars_and_lots(canvas: Canvas, found: list[Things]) -> None:
    white = canvas.paint("paint_white", 0.8)
    for group in found:
        for stall in group.stalls:
            if canvas.seen(stall):
                canvas.band(stall, 0.15, white)
    _cars(canvas, [car for group in found for car in group.cars if not car.on_bridge])


def _cars(canvas: Canvas, cars: list[Car]) -> None:
    sun = _sun(canvas.spec)
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


def _houses(canvas: Canvas, houses: list[House]) -> None:
    sun, lean = _sun(canvas.spec), _lean(canvas.spec)
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
        canvas.fill(swept(unit, _sun(canvas.spec) * 1.2), canvas.paint(house.roof, 0.5))
        canvas.fill(unit, canvas.paint("car_silver", 1.1))


def _crown(tree: Tree, size: float) -> Points:
    rng = np.random.default_rng(tree.shape)
    angle = np.linspace(0, math.tau, 21)[:-1]
    wave = 1 + 0.1 * np.sin(3 * angle + rng.uniform(0, 6)) + 0.09 * rng.uniform(-1, 1, 20)
    return np.column_stack([tree.x + size * wave * np.cos(angle), tree.y + size * wave * np.sin(angle)])


def _trees(canvas: Canvas, trees: list[Tree]) -> None:
    sun, lean, look = _sun(canvas.spec), _lean(canvas.spec), canvas.spec.look
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
