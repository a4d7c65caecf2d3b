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

from roadspeed.extract.compiled import compiled
from roadspeed.extract.mosaic import Mosaic
from roadspeed.extract.settings import ExtractSettings

CELL_PX = 2
"""Side of the cells in which the probability around loose ends is kept."""


@dataclass(frozen=True)
class Skeleton:
    """Centre-line pixels of a window's core, sorted by row and column, on the mosaic's pixel grid."""

    rows: NDArray[np.int32]
    columns: NDArray[np.int32]
    probability: NDArray[np.uint8]
    """(n,) smoothed probability × 255."""
    bins: NDArray[np.float32]
    """(n, bins) mean probability of each speed bin around the pixel, 0 … 1."""
    cell_rows: NDArray[np.int32]
    """Cells of CELL_PX pixels near loose ends that have any probability."""
    cell_columns: NDArray[np.int32]
    cell_values: NDArray[np.uint8]
    """Mean probability × 255 in each of these cells."""


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
    pixel_m = mosaic.frame.pixel_m
    halo = halo_px(settings, pixel_m)
    top, left = row - halo, column - halo
    shape = (height + 2 * halo, width + 2 * halo)
    probability = mosaic.read([band_count], top, left, *shape)[0]
    smooth = smooth_probability(probability, mosaic.frame.width_m, mosaic.frame.height_m, settings)
    mask = road_mask(smooth, pixel_m, settings)
    covered = mosaic.covered(top, left, *shape)
    if not covered.all():
        mask &= covered
    thin(mask, radius_px(settings, pixel_m) + 2)
    core = mask[halo : halo + height, halo : halo + width]
    rows, columns = (index.astype(np.int32) for index in np.nonzero(core))
    bins = np.zeros((len(rows), band_count - 1), np.float32)
    if len(rows) and band_count > 1:
        radius_x = max(1, round(settings.speed_radius_m / mosaic.frame.width_m))
        radius_y = max(1, round(settings.speed_radius_m / mosaic.frame.height_m))
        bands = mosaic.read(
            list(range(1, band_count)), row - radius_y, column - radius_x, height + 2 * radius_y, width + 2 * radius_x
        )
        bins = _box_means(bands, rows, columns, radius_y, radius_x)
    cells = _cells_near_ends(probability, core, halo, settings, pixel_m)
    return Skeleton(
        rows + np.int32(row),
        columns + np.int32(column),
        smooth[halo : halo + height, halo : halo + width][rows, columns],
        bins,
        cells[0] + np.int32(top // CELL_PX),
        cells[1] + np.int32(left // CELL_PX),
        cells[2],
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
    kernel = np.ones((square, square), np.uint8)
    wide = cv2.erode(mask, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    if wide.any():
        mask[cv2.dilate(wide, kernel) > 0] = 0
    return mask


def _fill_holes(mask: NDArray[np.uint8], side: int) -> None:
    """Fill background areas whose height and width are at most `side`, and that do not touch the edge."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(1 - mask, connectivity=4)
    small = (stats[:, cv2.CC_STAT_WIDTH] <= side) & (stats[:, cv2.CC_STAT_HEIGHT] <= side)
    small[0] = False
    for number in np.flatnonzero(small[:count]):
        x, y, width, height = stats[number, :4]
        part = np.s_[y : y + height, x : x + width]
        mask[part][labels[part] == number] = 1


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
    _thin(mask.reshape(-1), mask.shape[1], 2 * rounds, DELETABLE)


@compiled
def _thin(image: Any, width: int, subiterations: int, deletable: Any) -> None:
    steps = np.array([-width, -width + 1, 1, width + 1, width, width - 1, -1, -width - 1])
    due = np.zeros(image.size, np.uint8)
    count = 0
    for p in range(image.size):
        if image[p]:
            inner = True
            for step in steps:
                if not image[p + step]:
                    inner = False
                    break
            if not inner:
                due[p] = 2
            count += 1
    active = np.empty(count, np.int64)
    following = np.empty(count, np.int64)
    gone = np.empty(count, np.int64)
    n = 0
    for q in range(image.size):
        if due[q]:
            active[n] = q
            n += 1
    for iteration in range(subiterations):
        g = 0
        for p in active[:n]:
            code = 0
            for bit in range(8):
                if image[p + steps[bit]]:
                    code |= 1 << bit
            if deletable[iteration & 1, code]:
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
def _box_means(bands: Any, rows: Any, columns: Any, radius_y: int, radius_x: int) -> Any:
    """Return (n, bands) mean / 255 over the box around each pixel; `bands` has a margin of the radii."""
    n = rows.size
    means = np.zeros((n, bands.shape[0]), np.float32)
    scale = 1.0 / (255.0 * (2 * radius_y + 1) * (2 * radius_x + 1))
    for b in range(bands.shape[0]):
        for i in range(n):
            total = 0
            for r in range(rows[i], rows[i] + 2 * radius_y + 1):
                for c in range(columns[i], columns[i] + 2 * radius_x + 1):
                    total += bands[b, r, c]
            means[i, b] = total * scale
    return means


def _cells_near_ends(
    probability: NDArray[np.uint8], core: NDArray[np.uint8], halo: int, settings: ExtractSettings, pixel_m: float
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.uint8]]:
    """Return rows, columns and mean probability of the cells around the ends of the core's skeleton."""
    height, width = (size // CELL_PX for size in probability.shape)
    near = np.zeros((height, width), bool)
    reach = int(np.ceil((settings.reach_m + settings.spur_m) / pixel_m))
    for end in np.argwhere(_loose_ends(core)) + halo:
        (top, left), (bottom, right) = np.maximum(end - reach, 0) // CELL_PX, (end + reach) // CELL_PX + 1
        near[top:bottom, left:right] = True
    if not near.any():
        none = np.empty(0, np.int32)
        return none, none, np.empty(0, np.uint8)
    part = probability[: height * CELL_PX, : width * CELL_PX]
    means = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
    cells = np.nonzero(near & (means > 0))
    return cells[0].astype(np.int32), cells[1].astype(np.int32), np.asarray(means[cells], np.uint8)


def _loose_ends(core: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell which skeleton pixels have at most one neighbour."""
    neighbours = cv2.filter2D(core, cv2.CV_8U, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT)
    return np.asarray((core > 0) & (neighbours <= 2), np.bool_)
