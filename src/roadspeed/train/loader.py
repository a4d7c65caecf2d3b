"""Batches of crops, from worker processes or from the network's own threads between its steps."""

import logging
import math
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from roadspeed.host.cpus import use_own_cpus
from roadspeed.parallel import end_with_parent
from roadspeed.train.crops import Crop, CropSource

log = logging.getLogger(__name__)

PREFETCH = 4
"""Batches that each worker reads ahead."""
GDAL_CACHE_MB = 64
"""GDAL's cache of decoded blocks a process: bounded, so that memory does not grow with the city."""

CROP_SHARE = 1 / 50
"""CPU time of making a 512² crop (reading, augmentation, stacking) beside that of the network on it: 9 ms beside 535
(ResNet34-U-Net in IPEX BF16 on two AVX512-BF16 cores), rounded up."""
CROP_SHARE_AMX = 1 / 12
"""The same where AMX makes the network four times as fast (assumed: there was no such host)."""


@dataclass(frozen=True)
class Batch:
    """A batch on its way to the network."""

    images: torch.Tensor
    """(N, bands, side, side) uint8, channels last in memory."""
    targets: torch.Tensor
    """(N, channels, side, side) uint8, 0 or 255."""
    names: tuple[str, ...]


def split_threads(threads: int, workers: int | None, batch: int = 8, amx: bool = False) -> tuple[int, int]:
    """Divide a process's threads between the network and loader processes.

    Without workers the network's threads read each batch between two steps, a crop a thread: threads beyond the batch
    then wait. With workers the network lacks their cores. The smaller loss decides; workers get half as much again as
    they need on average.

    Args:
        threads: of this process.
        workers: a number that is set; None chooses.
        batch: crops that this process makes for a batch.
        amx: whether the network runs on AMX, several times as fast.

    Returns:
        The network's threads and the number of worker processes; they add up to `threads`.
    """
    if workers is None:
        share = CROP_SHARE_AMX if amx else CROP_SHARE
        needed = math.ceil(1.5 * share * threads)
        waiting = share * threads / min(batch, threads)
        workers = needed if needed / threads < waiting else 0
    workers = max(0, min(workers, threads - 1))
    return threads - workers, workers


def bound_gdal_cache() -> None:
    """Bound GDAL's block cache in this process and its workers; takes effect before the first raster is read."""
    os.environ.setdefault("GDAL_CACHEMAX", str(GDAL_CACHE_MB))


def collate(crops: list[Crop]) -> Batch:
    """Stack crops into a batch."""
    images = torch.from_numpy(np.stack([crop.image for crop in crops])).permute(0, 3, 1, 2)
    targets = torch.from_numpy(np.stack([crop.target for crop in crops]))
    return Batch(images, targets, tuple(crop.name for crop in crops))


class _Crops(Dataset[Crop]):
    """The crops of all epochs, as a data set whose items are named by (epoch, number)."""

    def __init__(self, source: CropSource) -> None:
        self.source = source

    def __getitem__(self, item: Any) -> Crop:
        return self.source.crop(*item)


class _Numbers:
    """The batches of one epoch at a time, as lists of (epoch, number); the loader keeps its workers meanwhile."""

    def __init__(self, count: int, batch: int, part: slice) -> None:
        self.epoch, self.count, self.batch, self.part = 0, count, batch, part

    def __len__(self) -> int:
        return max(1, self.count // self.batch)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        # An incomplete last batch is left out: its few crops would weigh too much.
        size = min(self.batch, self.count)
        for start in range(len(self)):
            yield [(self.epoch, number) for number in range(start * size, (start + 1) * size)[self.part]]


class CropLoader:
    """Gives the batches of an epoch. Use as a context; its processes or threads end with it.

    With `workers` processes, they read ahead while the network computes. Without, `threads` threads read each
    batch between two steps: then network and reading never run at the same time, and never on more cores.
    `part` is the slice of each batch that is made here, where several processes share it.
    """

    def __init__(self, source: CropSource, batch: int, workers: int, threads: int, part: slice = slice(None)) -> None:
        self.source, self.numbers = source, _Numbers(len(source), batch, part)
        self.loader: DataLoader[Crop] | None = None
        self.pool: ThreadPoolExecutor | None = None
        if workers:
            self.loader = DataLoader(
                _Crops(source),
                batch_sampler=self.numbers,
                num_workers=workers,
                collate_fn=collate,
                persistent_workers=True,
                prefetch_factor=PREFETCH,
                worker_init_fn=_start_worker,
                multiprocessing_context="forkserver",
            )
        else:
            self.pool = ThreadPoolExecutor(threads, initializer=_start_thread)

    @property
    def share(self) -> float:
        """Which share of each batch is made here."""
        size = min(self.numbers.batch, self.numbers.count)
        return len(range(size)[self.numbers.part]) / size

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.numbers)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of an epoch, the same ones each time."""
        self.numbers.epoch = epoch
        if self.loader is not None:
            yield from self.loader
            return
        assert self.pool is not None
        for items in self.numbers:
            yield collate(list(self.pool.map(lambda item: self.source.crop(*item), items)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.loader = None
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)


def _start_thread() -> None:
    """Leave the core that OpenMP may have bound the parent to, and compute on one thread."""
    use_own_cpus()
    cv2.setNumThreads(1)


def _start_worker(_: int) -> None:
    """Make a worker end with its parent, leave Ctrl-C to it, and compute on one thread."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _start_thread()
    torch.set_num_threads(1)
