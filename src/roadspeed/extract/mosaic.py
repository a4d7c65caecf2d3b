"""Rasters side by side, read as one: chips of a city on a common pixel grid, in windows of bounded size."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.transform import Affine
from rasterio.windows import Window

from roadspeed.errors import InputError
from roadspeed.extract.georef import Frame, make_frame
from roadspeed.raster import Grid, read_raster

MIRROR_M = 5.0
"""Width of the mirrored margin around the data: a road that crosses the border then runs into it undisturbed."""


@dataclass(frozen=True)
class Piece:
    """One raster and its place on the mosaic's pixel grid, in pixels."""

    source: Path | NDArray[np.uint8]
    """A file, or its pixels (bands, rows, columns)."""
    row: int
    column: int
    height: int
    width: int
    source_shape: tuple[int, int] | None = None
    """Rows and columns of the source, where they differ from height and width: it is then resampled."""

    def read(self, bands: list[int], row: int, column: int, height: int, width: int) -> NDArray[np.uint8]:
        """Return (bands, height, width) pixels at a row and column of this raster; bands count from 1."""
        if self.source_shape not in (None, (self.height, self.width)):
            return self._resample(bands, row, column, height, width)
        return self._source(bands, row, column, height, width)

    def _source(self, bands: list[int], row: int, column: int, height: int, width: int) -> NDArray[np.uint8]:
        if isinstance(self.source, Path):
            return read_raster(self.source, bands, Window(column, row, width, height))[0]
        return self.source[bands[0] - 1 : bands[-1], row : row + height, column : column + width]

    def _resample(self, bands: list[int], row: int, column: int, height: int, width: int) -> NDArray[np.uint8]:
        assert self.source_shape is not None
        rows = ((np.arange(row, row + height) + 0.5) * self.source_shape[0] / self.height).astype(int)
        columns = ((np.arange(column, column + width) + 0.5) * self.source_shape[1] / self.width).astype(int)
        shape = int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)
        pixels = self._source(bands, int(rows[0]), int(columns[0]), *shape)
        return pixels[:, rows - rows[0]][:, :, columns - columns[0]]


