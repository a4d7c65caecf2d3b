"""Safe unpacking of only what is needed, from a stream of compressed bytes.

Strategy: one thread reads and decompresses (zlib frees Python's lock), this one walks through the tar and writes. No
path of the tarball is ever used: a wanted member is recognised by its name, and its file is named by what that name
says. A wanted member that is no plain file, leads outside, is too large or contradicts an earlier one means that the
tarball is not what it should be, and ends the work. Unwanted members are passed over, whatever they are.
"""

import contextlib
import logging
import os
import queue
import threading
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Self

from roadspeed.acquire.tarwalk import Member, skip, walk
from roadspeed.errors import InputError
from roadspeed.files import atomic
from roadspeed.names import ChipName, parse_name

log = logging.getLogger(__name__)

MIB = 1 << 20
QUEUE_BLOCKS = 16
_GZIP_MAGIC = b"\x1f\x8b"


def unpack(
    blocks: Iterable[memoryview],
    folder: Path,
    place_of: Callable[[ChipName], str | None],
    source: str,
    max_member_bytes: int,
) -> list[str]:
    """Unpack the wanted members of a tarball, gzipped or plain.

    Args:
        blocks: the tarball's bytes in order, each block valid until the next; read to their end in any case.
        folder: where files go; nothing is ever written outside.
        place_of: the path inside `folder` for a file that carries this name, or None when it is not wanted.
        source: the tarball's name, for messages.
        max_member_bytes: a larger wanted member is refused.

    Returns:
        Paths inside `folder` of all wanted members, sorted.

    Raises:
        InputError: the tarball is damaged, cut short or hostile.
        StorageError: a file cannot be written, such as on a full disk.
    """
    seen: dict[str, str] = {}
    with Inflated(blocks, source) as plain:
        for member in walk(plain, source):
            name = parse_name(member.name) if member.kind != "folder" else None
            place = place_of(name) if name is not None else None
            if place is None:
                got = skip(plain, member.size)
            else:
                _refuse_hostile(member, source, max_member_bytes)
                got = _take_member(plain, member, folder / place, seen.get(place), source)
                seen.setdefault(place, member.name)
            if got < member.size:
                raise InputError(f"{source}: the tarball is cut short inside {member.name[:200]!r}; fetch it again")
        # Damage after the tar's end mark is damage too, and the checksum wants every byte.
        plain.drain()
    return sorted(seen)


def _refuse_hostile(member: Member, source: str, max_member_bytes: int) -> None:
    shown = member.name[:200]
    if member.kind != "file":
        raise InputError(f"{source}: member {shown!r} is a {member.kind}, expected a file; the tarball is refused")
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise InputError(f"{source}: member {shown!r} leads outside the folder; the tarball is refused")
    if member.size > max_member_bytes:
        raise InputError(
            f"{source}: member {shown!r} claims {member.size} bytes, at most {max_member_bytes} are accepted; raise "
            "max_member_mib if that is right"
        )


def _take_member(plain: "Inflated", member: Member, target: Path, before: str | None, source: str) -> int:
    """Write a member to its file and return the bytes there were; compare it instead when it came before."""
    if before is not None:
        if not _same(plain, member, target):
            raise InputError(
                f"{source}: {member.name[:200]!r} has the chip and product of {before[:200]!r} but other content; "
                "the tarball is refused"
            )
        return member.size
    got = 0
    with atomic(target) as temporary:
        with temporary.open("wb", buffering=0) as file:
            for piece in plain.pieces(member.size):
                got += len(piece)
                rest = piece
                while rest:
                    rest = rest[file.write(rest) :]
        if got < member.size:
            raise InputError(f"{source}: the tarball is cut short inside {member.name[:200]!r}; fetch it again")
    return got


def _same(plain: "Inflated", member: Member, path: Path) -> bool:
    same = path.stat().st_size == member.size
    with path.open("rb") as file:
        for piece in plain.pieces(member.size):
            same = same and file.read(len(piece)) == piece
    return same


class Inflated:
    """The plain bytes of a tarball, decompressed by a thread of its own with a bounded queue."""

    def __init__(self, blocks: Iterable[memoryview], source: str) -> None:
        self._plain = _inflate(iter(blocks), source)
        self._queue: queue.Queue[memoryview | None] = queue.Queue(QUEUE_BLOCKS)
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(1)
        self._current = memoryview(b"")
        self._ended = False

    def __enter__(self) -> Self:
        self._work = self._pool.submit(self._produce)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        while not self._work.done():
            with contextlib.suppress(queue.Empty):
                self._queue.get(timeout=0.01)
        self._pool.shutdown()

    def pieces(self, size: int) -> Iterator[memoryview]:
        """Yield the next `size` bytes piecemeal; fewer where the stream ends before."""
        while size:
            if not self._current:
                block = None if self._ended else self._queue.get()
                if block is None:
                    self._ended = True
                    self._work.result()  # raises what ended the stream early
                    return
                self._current = block
            piece, self._current = self._current[:size], self._current[size:]
            size -= len(piece)
            yield piece

    def drain(self) -> None:
        """Read to the end."""
        while skip(self, 64 * MIB):
            pass

    def _produce(self) -> None:
        try:
            for block in self._plain:
                if self._stop.is_set():
                    return
                if block:
                    self._queue.put(memoryview(block))
        finally:
            self._plain.close()
            self._queue.put(None)


def _inflate(blocks: Iterator[memoryview], source: str) -> Generator[bytes, None, None]:
    """Yield the plain bytes of gzip members one after the other; bytes that are no gzip pass unchanged."""
    head = b""
    while len(head) < 2 and (block := next(blocks, None)) is not None:
        head += block
    if not head:
        raise InputError(f"{source}: the tarball is empty; fetch it again")
    if not head.startswith(_GZIP_MAGIC):
        yield head
        yield from map(bytes, blocks)
        return
    data: bytes | memoryview = head
    while data:
        inflater = zlib.decompressobj(wbits=31)
        while not inflater.eof:
            try:
                plain = inflater.decompress(data, MIB)
            except zlib.error as error:
                raise InputError(f"{source}: the gzip stream is damaged ({error}); fetch it again") from error
            yield plain
            data = inflater.unconsumed_tail
            if not data and not inflater.eof and not plain:
                following = next(blocks, None)
                if following is None:
                    raise InputError(f"{source}: the gzip stream is cut short; fetch it again")
                data = following
        data = inflater.unused_data
        if len(data) < 2:
            data += bytes(next(blocks, b""))
        if data and not data.startswith(_GZIP_MAGIC):
            log.warning("%s: bytes after the end of the gzip stream are ignored", source)
            break
    for _ in blocks:  # the checksum wants every byte
        pass


def file_blocks(path: Path, start: int = 0) -> Iterator[memoryview]:
    """Yield a file's bytes from `start` on in blocks, each valid until the next.

    Raises:
        InputError: the file cannot be read.
    """
    buffer = memoryview(bytearray(MIB))
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(start)
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
            while count := file.readinto(buffer):
                yield buffer[:count]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
