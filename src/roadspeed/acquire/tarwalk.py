"""The members of a tar stream, one after the other, with nothing taken on trust.

The standard library's tarfile takes damage after the first member for the end, and holds extended headers of any size
in memory; so its header parser is used, and the walk is done here.
"""

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from roadspeed.errors import InputError

MAX_EXTENDED_HEADER_BYTES = 1 << 20
"""A longer name or attribute list is an attack."""
_LONG_NAME, _LONG_LINK, _GNU_SPARSE = tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.GNUTYPE_SPARSE
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_WITHOUT_DATA = (
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.DIRTYPE,
    tarfile.FIFOTYPE,
)
_KINDS = {
    tarfile.LNKTYPE: "hard link",
    tarfile.SYMTYPE: "symbolic link",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
    tarfile.FIFOTYPE: "pipe",
    tarfile.DIRTYPE: "folder",
}
_PAX_RECORD = re.compile(rb"(\d{1,7}) ([^=\n]{1,1000})=")


class Stream(Protocol):
    """Plain bytes, read once."""

    def pieces(self, size: int) -> Iterator[memoryview]:
        """Yield the next `size` bytes piecemeal; fewer where the stream ends before."""


@dataclass(frozen=True)
class Member:
    """A member; its data must be read from the stream before the next one is asked for."""

    name: str
    size: int
    """Bytes of data."""
    kind: str
    """`file`, `folder`, `symbolic link`, `hard link`, `device`, `pipe`, or `file of an unknown kind`."""


def walk(stream: Stream, source: str) -> Iterator[Member]:
    """Yield the members of a tar; the caller reads exactly `size` bytes of each from the stream.

    Padding between members is read here.

    Raises:
        InputError: the tar is damaged, cut short, or has headers that no honest program writes.
    """
    name, size = "", -1
    while True:
        header = take(stream, tarfile.BLOCKSIZE)
        if len(header) < tarfile.BLOCKSIZE:
            raise InputError(f"{source}: the tarball has no end mark, it is cut short; fetch it again")
        if header.count(0) == tarfile.BLOCKSIZE:
            if name or size >= 0:
                raise InputError(f"{source}: the tarball ends after an extended header; fetch it again")
            return
        try:
            found = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError) as error:
            raise InputError(f"{source}: the tarball has a damaged header ({error}); fetch it again") from error
        if found.size < 0 or found.type == _GNU_SPARSE:
            what = "a negative size" if found.size < 0 else "the sparse format"
            raise InputError(f"{source}: member {found.name[:200]!r} has {what}; the tarball is refused")
        if found.type in (_LONG_NAME, _LONG_LINK, tarfile.XGLTYPE, *_PAX):
            content = _extended(stream, found.size, source)
            if found.type == _LONG_NAME:
                name = content.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
            elif found.type in _PAX:
                name, size = _pax(content, name, size, source)
            continue
        bytes_of_data = 0 if found.type in _WITHOUT_DATA else size if size >= 0 else found.size
        kind = "file" if found.type in tarfile.REGULAR_TYPES else _KINDS.get(found.type, "file of an unknown kind")
        yield Member(name or found.name, bytes_of_data, kind)
        skip(stream, -bytes_of_data % tarfile.BLOCKSIZE)
        name, size = "", -1


def take(stream: Stream, size: int) -> bytes:
    """Return the next `size` bytes, fewer where the stream ends."""
    return b"".join(stream.pieces(size))


def skip(stream: Stream, size: int) -> int:
    """Pass over the next `size` bytes; return how many there were."""
    return sum(len(piece) for piece in stream.pieces(size))


def _extended(stream: Stream, size: int, source: str) -> bytes:
    if size > MAX_EXTENDED_HEADER_BYTES:
        raise InputError(f"{source}: an extended header of {size} bytes; the tarball is refused")
    content = take(stream, size)
    skip(stream, -size % tarfile.BLOCKSIZE)
    if len(content) < size:
        raise InputError(f"{source}: the tarball is cut short inside a header; fetch it again")
    return content


def _pax(content: bytes, name: str, size: int, source: str) -> tuple[str, int]:
    """Return the name and size that a pax header gives to the next member."""
    place = 0
    while place < len(content):
        match = _PAX_RECORD.match(content, place)
        length = int(match[1]) if match else 0
        if match is None or length <= match.end() - place or place + length > len(content):
            raise InputError(f"{source}: the tarball has a damaged pax header; fetch it again")
        value = content[match.end() : place + length - 1]
        if match[2] == b"path":
            name = value.decode("utf-8", "surrogateescape")
        elif match[2] == b"size":
            if not re.fullmatch(rb"\d{1,18}", value):
                raise InputError(f"{source}: the tarball has a pax header with size {value[:40]!r}; fetch it again")
            size = int(value)
        elif match[2].startswith(b"GNU.sparse."):
            raise InputError(f"{source}: a member has the sparse format; the tarball is refused")
        place += length
    return name, size
