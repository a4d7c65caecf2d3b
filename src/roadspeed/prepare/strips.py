"""Some bands of a GeoTIFF of 16-bit pixels in strips, uncompressed or LZW: how satellite images come.

Strategy: of such files, whose bands lie pixel by pixel, GDAL has to unpack every band and pass it through its cache.
Here a little at a time is unpacked into a buffer that stays in the processor's cache, and only the wanted bands
leave it. LZW (TIFF 6.0, section 13): each string is an earlier piece of the output, so a table of places and lengths
is all that is needed, and most strings are copied by one move of eight bytes. Whatever is not of this kind, or is
damaged, is left to GDAL.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from roadspeed.compiled import compiled
from roadspeed.tiff import CutShortError, read_tags

NONE, LZW = 1, 5
"""TIFF's numbers of compressions."""
CLEAR, END, FIRST = 256, 257, 258
SPARE_BYTES = 4096 + 16
"""Room behind a buffer: the last string of a strip, and moves of eight bytes, may end beyond it."""
READ_BYTES = 1 << 20
"""Bytes of strips that are read at once."""
SAMPLED = 16
LARGEST_STRIP = (1 << 20) - SPARE_BYTES - 256
"""Bytes of an LZW strip whose places fit into the entries of LZW's table."""


@dataclass(frozen=True)
class Strips:
    """Where the strips of an image lie in its file."""

    width: int
    height: int
    bands: int
    strip_rows: int
    lzw: bool
    differences: bool
    """Whether each value is the difference to its left neighbour's."""
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]

    @property
    def rows(self) -> NDArray[np.int64]:
        """Rows of each strip."""
        return np.minimum(self.strip_rows, self.height - self.strip_rows * np.arange(len(self.offsets)))

    @property
    def row_bytes(self) -> int:
        """Bytes of an unpacked row."""
        return 2 * self.width * self.bands


