"""Exclusive leases of physical cores among all jobs of a host, whoever started them.

One lock file a core lies in a folder that every user can reach. A job that holds `flock` on it holds the core.
The descriptors stay open through `exec` and are inherited by forked children, so the kernel frees a core when
the last process that has them is gone: a SIGKILL leaks nothing, and an orphan that computes on keeps its cores.
(A child started with its descriptors closed, as Python's `subprocess` does, does not keep the lease.)

Files in the folder, none of which is ever deleted or replaced (that would split a lock in two):
- `gate`: held for the milliseconds in which a job looks around and takes cores;
- `core-N`: the lease of the core whose lowest CPU is N; its text tells who holds it;
- `core-N.1`, `core-N.2`, …: leases inside a lease: a pinned job that pins again shares out its own cores;
- `line-N`: a place in the waiting line; held while its job waits, with the number it drew and what it wants.

A job takes cores when enough are free after those kept for the jobs before it in line (see `plan`).
"""

import contextlib
import fcntl
import json
import logging
import os
import random
import shlex
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from roadspeed.errors import HostError
from roadspeed.host.plan import Place, Request, choose, keep_for_waiting

log = logging.getLogger(__name__)

FOLDER_VARIABLE = "ROADSPEED_LEASE_DIR"
LEASE_VARIABLE = "ROADSPEED_LEASE"
_HIGH_DESCRIPTOR = 300
_SAY_AGAIN_S = 60.0


class Lease(NamedTuple):
    """Held cores. The lease lasts while any process has one of the descriptors open.

    `chain` names the lease inside the leases it lies in, outermost first; it goes to the job's environment.
    """

    cores: tuple[int, ...]
    descriptors: tuple[int, ...]
    chain: tuple[str, ...]

    def release(self) -> None:
        """Give the cores back."""
        for descriptor in self.descriptors:
            os.close(descriptor)


class Waiter(NamedTuple):
    """A job in the waiting line; lower numbers came earlier. `chain`: the leases that it runs in."""

    number: int
    chain: tuple[str, ...]
    request: Request


class Holder(NamedTuple):
    """A job that holds cores: its process (or those left of it) and its command line."""

    pids: tuple[int, ...]
    command: str
    cores: tuple[int, ...]


def lease_folder() -> Path:
    """Return the folder of the lock files, made when absent, usable by every user.

    It is `ROADSPEED_LEASE_DIR`, else `roadspeed` in the first of `/run/lock`, `/tmp`, `/dev/shm` that every user
    may write to. TMPDIR is not asked: it differs between users and jobs, and they must meet in one place.

    Raises:
        HostError: there is no such folder.
    """
    given = os.environ.get(FOLDER_VARIABLE)
    if given:
        return _shared_folder(Path(given))
    for base in (Path("/run/lock"), Path("/tmp"), Path("/dev/shm")):  # noqa: S108 - sticky, opened with O_NOFOLLOW
        with contextlib.suppress(OSError):
            if base.stat().st_mode & 0o1777 == 0o1777:
                return _shared_folder(base / "roadspeed")
    raise HostError(f"no folder for core leases is writable by every user; set {FOLDER_VARIABLE} to a local folder")


def _shared_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        status = folder.stat(follow_symlinks=False)
        if status.st_uid == os.geteuid() and status.st_mode & 0o1777 != 0o1777:
            folder.chmod(0o1777)
    except OSError as error:
        raise HostError(f"cannot make the folder of core leases {folder}: {error.strerror}") from error
    if not stat.S_ISDIR(status.st_mode):
        raise HostError(f"{folder} is not a folder; set {FOLDER_VARIABLE} to one for the core leases")
    return folder.resolve()


def inherited_chain() -> tuple[str, ...]:
    """Return the chain of leases that this process runs in (empty outside of any)."""
    return tuple(part for part in os.environ.get(LEASE_VARIABLE, "").split("/") if part)


