"""Download of large objects: parallel ranges, resume after any kill, checksum while the bytes arrive.

Strategy: the object is cut into ranges; each connection takes the next one and writes its blocks where they belong
in one sparse file. After each block the range's count of bytes is written to a small journal. Both writes go to the
kernel, which keeps them when the process is killed, so a resume fetches only what was still in a socket. (After a
power cut the journal may know more than the disk; the checksum finds that.) Memory: one block a connection.

The checksum needs the bytes in order. A thread follows the front of what is complete and feeds it from the page
cache, in large bites, since Python's threads wait for each other after each. Where the link is slower than MD5
(0.7 GB/s a core), it is done when the download is; elsewhere it does not hold the download up, and whoever reads the
file first takes the rest.
"""

import contextlib
import logging
import queue
import random
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path

from roadspeed.acquire.checksum import Checksum
from roadspeed.acquire.journal import Journal
from roadspeed.acquire.settings import AcquireSettings, Tarball
from roadspeed.acquire.store import ObjectChangedError, ObjectInfo, ObjectStore
from roadspeed.acquire.unpack import file_blocks
from roadspeed.acquire.web import TransientError
from roadspeed.errors import FetchError, StorageError
from roadspeed.files import locked
from roadspeed.progress import Progress
from roadspeed.storage import free_bytes

log = logging.getLogger(__name__)

MIB = 1 << 20
GIB = 1 << 30
LEAST_HASHED, MOST_HASHED = 2 * MIB, 32 * MIB
"""Bytes that are checksummed at once."""
STREAM_WINDOW_BYTES = 128 * MIB
MAX_RESTARTS = 2
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0


class Stopped(Exception):  # noqa: N818
    """Another thread of the same download failed."""


class Fetched:
    """An object whose bytes are all on disk; they may still have to be judged."""

    def __init__(self, journal: Journal, checksum: Checksum) -> None:
        self._journal = journal
        self.path, self.info, self.checksum = journal.part, journal.info, checksum

    def verify(self) -> None:
        """Judge the bytes; wrong ones are removed.

        Raises:
            FetchError: they are not the expected ones.
        """
        place = self.checksum.taken
        for _ in summed(file_blocks(self.path, place), self.checksum, place):
            pass
        try:
            self.checksum.verify()
        except FetchError:
            self.discard()
            raise

    def keep(self, target: Path) -> None:
        """Move the file to where it stays."""
        self.path.replace(target)
        self._journal.clear()

    def discard(self) -> None:
        """Remove the file; the next download starts from the beginning."""
        self._journal.clear()


