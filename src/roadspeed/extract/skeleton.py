"""From a window of probabilities to the centre-line pixels of its roads, with the evidence at each.

Strategy: everything here is local (smoothing, small holes, thinning with a bounded number of rounds), so a
window with a wide enough margin gives for its core exactly what any other window would give. What is not
local (connected networks, gaps) happens later, on the sparse pixels. The cost is linear in the window.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from roadspeed.compiled import compiled
from roadspeed.extract.mosaic import Mosaic
from roadspeed.extract.settings import ExtractSettings

CELL_PX = 2
"""Side of the cells in which the probability around loose ends is kept."""
TILE = 16
"""Side, in cells, of the tiles in which they are stored."""


@dataclass(frozen=True)
class Skeleton:
    """Centre-line pixels of a window's core, sorted by row and column, on the mosaic's pixel grid."""

    rows: NDArray[np.int32]
    columns: NDArray[np.int32]
    probability: NDArray[np.uint8]
    """(n,) smoothed probability × 255."""
    bins: NDArray[np.float32]
    """(n, bins) mean probability of each speed bin around the pixel, 0 … 1."""
    tile_rows: NDArray[np.int32]
    """Tiles of TILE × TILE cells near loose ends that have any probability; row 1 begins at pixel TILE × CELL_PX."""
    tile_columns: NDArray[np.int32]
    tiles: NDArray[np.uint8]
    """(n, TILE, TILE) mean probability × 255 in their cells; 0 where it is low, or far from all loose ends."""


def radius_px(settings: ExtractSettings, pixel_m: float) -> int:
    """Half side, in pixels, of the square that a road's surface cannot hold."""
    return max(2, int(np.ceil(settings.widest_m / 2 / pixel_m)))


def halo_px(settings: ExtractSettings, pixel_m: float) -> int:
    """Margin a window needs around its core, in pixels (a multiple of CELL_PX)."""
    radius = radius_px(settings, pixel_m)
    local = 4 * settings.smooth_m / pixel_m + settings.hole_m / pixel_m + 2 * radius + 2 * (radius + 2)
    ends = (settings.reach_m + settings.spur_m) / pixel_m
    return int(np.ceil(max(local, ends) / CELL_PX) + 1) * CELL_PX


