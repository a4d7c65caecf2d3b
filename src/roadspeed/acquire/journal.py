"""What is on disk of an object that is being fetched: so much of each range, known again after a kill."""

import contextlib
import json
import logging
import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from roadspeed.acquire.store import ObjectInfo
from roadspeed.files import write_json
from roadspeed.storage import Writing

log = logging.getLogger(__name__)


class Journal:
    """What is on disk of an object: the part file, what it is a part of, and the bytes done of each range."""

    def __init__(self, folder: Path, info: ObjectInfo, range_bytes: int) -> None:
        self.folder, self.info, self.range_bytes = folder, info, range_bytes
        self.part, self._head, self._counts = folder / "part", folder / "object.json", folder / "counts"
        self.done: list[int] = []
        self._part_fd = self._counts_fd = -1

    def __enter__(self) -> Self:
        identity = {"url": self.info.url, "size": self.info.size, "version": self.info.version}
        before = self._before()
        known = {name: before.get(name) for name in identity}
        fresh = known != identity or not self.part.exists() or self.info.version is None or not self.info.ranges
        if fresh and before:
            log.warning(
                "%s is %s; its download starts from the beginning",
                self.info.url,
                "another object than the one on disk"
                if known != identity
                else "on disk in part, but cannot be resumed",
            )
        if fresh:
            self._counts.unlink(missing_ok=True)
            self.part.unlink(missing_ok=True)
            write_json(self._head, {**identity, "range_bytes": self.range_bytes})
        else:
            self.range_bytes = int(str(before["range_bytes"]))
        self._part_fd = os.open(self.part, os.O_RDWR | os.O_CREAT, 0o666)
        self._counts_fd = os.open(self._counts, os.O_RDWR | os.O_CREAT, 0o666)
        os.ftruncate(self._part_fd, self.info.size)
        self.starts = list(range(0, self.info.size, self.range_bytes))
        os.ftruncate(self._counts_fd, 8 * len(self.starts))
        counts = struct.unpack(f"<{len(self.starts)}Q", os.pread(self._counts_fd, 8 * len(self.starts), 0))
        self.done = [min(count, self.length(i)) for i, count in enumerate(counts)]
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._part_fd)
        os.close(self._counts_fd)

    def _before(self) -> dict[str, object]:
        try:
            before = json.loads(self._head.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return before if isinstance(before, dict) and isinstance(before.get("range_bytes"), int) else {}

    def length(self, index: int) -> int:
        """Return the bytes of a range."""
        return min(self.range_bytes, self.info.size - index * self.range_bytes)

    def add(self, index: int, block: memoryview) -> None:
        """Write the next block of a range."""
        place = self.starts[index] + self.done[index]
        written = 0
        count = self.done[index] + len(block)
        with Writing(self.part):
            while written < len(block):
                written += os.pwrite(self._part_fd, block[written:], place + written)
            os.pwrite(self._counts_fd, struct.pack("<Q", count), 8 * index)
        self.done[index] = count

    def front(self, index: int) -> tuple[int, int]:
        """Return the first range from `index` on that is not complete, and the bytes before which all is there."""
        while index < len(self.starts) and self.done[index] == self.length(index):
            index += 1
        return index, self.info.size if index == len(self.starts) else self.starts[index] + self.done[index]

    @contextlib.contextmanager
    def mapped(self, place: int, stop: int) -> Iterator[memoryview]:
        """Give bytes that are done as they lie in the kernel's memory, without a copy, while the block runs."""
        start = place - place % mmap.ALLOCATIONGRANULARITY
        with (
            mmap.mmap(self._part_fd, stop - start, prot=mmap.PROT_READ, offset=start) as content,
            memoryview(content) as whole,
            whole[place - start :] as wanted,
        ):
            yield wanted

    def clear(self) -> None:
        """Forget all that is on disk."""
        for path in (self._head, self._counts, self.part):
            path.unlink(missing_ok=True)