@contextlib.contextmanager
def fetched(store: ObjectStore, tarball: Tarball, work: Path, settings: AcquireSettings) -> Iterator[Fetched]:
    """Bring an object's bytes to disk and hold them while the block runs.

    What a killed run left in `work` is used when the object is unchanged. An object that is replaced on the way is
    fetched anew.

    Args:
        store: where the object is.
        tarball: its key, and its MD5 and size where they are known.
        work: a folder for this object alone.
        settings: connections, range size, attempts.

    Raises:
        FetchError: the object cannot be fetched.
    """
    with locked(work, f"download of {tarball.key}"):
        for restart in range(MAX_RESTARTS + 1):
            info = head(store, tarball, settings)
            if not info.ranges:
                log.warning("%s: the server gives no ranges; there is one connection and no resume", info.url)
            size = max(MIB, min(settings.range_mib * MIB, -(-info.size // settings.connections)))
            with Journal(work, info, size if info.ranges else max(info.size, 1)) as journal:
                checksum = Checksum(tarball, info)
                try:
                    _fetch(store, tarball.key, journal, checksum, settings)
                except ObjectChangedError as error:
                    if restart == MAX_RESTARTS:
                        raise
                    log.warning("%s", error)
                    continue
                yield Fetched(journal, checksum)
                return


def download(store: ObjectStore, tarball: Tarball, target: Path, settings: AcquireSettings) -> None:
    """Bring an object to disk, whole and verified; `target` appears at the end. See `fetched`.

    Args:
        store: where the object is.
        tarball: its key, and its MD5 and size where they are known.
        target: the file to make; nothing is done when it exists.
        settings: connections, range size, attempts.

    Raises:
        FetchError: the object cannot be fetched, or its bytes are not the expected ones.
    """
    if target.exists():
        return
    with fetched(store, tarball, target.parent / f".{target.name}", settings) as got:
        got.verify()
        got.keep(target)


def summed(blocks: Iterable[memoryview], checksum: Checksum, start: int = 0) -> Iterator[memoryview]:
    """Pass blocks on while a thread feeds them to a checksum, as far as it has not had them.

    Args:
        blocks: bytes in order, each block valid until the next.
        checksum: takes what lies beyond the bytes it has taken.
        start: place of the first byte.
    """
    with ThreadPoolExecutor(1) as pool:
        for block in blocks:
            work = pool.submit(checksum.update, block[max(0, checksum.taken - start) :])
            start += len(block)
            yield block
            work.result()


def head(store: ObjectStore, tarball: Tarball, settings: AcquireSettings) -> ObjectInfo:
    """Ask for an object's size and version, with retries.

    Raises:
        FetchError: it cannot be reached, or has another size than is known.
    """
    attempts = Attempts(settings)
    while True:
        try:
            info = store.head(tarball.key)
            break
        except TransientError as error:
            attempts.failed(error)
    if tarball.size is not None and info.size != tarball.size:
        raise FetchError(
            f"{info.url}: has {info.size} bytes, expected {tarball.size}; the config or the object is wrong"
        )
    return info


def check_space(folder: Path, need: int, what: str) -> None:
    """Stop before a disk fills up.

    Raises:
        StorageError: `folder` has less free space than `need` bytes.
    """
    free = free_bytes(folder)
    log.info("%s: needs about %.1f GiB, %.1f GiB are free", what, need / GIB, free / GIB)
    if need > free:
        raise StorageError(
            f"{folder}: {what} needs about {need / GIB:.1f} GiB, {free / GIB:.1f} GiB are free; make room, or "
            "move the folder to a larger disk"
        )


class Attempts:
    """Counts failures in a row, and waits longer after each."""

    def __init__(self, settings: AcquireSettings, stop: threading.Event | None = None) -> None:
        self.most, self.count, self.stop = settings.attempts, 0, stop or threading.Event()

    def failed(self, error: TransientError, progressed: bool = False) -> None:
        """Wait before the next try.

        Args:
            error: what went wrong.
            progressed: whether bytes came since the last failure; the count then starts again.

        Raises:
            FetchError: all attempts are used up.
        """
        self.count = 1 if progressed else self.count + 1
        if self.count >= self.most:
            raise FetchError(
                f"{error}; gave up after {self.count} attempts, run the command again to go on"
            ) from error
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (self.count - 1)) * random.uniform(0.5, 1)  # noqa: S311
        log.warning("%s; try %d of %d in %.1f s", error, self.count + 1, self.most, pause_s)
        self.stop.wait(pause_s)


def _fetch(store: ObjectStore, key: str, journal: Journal, checksum: Checksum, settings: AcquireSettings) -> None:
    """Fetch the ranges that are not complete, and checksum the whole."""
    info = journal.info
    done = sum(journal.done)
    if done:
        log.info("%s: going on at %.2f of %.2f GiB", info.url, done / GIB, info.size / GIB)
    check_space(journal.folder, info.size - done, f"download of {info.url}")
    stop = threading.Event()
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    for index in range(len(journal.starts)):
        if journal.done[index] < journal.length(index):
            todo.put(index)
    lock = threading.Lock()

    def work() -> None:
        with contextlib.suppress(queue.Empty):
            while not stop.is_set():
                fetch_range(todo.get_nowait())

    def fetch_range(index: int) -> None:
        attempts = Attempts(settings, stop)
        stop_at = journal.starts[index] + journal.length(index)
        while journal.done[index] < journal.length(index):
            before = journal.done[index]
            if not info.ranges:
                journal.done[index] = before = 0
            try:
                for block in store.blocks(key, info, journal.starts[index] + before, stop_at):
                    if stop.is_set():
                        raise Stopped
                    journal.add(index, block)
                    with lock:
                        progress.update(len(block))
            except TransientError as error:
                attempts.failed(error, progressed=journal.done[index] > before)

    with (
        Progress(f"download {Path(key).name}", info.size, "B", done) as progress,
        ThreadPoolExecutor(settings.connections + 1) as pool,
    ):
        follower = pool.submit(_follow, journal, checksum, stop)
        try:
            _wait_all([pool.submit(work) for _ in range(settings.connections)])
        finally:
            stop.set()
        follower.result()


def _wait_all(futures: list["Future[None]"]) -> None:
    """Wait until all have ended, or raise the first error."""
    for future in wait(futures, return_when=FIRST_EXCEPTION).done:
        future.result()


def _follow(journal: Journal, checksum: Checksum, stop: threading.Event) -> None:
    """Feed the checksum with what is complete, in order, until told to stop."""
    index = place = 0
    while place < journal.info.size and not stop.is_set():
        index, front = journal.front(index)
        if front - place < LEAST_HASHED and front < journal.info.size:
            time.sleep(0.002)
            continue
        # Large bites: after each, this thread waits for its turn among those that download.
        bite = min(front, place + MOST_HASHED)
        with journal.mapped(place, bite) as block:
            checksum.update(block)
        place = bite


def stream(store: ObjectStore, key: str, info: ObjectInfo, settings: AcquireSettings) -> Iterator[memoryview]:
    """Yield an object's bytes in order, fetched by parallel ranges, without a file.

    Memory: at most STREAM_WINDOW_BYTES of ranges that wait for their turn.

    Raises:
        FetchError: the object cannot be fetched to its end, or was replaced on the way.
    """
    size = max(MIB, min(settings.range_mib * MIB, STREAM_WINDOW_BYTES // (settings.connections + 1)))
    stop = threading.Event()

    def fetch(start: int, stop_at: int) -> bytearray:
        attempts = Attempts(settings, stop)
        found = bytearray(stop_at - start)
        filled = 0
        while filled < len(found):
            before = filled
            try:
                for block in store.blocks(key, info, start + filled, stop_at):
                    if stop.is_set():
                        raise Stopped
                    found[filled : filled + len(block)] = block
                    filled += len(block)
            except TransientError as error:
                attempts.failed(error, progressed=filled > before)
        return found

    if not info.ranges:
        yield from store.blocks(key, info, 0, info.size)
        return
    with (
        Progress(f"download {Path(key).name}", info.size, "B") as progress,
        ThreadPoolExecutor(settings.connections) as pool,
    ):
        ahead: deque[Future[bytearray]] = deque()
        try:
            for start in range(0, info.size, size):
                ahead.append(pool.submit(fetch, start, min(start + size, info.size)))
                if len(ahead) > settings.connections:
                    yield memoryview(_take(ahead, progress))
            while ahead:
                yield memoryview(_take(ahead, progress))
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def _take(ahead: "deque[Future[bytearray]]", progress: Progress) -> bytearray:
    found = ahead.popleft().result()
    progress.update(len(found))
    return found