class LeaseTable:
    """The leases of one host, in one folder."""

    def __init__(self, folder: Path, chain: Sequence[str] = ()) -> None:
        """Use the lock files in `folder`, from inside the leases named by `chain` (see `inherited_chain`)."""
        self.folder = folder
        self.chain = tuple(chain)

    def free_cores(self, cores: Iterable[int]) -> set[int]:
        """Return which of those cores nobody holds now."""
        with self._gate():
            taken = self._take_all(cores)
            _close(taken.values())
            return set(taken)

    def acquire(self, request: Request, command: Sequence[str]) -> Lease:
        """Return a lease of the cores asked for; wait in line while they are not free, and say so.

        Args:
            request: what to lease.
            command: what the cores are for, told to those who wait for them.
        """
        token = f"{os.getpid()}-{os.urandom(4).hex()}"
        number = slot = None
        started = time.monotonic()
        say_at = started
        try:
            while True:
                with self._gate():
                    line = self._line()
                    before = [w for w in line if w.chain == self.chain and (number is None or w.number < number)]
                    lease = self._try(request, before, token, command)
                    if lease is None and slot is None:
                        number = max((waiter.number for waiter in line), default=0) + 1
                        slot = self._enter_line(Waiter(number, self.chain, request))
                if lease:
                    if slot is not None:
                        log.info("got its cores after %.1f s in line", time.monotonic() - started)
                    return lease
                if time.monotonic() >= say_at:
                    log.info("%s", self._why_waiting(request, len(before)))
                    say_at = time.monotonic() + _SAY_AGAIN_S
                # Those far back in a long line look more rarely, so that looking costs nothing.
                time.sleep(min(1.5, 0.08 + 0.02 * len(before)) * random.uniform(0.8, 1.2))  # noqa: S311
        finally:
            if slot is not None:
                os.close(slot)

    def holders(self, cores: Iterable[int]) -> list[Holder]:
        """Return the jobs that hold any of those cores now."""
        cores = sorted(cores)
        held: dict[str, list[int]] = {}
        records: dict[str, dict[str, object]] = {}
        free = self.free_cores(cores)
        for core in (core for core in cores if core not in free):
            record = _read_json(self._core_file(core, len(self.chain)))
            token = str(record.get("token"))
            held.setdefault(token, []).append(core)
            records[token] = record
        found = []
        for token, its_cores in held.items():
            pid = records[token].get("pid")
            alive = isinstance(pid, int) and Path(f"/proc/{pid}").is_dir()
            pids = (pid,) if alive else _openers(self._core_file(its_cores[0], len(self.chain)))
            found.append(Holder(pids, str(records[token].get("command", "")), tuple(its_cores)))  # type: ignore[arg-type]
        return found

    def _why_waiting(self, request: Request, before: int) -> str:
        what = f"{request.threads} core{'s' if request.threads > 1 else ''}"
        nodes = ", ".join(str(place.node) for place in request.places)
        jobs = "; ".join(
            f"pid {', '.join(map(str, holder.pids)) or 'unknown'} holds {len(holder.cores)} ({holder.command[:80]})"
            for holder in self.holders(request.cores)
        )
        line = f"; {before} job{'s' if before > 1 else ''} before it in line" if before else ""
        return f"waiting for {what} of node {nodes}: {jobs or 'kept for jobs before it'}{line}"

    def _try(self, request: Request, before: Iterable[Waiter], token: str, command: Sequence[str]) -> Lease | None:
        """Take the cores if enough are free after those kept for the waiters before; the gate must be held."""
        before = list(before)
        taken = self._take_all(request.cores.union(*(waiter.request.cores for waiter in before)))
        free = set(taken)
        for waiter in before:
            free -= keep_for_waiting(waiter.request, free)
        chosen = choose(request, free)
        _close(files for core, files in taken.items() if core not in (chosen or ()))
        if chosen is None:
            return None
        chain = (*self.chain, token)
        descriptors = []
        for core in chosen:
            for level, descriptor in taken[core].items():
                record = {"token": chain[level], "pid": os.getpid(), "command": shlex.join(command)}
                _write_json(descriptor, record)
                descriptors.append(_kept_through_exec(descriptor))
        return Lease(chosen, tuple(descriptors), chain)

    def _take_all(self, cores: Iterable[int]) -> dict[int, dict[int, int]]:
        """Lock all of those cores that are free; return the descriptors of each by level."""
        taken = {}
        for core in sorted(set(cores)):
            files = self._take(core)
            if files is not None:
                taken[core] = files
        return taken

    def _take(self, core: int) -> dict[int, int] | None:
        """Lock a core at the level of this chain; return the descriptors by level, None if it is held.

        Levels above ours must be ours by their token, or abandoned (then they are taken over); levels below
        must be free: someone who computes in an ended lease still computes.
        """
        depth = len(self.chain)
        files: dict[int, int] = {}
        level = 0
        while level <= depth or self._core_file(core, level).exists():
            path = self._core_file(core, level)
            descriptor = _open_shared(path)
            if _lock(descriptor):
                files[level] = descriptor
            else:
                os.close(descriptor)
                if level >= depth or _read_json(path).get("token") != self.chain[level]:
                    _close([files])
                    return None
            level += 1
        for level in [level for level in files if level > depth]:
            os.close(files.pop(level))
        return files

    def _core_file(self, core: int, level: int) -> Path:
        return self.folder / (f"core-{core}.{level}" if level else f"core-{core}")

    def _line(self) -> list[Waiter]:
        """Return those who wait, first come first; the gate must be held."""
        line = []
        for path in self._line_files():
            descriptor = _open_shared(path)
            waiting = not _lock(descriptor)
            os.close(descriptor)
            waiter = _waiter(_read_json(path)) if waiting else None
            if waiter:
                line.append(waiter)
        return sorted(line, key=lambda waiter: waiter.number)

    def _enter_line(self, waiter: Waiter) -> int:
        """Take a place in the line; return the descriptor that holds it. The gate must be held."""
        index = 0
        while True:
            descriptor = _open_shared(self.folder / f"line-{index}")
            if _lock(descriptor):
                break
            os.close(descriptor)
            index += 1
        request = waiter.request
        record = {"number": waiter.number, "chain": waiter.chain, **request._asdict()}
        _write_json(descriptor, record)
        return descriptor

    def _line_files(self) -> Iterator[Path]:
        index = 0
        while (path := self.folder / f"line-{index}").exists():
            yield path
            index += 1

    @contextlib.contextmanager
    def _gate(self) -> Iterator[None]:
        """Be alone while looking around and taking cores."""
        path = self.folder / "gate"
        descriptor = _open_shared(path)
        try:
            warn_at = time.monotonic() + 10
            while not _lock(descriptor):
                if time.monotonic() > warn_at:
                    log.warning("cannot look for cores: pid %s holds %s", _openers(path), path)
                    warn_at = time.monotonic() + _SAY_AGAIN_S
                time.sleep(random.uniform(0.001, 0.01))  # noqa: S311
            yield
        finally:
            os.close(descriptor)