@dataclass(frozen=True)
class Mosaic:
    """Pieces on one pixel grid; where there is none, there is no data. Overlapping pieces: the larger value."""

    pieces: tuple[Piece, ...]
    frame: Frame

    @property
    def extent(self) -> tuple[int, int, int, int]:
        """First row, first column, end row, end column of the data."""
        return (
            min((p.row for p in self.pieces), default=0),
            min((p.column for p in self.pieces), default=0),
            max((p.row + p.height for p in self.pieces), default=0),
            max((p.column + p.width for p in self.pieces), default=0),
        )

    @property
    def mirror_px(self) -> int:
        """Width of the mirrored margin in pixels."""
        return int(np.ceil(MIRROR_M / self.frame.pixel_m))

    def part(self, row: int, column: int, height: int, width: int) -> "Mosaic":
        """Return the mosaic of those pieces that have something to do with a window, their margins included."""
        boxes = (_overlap(piece, row, column, height, width, self.mirror_px) for piece in self.pieces)
        near = [top < bottom and left < right for top, left, bottom, right in boxes]
        return Mosaic(tuple(piece for piece, wanted in zip(self.pieces, near, strict=True) if wanted), self.frame)

    def covered(self, row: int, column: int, height: int, width: int) -> NDArray[np.bool_]:
        """Return (height, width): where a window has data."""
        area = np.zeros((height, width), bool)
        for piece in self.pieces:
            top, left, bottom, right = _overlap(piece, row, column, height, width)
            if top < bottom and left < right:
                area[top - row : bottom - row, left - column : right - column] = True
        return area

    def touches(self, row: int, column: int, height: int, width: int) -> bool:
        """Tell whether a window has any data."""
        boxes = (_overlap(piece, row, column, height, width) for piece in self.pieces)
        return any(top < bottom and left < right for top, left, bottom, right in boxes)

    def inside(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which (n, 2) points, x, y in metres of the frame, lie on data."""
        frame = self.frame
        boxes = [
            shapely.box(
                p.column * frame.width_m,
                p.row * frame.height_m,
                (p.column + p.width) * frame.width_m,
                (p.row + p.height) * frame.height_m,
            )
            for p in self.pieces
        ]
        result = np.zeros(len(points), bool)
        result[shapely.STRtree(boxes).query(shapely.points(points), predicate="intersects")[0]] = True
        return result

    def read(self, bands: list[int], row: int, column: int, height: int, width: int) -> NDArray[np.uint8]:
        """Return (bands, height, width) of a window: consecutive bands, counted from 1.

        Beyond the data lies a margin that mirrors it, and beyond that zeros.
        """
        canvas = np.zeros((len(bands), height, width), np.uint8)
        covered = self.covered(row, column, height, width)
        if not covered.all():
            for piece in self.pieces:
                self._mirror(canvas, piece, bands, row, column, covered)
            for piece in self.pieces:
                top, left, bottom, right = _overlap(piece, row, column, height, width)
                inner = np.s_[
                    :, max(0, top - row) : max(0, bottom - row), max(0, left - column) : max(0, right - column)
                ]
                canvas[inner] = 0
        for piece in self.pieces:
            self._paste(canvas, piece, bands, row, column)
        return canvas

    def _paste(self, canvas: NDArray[np.uint8], piece: Piece, bands: list[int], row: int, column: int) -> None:
        top, left, bottom, right = _overlap(piece, row, column, canvas.shape[1], canvas.shape[2])
        if top >= bottom or left >= right:
            return
        pixels = piece.read(bands, top - piece.row, left - piece.column, bottom - top, right - left)
        target = canvas[:, top - row : bottom - row, left - column : right - column]
        if len(self.pieces) == 1:
            target[:] = pixels
        else:
            np.maximum(target, pixels, out=target)

    def _mirror(
        self,
        canvas: NDArray[np.uint8],
        piece: Piece,
        bands: list[int],
        row: int,
        column: int,
        covered: NDArray[np.bool_],
    ) -> None:
        """Add the piece's four margins and four corners, each the mirror image of what lies inside."""
        height, width = canvas.shape[1:]
        for rows, flip_rows in _strips(piece.row, piece.height, self.mirror_px):
            for columns, flip_columns in _strips(piece.column, piece.width, self.mirror_px):
                if flip_rows is None and flip_columns is None:
                    continue
                top, bottom = max(rows[0], row), min(rows[1], row + height)
                left, right = max(columns[0], column), min(columns[1], column + width)
                if top >= bottom or left >= right:
                    continue
                if covered[top - row : bottom - row, left - column : right - column].all():
                    continue
                first_row, last_row = _source(top, bottom, flip_rows, piece.row)
                first_column, last_column = _source(left, right, flip_columns, piece.column)
                pixels = piece.read(bands, first_row, first_column, last_row - first_row, last_column - first_column)
                if flip_rows is not None:
                    pixels = pixels[:, ::-1]
                if flip_columns is not None:
                    pixels = pixels[:, :, ::-1]
                target = canvas[:, top - row : bottom - row, left - column : right - column]
                np.maximum(target, pixels, out=target)


def _strips(start: int, size: int, margin: int) -> list[tuple[tuple[int, int], int | None]]:
    """Return before, inside and after a piece along one axis, with twice the place of the mirror."""
    margin = min(margin, size)
    return [
        ((start - margin, start), 2 * start),
        ((start, start + size), None),
        ((start + size, start + size + margin), 2 * (start + size)),
    ]


def _source(start: int, end: int, flip: int | None, origin: int) -> tuple[int, int]:
    return (flip - end - origin, flip - start - origin) if flip is not None else (start - origin, end - origin)


def _overlap(
    piece: Piece, row: int, column: int, height: int, width: int, margin: int = 0
) -> tuple[int, int, int, int]:
    return (
        max(piece.row - margin, row),
        max(piece.column - margin, column),
        min(piece.row + piece.height + margin, row + height),
        min(piece.column + piece.width + margin, column + width),
    )


def single(pixels: NDArray[np.uint8] | Path, grid: Grid, name: str) -> Mosaic:
    """Return a mosaic of one raster.

    Raises:
        InputError: it has no CRS, or its transform places no pixels on the ground.
    """
    frame = make_frame(grid.transform, grid.crs, grid.width, grid.height, name)
    return Mosaic((Piece(pixels, 0, 0, grid.height, grid.width),), frame)


def place(paths: Sequence[Path], grids: Sequence[Grid]) -> Mosaic:
    """Return the mosaic of rasters on the pixel grid of the first; places are rounded to whole pixels.

    A raster whose pixels differ in size is resampled to the nearest pixel when read.

    Raises:
        InputError: the rasters differ in CRS, or one is rotated or has no place on the ground.
    """
    first = grids[0]
    inverse = ~checked_transform(first, str(paths[0]))
    pieces = []
    for path, grid in zip(paths, grids, strict=True):
        transform = checked_transform(grid, str(path))
        if grid.crs != first.crs:
            raise InputError(f"{path}: is in {grid.crs}, {paths[0]} in {first.crs}; reproject them to one CRS")
        column, row = inverse * (transform.c, transform.f)
        end_column, end_row = inverse * (transform * (grid.width, grid.height))
        top, left = round(row), round(column)
        height, width = max(1, round(end_row - row)), max(1, round(end_column - column))
        pieces.append(Piece(path, top, left, height, width, (grid.height, grid.width)))
    column, row = np.mean([[p.column + p.width / 2, p.row + p.height / 2] for p in pieces], axis=0)
    middle = first.transform * Affine.translation(column - first.width / 2, row - first.height / 2)
    scale = make_frame(middle, first.crs, first.width, first.height, str(paths[0]))
    return Mosaic(tuple(pieces), replace(scale, transform=first.transform))


def checked_transform(grid: Grid, name: str) -> Affine:
    """Return a raster's transform; raise InputError where it is not upright or not finite."""
    transform = grid.transform
    if not np.isfinite(tuple(transform)).all() or transform.a == 0 or transform.e == 0:
        raise InputError(f"{name}: its geotransform {tuple(transform)[:6]} places no pixels on the ground")
    if transform.b or transform.d:
        raise InputError(f"{name}: is rotated; warp it north up to join it with others")
    return transform
