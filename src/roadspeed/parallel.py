"""Work through many chips inside one job's cores, in processes, with bounded memory and in order."""

import collections
import contextlib
import ctypes
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TypeVar

from roadspeed.host.cpus import use_own_cpus
from roadspeed.progress import Progress

T = TypeVar("T")
R = TypeVar("R")

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "GDAL_NUM_THREADS",
)
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = {M_MMAP_THRESHOLD: 32 << 20, M_TRIM_THRESHOLD: 256 << 20}
"""Up to what size glibc serves arrays from its heap, and how much free heap it keeps; 32 MiB is the most it takes."""


def map_ordered(
    work: Callable[[T], R],
    items: Iterable[T],
    total: int,
    threads: int,
    what: str,
    unit: str = "chip",
    preload: str | None = None,
) -> Iterator[R]:
    """Yield `work(item)` for each item, in the items' order, showing progress.

    Strategy: one process a core, each computing on one thread; at most 4 × threads items are in flight, so
    memory does not grow with the city. With one core, or one item, all happens in this process.

    Args:
        work: a function at the top level of a module (it is sent by name), or a `functools.partial` of one.
        items: picklable arguments.
        total: how many items there are.
        threads: cores this job may use.
        what: for the progress line, such as "masks vegas".
        unit: name of one item.
        preload: a module for the server that the processes are forked from; that of `work` by default.

    Raises:
        Exception: whatever `work` raises; what is not started then is dropped.
    """
    with Progress(what, total, unit) as progress:
        if min(threads, total) <= 1:
            keep_freed_memory()
            for item in items:
                yield work(item)
                progress.update()
            return
        context = multiprocessing.get_context("forkserver")
        module = getattr(getattr(work, "func", work), "__module__", "roadspeed")
        context.set_forkserver_preload([preload or module])
        saved = {name: os.environ.get(name) for name in THREAD_VARIABLES}
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
        try:
            with ProcessPoolExecutor(min(threads, total), context, initializer=_start_worker) as pool:
                queue: collections.deque[Future[R]] = collections.deque()
                rest = iter(items)
                try:
                    queue.extend(pool.submit(work, item) for item in itertools.islice(rest, 4 * threads))
                    while queue:
                        result = queue.popleft().result()
                        queue.extend(pool.submit(work, item) for item in itertools.islice(rest, 1))
                        progress.update()
                        yield result
                finally:
                    pool.shutdown(wait=True, cancel_futures=True)
        finally:
            for name, value in saved.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def keep_freed_memory() -> None:
    """Let this process use a chip's memory again for the next one, where its C library is glibc.

    By default glibc gives arrays of a chip's size back to the kernel, which has to clear each page anew for the next
    chip: a sixth of the time of an 8-bit image, and more on several cores.
    """
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, size in KEPT_BYTES.items():
            mallopt(option, size)


def end_with_parent() -> None:
    """Make this worker process end when the process that started it ends, however that ends.

    The kernel's signal on a parent's death would come from the fork server, which lives as long as any worker.
    So a thread waits for the pipe that the real parent holds.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None, "only for processes started by multiprocessing"

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="end_with_parent", daemon=True).start()


def _start_worker() -> None:
    """Make the worker end with its parent, leave Ctrl-C to it, and compute on one thread on any core of the job."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    use_own_cpus()
    keep_freed_memory()
    try:
        import cv2
    except ImportError:
        return
    cv2.setNumThreads(1)
