"""Finding Intel OpenMP and tcmalloc, to be preloaded into a job."""

import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class Library(NamedTuple):
    """A library to preload: file names that serve (before `.so`), the ones that stand in for it, how to get it."""

    name: str
    stems: tuple[str, ...]
    instead: tuple[str, ...]
    install: str
    machines: tuple[str, ...] = ()


INTEL_OPENMP = Library("Intel OpenMP", ("libiomp5",), ("libiomp5", "libomp"), "pip install intel-openmp", ("x86_64",))
TCMALLOC = Library(
    "tcmalloc",
    ("libtcmalloc", "libtcmalloc_minimal"),
    ("libtcmalloc", "libjemalloc", "libmimalloc"),
    "sudo apt-get install libgoogle-perftools4",
)


def search_folders(environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield the folders to look in, the environment of this Python first, each once."""
    machine = platform.machine()
    folders = [Path(sys.prefix) / "lib"]
    folders += [Path(environ[name]) / "lib" for name in ("VIRTUAL_ENV", "CONDA_PREFIX") if environ.get(name)]
    folders += [Path(part) for part in environ.get("LD_LIBRARY_PATH", "").split(":") if part]
    system = ("/usr/local/lib", f"/usr/lib/{machine}-linux-gnu", f"/lib/{machine}-linux-gnu", "/usr/lib64", "/lib64")
    folders += [Path(name) for name in (*system, "/usr/lib", "/opt/intel/oneapi/compiler/latest/lib")]
    yield from dict.fromkeys(folders)


def find(library: Library, folders: Sequence[Path]) -> Path | None:
    """Return the library's file: the first folder that has it, the shortest name there, newest first.

    Files for another processor are passed over, and paths that LD_PRELOAD cannot name (it splits at blanks and
    colons).
    """
    for stem in library.stems:
        for folder in folders:
            for path in sorted(folder.glob(f"{stem}.so*"), key=_version):
                named = re.fullmatch(r"\.so[.\d]*", path.name.removeprefix(stem))
                if named and not re.search(r"[\s:]", str(path)) and _runs_here(path):
                    return path
    return None


def _version(path: Path) -> tuple[int, list[int]]:
    """Return a key that sorts `.so` before `.so.4` before `.so.4.5.10`, and newer before older."""
    numbers = [-int(number) for number in re.findall(r"\d+", path.name.partition(".so")[2])]
    return len(numbers), numbers


def _runs_here(path: Path) -> bool:
    """Tell whether a file is a library of the same word size and processor as this Python."""
    own = _elf_kind(Path("/proc/self/exe"))
    return own is not None and _elf_kind(path) == own


def _elf_kind(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            head = file.read(20)
    except OSError:
        return None
    return head[4:6] + head[18:20] if head[:4] == b"\x7fELF" and len(head) == 20 else None


def preloads(environ: Mapping[str, str]) -> tuple[str, list[Library]]:
    """Return the value for LD_PRELOAD (what is there already comes last, as it was), and the libraries not found.

    A library that is preloaded already, or one that stands in for it (another allocator), is left alone.
    """
    present = environ.get("LD_PRELOAD", "")
    names = [Path(entry).name for entry in re.split(r"[\s:]+", present) if entry]
    folders = list(search_folders(environ))
    found: list[str] = []
    missing = []
    for library in (INTEL_OPENMP, TCMALLOC):
        if library.machines and platform.machine() not in library.machines:
            continue
        if any(name.startswith(library.instead) for name in names):
            continue
        path = find(library, folders)
        if path:
            found.append(os.fspath(path))
        else:
            missing.append(library)
    return ":".join([*found, *([present] if present else [])]), missing
