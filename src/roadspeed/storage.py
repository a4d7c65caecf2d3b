"""Disks that take no more: told from other failures, in one line with what to do."""

import errno
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

from roadspeed.errors import RoadspeedError, StorageError

GIB = 1 << 30
PROBE_BYTES = 1 << 20
"""Room that is tried for when a library failed to write without saying why."""

_ADVICE = {
    errno.ENOSPC: "make room, or move the folder to a larger disk, and run the command again; what is done is kept",
    errno.EDQUOT: "your quota is used up; make room in it, and run the command again; what is done is kept",
    errno.EFBIG: "files may not become this large here: raise the limit (ulimit -f), or use another disk",
    errno.EIO: "the disk reports a fault: look at the system's log, or use another disk",
    errno.ENOTDIR: "a file lies where a folder is needed: move it away, or choose another folder",
    errno.EROFS: "the disk can only be read: choose another folder",
    errno.EACCES: "get the right to read and write it, or choose another folder",
    errno.EPERM: "get the right to read and write it, or choose another folder",
}


class Writing:
    """While the block runs, a failure to write becomes a `StorageError` if the disk is to blame.

    Libraries such as GDAL, SQLite and safetensors say "write failed" or "disk I/O error" at best; so where an error
    is not the system's own, it is tried whether the disk takes more.

    Args:
        path: what is being written, for the message.
        probe: a file on the same disk that may be written to and is removed afterwards; no try without it.
    """

    def __init__(self, path: Path | str, probe: Path | None = None) -> None:
        self.path, self.probe = Path(path), probe

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(value, Exception) or isinstance(value, RoadspeedError):
            return
        cause = value if isinstance(value, OSError) and value.errno in _ADVICE else None
        if cause is None and self.probe is not None:
            cause = _refused(self.probe)
        refused = cause and storage_error(cause, self.path)
        if refused:
            raise refused from value


def storage_error(error: OSError, path: Path | str | None = None) -> StorageError | None:
    """Return the system's refusal to write as an error of ours; None where it is something else.

    Args:
        error: what the system said.
        path: what was being written; the error's own file by default, and where access is refused.
    """
    if error.errno not in _ADVICE:
        return None
    refused = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
    place = error.filename if refused and error.filename else path or error.filename
    free = ""
    if place and error.errno == errno.ENOSPC:
        free = f"; {free_bytes(Path(place)) / GIB:.1f} GiB are free there"
    advice = _ADVICE[error.errno]
    verb = "used" if refused else "written"
    return StorageError(f"{place or 'a file'}: cannot be {verb} ({os.strerror(error.errno)}{free}); {advice}")


def free_bytes(path: Path) -> int:
    """Return the free space of the file system that `path`, or its nearest existing parent, lies on."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def _refused(probe: Path) -> OSError | None:
    """Return what the system says when more is written to a file; None when it takes that."""
    try:
        with probe.open("ab", buffering=0) as file:
            left = PROBE_BYTES
            while left > 0:
                left -= file.write(bytes(min(left, 1 << 20)))
    except OSError as error:
        return error if error.errno in _ADVICE else None
    return None