def read_strips(path: Path, bands: Sequence[int], sampled: bool = False) -> NDArray[np.uint16] | None:
    """Read some bands of an image.

    Args:
        path: the file.
        bands: band numbers from 1.
        sampled: read only one of 16 strips, but at least 16 where there are as many, evenly spread.

    Returns:
        (bands, rows, columns), rows of the strips read, one below the other; None where the file is not of this kind
        or cannot be read, which says nothing about GDAL.
    """
    with path.open("rb") as file:
        layout = find_strips(file)
        if layout is None or max(bands) > layout.bands:
            return None
        step = max(1, min(SAMPLED, len(layout.offsets) // SAMPLED)) if sampled else 1
        chosen = np.arange(0, len(layout.offsets), step)
        offsets, sizes = layout.offsets[chosen], layout.sizes[chosen]
        ends = offsets + sizes
        rows = layout.rows[chosen]
        found = np.empty((len(bands), int(rows.sum()), layout.width), np.uint16)
        places = np.array(bands, np.int64) - 1
        strip = np.zeros(256 + layout.strip_rows * layout.row_bytes + SPARE_BYTES, np.uint8)
        pixels = strip[256:-SPARE_BYTES].view(np.uint16).reshape(layout.strip_rows, layout.width, layout.bands)
        data = np.empty(max(READ_BYTES, int(sizes.max())) + SPARE_BYTES, np.uint8)
        top = first = 0
        while first < len(chosen):
            stop = first + 1
            while (
                stop < len(chosen) and offsets[stop] == ends[stop - 1] and ends[stop] - offsets[first] <= READ_BYTES
            ):
                stop += 1
            span = int(ends[stop - 1] - offsets[first])
            if os.preadv(file.fileno(), [data[:span].data], int(offsets[first])) < span:
                return None
            here, count = slice(first, stop), int(rows[first:stop].sum())
            if layout.lzw:
                packed = (data, offsets[here] - offsets[first], sizes[here])
                if not _unpack_strips(*packed, rows[here], strip, pixels, layout.differences, places, found, top):
                    return None
            else:
                _pick(
                    data[:span].view(np.uint16).reshape(count, layout.width, layout.bands), False, places, found, top
                )
            top += count
            first = stop
        return found


def load() -> None:
    """Load the compiled code, so that processes forked later have it."""
    strip, found = np.zeros(256 + 2 + SPARE_BYTES, np.uint8), np.zeros((1, 1, 1), np.uint16)
    pixels, none, one = strip[256:258].view(np.uint16).reshape(1, 1, 1), np.zeros(1, np.int64), np.ones(1, np.int64)
    _pick(pixels, False, none, found, 0)
    _unpack_strips(strip, none, one, one, strip, pixels, False, none, found, 0)


def find_strips(file: BinaryIO) -> Strips | None:
    """Read the first directory of a little-endian TIFF; None where it is not one of 16-bit pixels in strips."""
    try:
        tags = read_tags(file) if os.pread(file.fileno(), 2, 0) == b"II" else {}
    except CutShortError:
        return None
    one = {name: int(values[0]) for name, values in tags.items() if len(values)}
    if not {"width", "height", "bits", "strip_offsets", "strip_sizes"} <= one.keys() or "tile_width" in one:
        return None
    kinds = set(tags["bits"].tolist()), set(tags["format"].tolist()) if "format" in tags else {1}
    if kinds != ({16}, {1}) or one.get("planar", 1) != 1:
        return None
    compression, predictor = one.get("compression", NONE), one.get("predictor", 1)
    strip_rows = min(one.get("strip_rows", one["height"]), one["height"])
    strips = Strips(
        one["width"],
        one["height"],
        one.get("bands", 1),
        strip_rows,
        compression == LZW,
        predictor == 2,
        tags["strip_offsets"],
        tags["strip_sizes"],
    )
    usual = predictor == 1 if compression == NONE else compression == LZW and predictor in (1, 2)
    if not usual or one.get("fill_order", 1) != 1 or not strip_rows:
        return None
    if not len(strips.offsets) == len(strips.sizes) == -(-strips.height // strip_rows):
        return None
    # Nothing is unpacked, nor any memory taken, on the word of a damaged file.
    inside = strips.offsets + strips.sizes <= os.fstat(file.fileno()).st_size
    if not ((strips.offsets > 0) & (strips.sizes > 0) & inside).all():
        return None
    if strips.lzw:
        return strips if strip_rows * strips.row_bytes <= LARGEST_STRIP else None
    return strips if (strips.sizes == strips.rows * strips.row_bytes).all() else None


_intrinsic: Callable[[Any], Any] = intrinsic
"""Numba's own type asks callers for the first argument, which it gives itself."""


@_intrinsic
def _load(typing_context: Any, array: Any, index: Any) -> Any:
    """Return the eight bytes from `index` on as a number, the first byte lowest; it must be inside."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer = builder.bitcast(
            builder.gep(data, [arguments[1]]), context.get_value_type(types.uint64).as_pointer()
        )
        return builder.load(pointer, align=1)

    return types.uint64(array, types.uint64), generate


@_intrinsic
def _store(typing_context: Any, array: Any, index: Any, value: Any) -> Any:
    """Write eight bytes from `index` on; they must be inside."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer = builder.bitcast(
            builder.gep(data, [arguments[1]]), context.get_value_type(types.uint64).as_pointer()
        )
        builder.store(arguments[2], pointer, align=1)
        return context.get_dummy_value()

    return types.void(array, types.uint64, types.uint64), generate


@_intrinsic
def _swapped(typing_context: Any, value: Any) -> Any:
    """Reverse the order of a number's eight bytes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bswap(arguments[0])

    return types.uint64(types.uint64), generate


@compiled
def _pick(pixels, differences, places, found, top):  # type: ignore[no-untyped-def]
    """Copy the bands at `places` of (rows, columns, bands) to (bands, rows, columns) from row `top` on."""
    for row in range(pixels.shape[0]):
        for k in range(len(places)):
            band = places[k]
            if differences:
                value = np.uint16(0)
                for x in range(pixels.shape[1]):
                    value = np.uint16(value + pixels[row, x, band])
                    found[k, top + row, x] = value
            else:
                for x in range(pixels.shape[1]):
                    found[k, top + row, x] = pixels[row, x, band]


@compiled
def _unpack_strips(data, offsets, sizes, rows, strip, pixels, differences, places, found, top):  # type: ignore[no-untyped-def]
    """Unpack strips and copy the bands at `places` to `found`; return whether all were well formed."""
    table = np.zeros(4096, np.uint32)
    for number in range(len(offsets)):
        length = 2 * rows[number] * pixels.shape[1] * pixels.shape[2]
        if not _unpack(data, offsets[number], sizes[number], strip, length, table):
            return False
        _pick(pixels[: rows[number]], differences, places, found, top)
        top += rows[number]
    return True


@compiled
def _unpack(data, offset, size, strip, length, table):  # type: ignore[no-untyped-def]
    """Unpack LZW of one strip to `strip` from byte 256 on, before which each byte value stands once.

    A table's entry is the place of a string in `strip` × 4096 + its length. Numbers are unsigned, of 64 bits: then
    Numba leaves out the case of indexes below 0.
    """
    if size < 2 or data[offset] != CLEAR >> 1 or data[offset + 1] >= 128:
        return False  # it does not begin with a clear, or is of the kind from before TIFF 6.0
    for value in range(256):
        strip[value] = value
        table[value] = value << 12 | 1
    table[CLEAR] = table[END] = 0
    one, eight, seven = np.uint64(1), np.uint64(8), np.uint64(7)
    out, stop = np.uint64(256), np.uint64(256 + length)
    bit, end_bit = eight * np.uint64(offset), eight * np.uint64(offset + size)
    bits, free = np.uint64(9), np.uint64(FIRST)
    before, before_length = np.uint64(0), np.uint64(0)
    while out < stop:
        # So many codes of this many bits; each makes one entry, but for the first one after a clear.
        codes = min((one << bits) - one - free + np.uint64(bits == 12), (end_bit - bit) // bits)
        if before_length == 0:
            codes = min(codes, one)
        if codes == 0:
            return False
        while codes and out < stop:
            codes -= one
            word = _swapped(_load(data, bit >> np.uint64(3))) << (bit & seven)
            code = word >> (np.uint64(64) - bits)
            bit += bits
            if before_length:
                table[free] = np.uint32(before << np.uint64(12) | (before_length + one))
                free += one
            entry = np.uint64(table[code])
            place, count = entry >> np.uint64(12), entry & np.uint64(4095)
            if count == 0 or code >= free:
                if code != CLEAR:
                    return False
                bits, free, before_length = np.uint64(9), np.uint64(FIRST), np.uint64(0)
                break
            if place + count <= out:
                _store(strip, out, _load(strip, place))
                done = eight
                while done < count:
                    _store(strip, out + done, _load(strip, place + done))
                    done += eight
            else:  # the string just entered: it runs into itself
                for k in range(count):
                    strip[out + np.uint64(k)] = strip[place + np.uint64(k)]
            before, before_length = out, count
            out += count
        if free + one == one << bits and bits < 12:
            bits += one
    return True