def _open_shared(path: Path) -> int:
    """Open a lock file for reading and writing, made for all users when absent.

    Never O_CREAT on a file that exists: in folders with the sticky bit the kernel refuses that for the files of
    other users (`fs.protected_regular`).
    """
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    while True:
        try:
            return os.open(path, flags)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise HostError(f"cannot open the lease file {path}: {error.strerror}") from error
        mask = os.umask(0)
        try:
            return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            continue
        except OSError as error:
            raise HostError(f"cannot make the lease file {path}: {error.strerror}") from error
        finally:
            os.umask(mask)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _close(files: Iterable[dict[int, int]]) -> None:
    for levels in files:
        for descriptor in levels.values():
            os.close(descriptor)


def _kept_through_exec(descriptor: int) -> int:
    """Return the open file under a high number: shell scripts use the low ones. F_DUPFD's copy outlives `exec`."""
    try:
        kept = fcntl.fcntl(descriptor, fcntl.F_DUPFD, _HIGH_DESCRIPTOR)
    except OSError:
        kept = fcntl.fcntl(descriptor, fcntl.F_DUPFD, 3)
    os.close(descriptor)
    return kept


def _write_json(descriptor: int, value: object) -> None:
    text = json.dumps(value).encode()
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text, 0)


def _read_json(path: Path) -> dict[str, object]:
    """Return the object in a lock file; empty when it holds none (any user can write there)."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _waiter(record: dict[str, object]) -> Waiter | None:
    """Return the waiter that a place in the line tells of; None when it is not readable."""
    try:
        places = tuple(Place(int(n), int(s), tuple(map(int, cores))) for n, s, cores in record["places"])  # type: ignore[attr-defined]
        request = Request(int(record["threads"]), places, bool(record["spill"]))  # type: ignore[call-overload]
        chain = tuple(map(str, record["chain"]))  # type: ignore[call-overload]
        return Waiter(int(record["number"]), chain, request)  # type: ignore[call-overload]
    except (KeyError, TypeError, ValueError):
        return None


def _openers(path: Path) -> tuple[int, ...]:
    """Return the processes that have a file open, as far as this user may see."""
    pids = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if link.readlink() == path:
                pids.add(int(link.parts[2]))
    return tuple(sorted(pids))
