"""What the first directory of a TIFF says, above all where its strips or tiles lie in the file.

GDAL tells that only block by block, which takes longer than reading the pixels.
"""

import os
import struct
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

NUMBERS = {1: "u1", 3: "u2", 4: "u4", 16: "u8"}
"""NumPy's names of TIFF's kinds of whole numbers."""
MOST_TAGS = 4096
TAGS = {
    256: "width",
    257: "height",
    258: "bits",
    259: "compression",
    266: "fill_order",
    273: "strip_offsets",
    277: "bands",
    278: "strip_rows",
    279: "strip_sizes",
    284: "planar",
    317: "predictor",
    322: "tile_width",
    324: "tile_offsets",
    325: "tile_sizes",
    339: "format",
}


class CutShortError(Exception):
    """The file ends before what its directory tells of."""


def read_tags(file: BinaryIO) -> dict[str, NDArray[np.int64]]:
    """Return the values of the known tags of the first directory, none for a file that is no TIFF.

    Args:
        file: open for reading; classic or big TIFF of either byte order.

    Raises:
        CutShortError: the file ends before the directory or one of its lists does.
    """
    head = os.pread(file.fileno(), 4, 0)
    order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
    if not order or head[2:] not in (struct.pack(f"{order}H", kind) for kind in (42, 43)):
        return {}
    big = head[2:] == struct.pack(f"{order}H", 43)
    word, room = ("u8", 8) if big else ("u4", 4)

    size = os.fstat(file.fileno()).st_size

    def numbers(kind: str, count: int, place: int) -> NDArray[np.int64]:
        wanted = count * np.dtype(kind).itemsize
        if not 0 <= place <= size - wanted:
            raise CutShortError
        return np.frombuffer(os.pread(file.fileno(), wanted, place), f"{order}{kind}").astype(np.int64)

    start = int(numbers(word, 1, room)[0])
    count = int(numbers("u8" if big else "u2", 1, start)[0])
    start += 8 if big else 2
    tags: dict[str, NDArray[np.int64]] = {}
    for place in range(start, start + min(count, MOST_TAGS) * (4 + 2 * room), 4 + 2 * room):
        tag, kind = numbers("u2", 2, place).tolist()
        if tag in TAGS and kind in NUMBERS:
            length = int(numbers(word, 1, place + 4)[0])
            at = place + 4 + room
            if length * np.dtype(NUMBERS[kind]).itemsize > room:
                at = int(numbers(word, 1, at)[0])
            tags[TAGS[tag]] = numbers(NUMBERS[kind], length, at)
    return tags


def is_cut_short(file: BinaryIO) -> bool:
    """Return whether a TIFF ends before one of its strips or tiles does; False for other files.

    Args:
        file: open for reading.
    """
    try:
        tags = read_tags(file)
    except CutShortError:
        return True
    size = os.fstat(file.fileno()).st_size
    for kind in ("strip", "tile"):
        offsets, sizes = tags.get(f"{kind}_offsets"), tags.get(f"{kind}_sizes")
        if offsets is not None and sizes is not None and len(offsets) == len(sizes):
            there = (offsets > 0) & (sizes > 0)  # a block that was never written has neither
            if (offsets[there] + sizes[there] > size).any():
                return True
    return False