def extract_skeleton(
    mosaic: Mosaic, row: int, column: int, height: int, width: int, band_count: int, settings: ExtractSettings
) -> Skeleton:
    """Return the centre-line pixels of one window.

    Args:
        mosaic: where the probabilities come from; its last band is all roads, those before it the speed bins.
        row, column, height, width: the window's core, pixels; rows and columns start at multiples of CELL_PX.
        band_count: bands of the mosaic.
        settings: see there.
    """
    frame, pixel_m = mosaic.frame, mosaic.frame.pixel_m
    halo = halo_px(settings, pixel_m)
    # Beyond the data only the mirrored margin is of use; a ring of zeros stays around it.
    margin = -(-(mosaic.mirror_px + 1) // CELL_PX) * CELL_PX
    first_row, first_column, end_row, end_column = mosaic.extent
    top = max(row - halo, first_row // CELL_PX * CELL_PX - margin)
    left = max(column - halo, first_column // CELL_PX * CELL_PX - margin)
    shape = min(row + height + halo, end_row + margin) - top, min(column + width + halo, end_column + margin) - left

    probability = mosaic.read([band_count], top, left, *shape)[0]
    smooth = smooth_probability(probability, frame.width_m, frame.height_m, settings)
    mask = road_mask(smooth, pixel_m, settings)
    covered = mosaic.covered(top, left, *shape)
    if not covered.all():
        mask &= covered
    thin(mask, radius_px(settings, pixel_m) + 2)
    core = np.ascontiguousarray(mask[row - top : row - top + height, column - left : column - left + width])
    rows, columns = (index.astype(np.int32) for index in np.divmod(np.flatnonzero(core.view(np.bool_)), width))

    bins = np.zeros((len(rows), band_count - 1), np.float32)
    if len(rows) and band_count > 1:
        ry, rx = (2 * max(1, round(settings.speed_radius_m / size / 2)) for size in (frame.height_m, frame.width_m))
        numbers = list(range(1, band_count))
        bands = mosaic.read(numbers, row - ry, column - rx, height + 2 * ry, width + 2 * rx)
        for number, band in enumerate(bands):
            if cv2.hasNonZero(band):
                bins[:, number] = _box_means(band, rows, columns, ry, rx)
    rows += row - top
    columns += column - left
    cells = _cells_near_ends(probability, mask, rows, columns, settings, pixel_m)
    return Skeleton(
        rows + np.int32(top),
        columns + np.int32(left),
        smooth[rows, columns],
        bins,
        *_tiled(cells, top // CELL_PX, left // CELL_PX),
    )


def smooth_probability(
    probability: NDArray[np.uint8], width_m: float, height_m: float, settings: ExtractSettings
) -> NDArray[np.uint8]:
    """Return the probability after a Gaussian of `smooth_m`, whatever the shape of a pixel."""
    if settings.smooth_m == 0:
        return probability
    sigma_x, sigma_y = settings.smooth_m / width_m, settings.smooth_m / height_m
    size = [2 * int(np.ceil(3 * sigma)) + 1 for sigma in (sigma_x, sigma_y)]
    return np.asarray(cv2.GaussianBlur(probability, size, sigma_x, sigmaY=sigma_y, borderType=cv2.BORDER_REPLICATE))


def road_mask(smooth: NDArray[np.uint8], pixel_m: float, settings: ExtractSettings) -> NDArray[np.uint8]:
    """Return 1 where the smoothed probability is road: small holes filled, areas wider than a road left out."""
    mask = (smooth >= max(1, round(settings.low * 255))).astype(np.uint8)
    if settings.relative > 0:
        side = 2 * round(settings.around_m / pixel_m) + 1
        highest = cv2.dilate(smooth, np.ones((side, side), np.uint8))
        mask &= smooth >= cv2.convertScaleAbs(highest, alpha=settings.relative)
    side = round(settings.hole_m / pixel_m)
    if side > 0:
        _fill_holes(mask, side)
    square = 2 * radius_px(settings, pixel_m) + 1
    if _holds_square(mask, square):
        kernel = np.ones((square, square), np.uint8)
        wide = cv2.erode(mask, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
        mask[cv2.dilate(wide, kernel) > 0] = 0
    return mask


def _holds_square(mask: NDArray[np.uint8], side: int) -> bool:
    """Tell quickly whether a square of that side may fit in the mask: seen in blocks of 8 pixels."""
    blocks = cv2.resize(mask * np.uint8(255), None, fx=1 / 8, fy=1 / 8, interpolation=cv2.INTER_AREA)
    inner = max(1, (side - 7) // 8)
    return bool(cv2.erode((blocks == 255).astype(np.uint8), np.ones((inner, inner), np.uint8)).any())


@compiled
def _fill_holes(mask: Any, side: int) -> None:
    """Fill background areas (4-connected) whose height and width are at most `side`.

    Each hole has a first pixel with road above and to the left; from each such pixel the background is flooded
    until it is found to reach too far. So the cost follows the length of the roads' outlines.
    """
    height, width = mask.shape
    stamp = np.zeros((side, 2 * side - 1), np.int32)
    queue = np.empty((side * (2 * side - 1), 2), np.int64)
    turn = 0
    for r in range(1, height - 1):
        for c in range(1, width - 1):
            if mask[r, c] or not mask[r - 1, c] or not mask[r, c - 1]:
                continue
            turn += 1
            queue[0, 0], queue[0, 1] = r, c
            stamp[0, side - 1] = turn
            first, n = 0, 1
            low = high = c
            closed = True
            while first < n and closed:
                y, x = queue[first]
                first += 1
                for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                    yy, xx = y + dy, x + dx
                    if mask[yy, xx]:
                        continue
                    low, high = min(low, xx), max(high, xx)
                    if (
                        yy < r
                        or yy - r >= side
                        or high - low >= side
                        or yy == height - 1
                        or xx == 0
                        or xx == width - 1
                    ):
                        closed = False
                        break
                    if stamp[yy - r, xx - c + side - 1] != turn:
                        stamp[yy - r, xx - c + side - 1] = turn
                        queue[n, 0], queue[n, 1] = yy, xx
                        n += 1
            if closed:
                for i in range(n):
                    mask[queue[i, 0], queue[i, 1]] = 1


def _deletable() -> NDArray[np.bool_]:
    """Table of Guo and Hall's thinning (1989, algorithm A1): [subiteration, code of the 8 neighbours].

    Bit i of the code is neighbour i, clockwise from north.
    """
    table = np.zeros((2, 256), bool)
    for code in range(256):
        p2, p3, p4, p5, p6, p7, p8, p9 = (bool(code >> bit & 1) for bit in range(8))
        crossings = sum([not p2 and (p3 or p4), not p4 and (p5 or p6), not p6 and (p7 or p8), not p8 and (p9 or p2)])
        first = sum([p9 or p2, p3 or p4, p5 or p6, p7 or p8])
        second = sum([p2 or p3, p4 or p5, p6 or p7, p8 or p9])
        removable = crossings == 1 and 2 <= min(first, second) <= 3
        table[0, code] = removable and not ((p6 or p7 or not p9) and p8)
        table[1, code] = removable and not ((p2 or p3 or not p5) and p4)
    return table


DELETABLE = _deletable()


def thin(mask: NDArray[np.uint8], rounds: int) -> None:
    """Thin a mask of 0 and 1 in place to lines one pixel wide; its outermost rows and columns become 0.

    Guo and Hall's parallel thinning. Only pixels whose neighbourhood changed are looked at again, so the cost
    follows the number of road pixels, not rounds × pixels.
    """
    mask[[0, -1]] = 0
    mask[:, [0, -1]] = 0
    _thin(mask.reshape(-1), mask.shape[1], int(np.count_nonzero(mask)), 2 * rounds, DELETABLE)


@compiled
def _code(image: Any, p: int, width: int) -> int:
    """Return the eight neighbours of a pixel of 0 or 1 as bits, clockwise from north."""
    north, south = p - width, p + width
    upper = image[north] | image[north + 1] << 1 | image[p + 1] << 2 | image[south + 1] << 3
    lower = image[south] << 4 | image[south - 1] << 5 | image[p - 1] << 6 | image[north - 1] << 7
    return int(upper | lower)


@compiled
def _thin(image: Any, width: int, count: int, subiterations: int, deletable: Any) -> None:
    steps = np.array([-width, -width + 1, 1, width + 1, width, width - 1, -1, -width - 1])
    due = np.zeros(image.size, np.uint8)
    active = np.empty(count, np.int32)
    following = np.empty(count, np.int32)
    gone = np.empty(count, np.int32)
    n = 0
    for p in range(image.size):
        if image[p] and _code(image, p, width) != 255:
            active[n] = p
            n += 1
            due[p] = 2
    for iteration in range(subiterations):
        g = 0
        for p in active[:n]:
            if deletable[iteration & 1, _code(image, p, width)]:
                gone[g] = p
                g += 1
        for i in range(g):
            image[gone[i]] = 0
            due[gone[i]] = 0
        m = 0
        for p in active[:n]:
            if image[p]:
                due[p] -= 1
                if due[p]:
                    following[m] = p
                    m += 1
        for i in range(g):
            for step in steps:
                q = gone[i] + step
                if image[q]:
                    if due[q] == 0:
                        following[m] = q
                        m += 1
                    due[q] = 2
        active, following = following, active
        n = m
        if n == 0:
            break


@compiled
def _box_means(band: Any, rows: Any, columns: Any, radius_y: int, radius_x: int) -> Any:
    """Return (n,) mean / 255 of every second pixel of the box around each; `band` has a margin of the radii."""
    means = np.zeros(rows.size, np.float32)
    scale = 1.0 / (255.0 * (radius_y + 1) * (radius_x + 1))
    for i in range(rows.size):
        total = 0
        for r in range(rows[i], rows[i] + 2 * radius_y + 1, 2):
            for c in range(columns[i], columns[i] + 2 * radius_x + 1, 2):
                total += band[r, c]
        means[i] = total * scale
    return means


def _cells_near_ends(
    probability: NDArray[np.uint8],
    skeleton: NDArray[np.uint8],
    rows: NDArray[np.int32],
    columns: NDArray[np.int32],
    settings: ExtractSettings,
    pixel_m: float,
) -> NDArray[np.uint8]:
    """Return the mean probability of each cell near a loose end of some skeleton pixels; 0 elsewhere."""
    height, width = (size // CELL_PX for size in probability.shape)
    cells = np.zeros((height, width), np.uint8)
    reach = int(np.ceil((settings.reach_m + settings.spur_m) / pixel_m))
    loose = _neighbour_counts(skeleton, rows, columns) <= 1
    if loose.any():
        part = probability[: height * CELL_PX, : width * CELL_PX]
        means = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
        means[means < settings.low * 255 / 2] = 0
        for end in np.column_stack([rows[loose], columns[loose]]):
            (top, left), (bottom, right) = np.maximum(end - reach, 0) // CELL_PX, (end + reach) // CELL_PX + 1
            cells[top:bottom, left:right] = means[top:bottom, left:right]
    return cells


def _tiled(
    cells: NDArray[np.uint8], row: int, column: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.uint8]]:
    """Cut cells, whose first lies at a row and column, into tiles; return place and cells of those not empty."""
    (above, below), (before, after) = (
        (first % TILE, -(first + size) % TILE) for first, size in zip((row, column), cells.shape, strict=True)
    )
    padded = np.pad(cells, ((above, below), (before, after)))
    tiles = padded.reshape(padded.shape[0] // TILE, TILE, -1, TILE).swapaxes(1, 2)
    rows, columns = np.nonzero(tiles.any(axis=(2, 3)))
    first_row, first_column = row // TILE, column // TILE
    return (rows + first_row).astype(np.int32), (columns + first_column).astype(np.int32), tiles[rows, columns]


@compiled
def _neighbour_counts(image: Any, rows: Any, columns: Any) -> Any:
    """Return how many of its eight neighbours each pixel has; none lies on the image's edge."""
    counts = np.zeros(rows.size, np.int64)
    for i in range(rows.size):
        r, c = rows[i], columns[i]
        for y in range(r - 1, r + 2):
            for x in range(c - 1, c + 2):
                counts[i] += image[y, x]
        counts[i] -= 1
    return counts
