"""Files that are whole or absent: atomic writing, fingerprints, locks, and the record beside a result."""

import contextlib
import csv
import fcntl
import hashlib
import json
import logging
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from roadspeed import __version__
from roadspeed.host.cpus import own_cpus
from roadspeed.storage import Writing

log = logging.getLogger(__name__)


@contextlib.contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Give a temporary path beside `path` (same suffix); move it into place when the block ends well.

    Folders on the way are made. On an exception the temporary file is removed and `path` stays as it was.

    Raises:
        StorageError: the disk is full, or does not take the file.
    """
    path = Path(path)
    with Writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem[:40]}.", suffix=f".tmp{path.suffix}", dir=path.parent)
        os.close(handle)
    temporary = Path(name)
    try:
        with Writing(path, probe=temporary):
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def write_text(path: Path | str, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: object) -> None:
    """Write a JSON file atomically, indented, keys in the order given."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_table(path: Path | str, columns: Iterable[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write a CSV table atomically; missing values become empty cells.

    Raises:
        ValueError: a row has a column that is not in `columns`.
    """
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_table(path: Path | str) -> list[dict[str, str]]:
    """Read a CSV table as one dictionary of texts a row."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def fingerprint(*values: object) -> str:
    """Return 16 hexadecimal digits that depend on the values (anything JSON can hold; paths as their text)."""
    text = json.dumps(values, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: Path | str) -> str:
    """Return 16 hexadecimal digits that depend on a file's content alone."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def file_stamp(path: Path | str) -> tuple[str, int, int]:
    """Return name, size and modification time in ns: cheap to compare, changes when the file is replaced."""
    status = Path(path).stat()
    return Path(path).name, status.st_size, status.st_mtime_ns


@contextlib.contextmanager
def locked(folder: Path | str, what: str) -> Iterator[None]:
    """Hold `folder` exclusively while the block runs, waiting for another process that holds it.

    The kernel frees the lock when its process ends, however it ends. An orphan of a killed run is thus
    waited for instead of writing the same files at the same time.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            log.warning("%s: waiting for process %s, which is at work in %s", what, file.read().strip(), folder)
            fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield


def provenance(settings: Mapping[str, Any], **more: object) -> dict[str, object]:
    """Return what made a result: settings, versions, host and time; `more` adds seeds, engine and the like."""
    from importlib import metadata

    versions = {"roadspeed": __version__, "python": platform.python_version()}
    for name in (
        "torch",
        "intel-extension-for-pytorch",
        "openvino",
        "nncf",
        "timm",
        "numpy",
        "opencv-python-headless",
        "rasterio",
    ):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {
        "settings": dict(settings),
        **more,
        "versions": versions,
        "host": {
            "name": platform.node(),
            "system": platform.platform(),
            "cores": len(own_cpus()),
        },
        "command": sys.argv,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
