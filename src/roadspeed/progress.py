"""Progress of long work: a bar on a terminal, a line now and then in a log, with rate and remaining time."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self, TypeVar

from tqdm import tqdm

log = logging.getLogger(__name__)
T = TypeVar("T")

LOG_EVERY_S = 10.0


class Progress:
    """Count units of work done and tell about it.

    Args:
        what: what is being done, such as "masks vegas".
        total: units in all, or None when unknown.
        unit: name of one unit, such as "chip"; "B" shows sizes in binary multiples.
        done: units that an earlier run already did; they do not count into the rate.
        closing: whether to log a last line when all is done; not where the caller logs a better one.
    """

    def __init__(self, what: str, total: int | None, unit: str, done: int = 0, closing: bool = True) -> None:
        self.closing = closing
        self.what, self.total, self.unit, self.done, self.start_done = what, total, unit, done, done
        self.started = self.told = time.monotonic()
        self.bar = (
            tqdm(desc=what, total=total, unit=unit, initial=done, unit_scale=unit == "B", unit_divisor=1024)
            if sys.stderr.isatty() and log.isEnabledFor(logging.INFO)
            else None
        )

    def update(self, units: int = 1) -> None:
        """Add `units` of finished work."""
        self.done += units
        if self.bar is not None:
            self.bar.update(units)
        elif time.monotonic() - self.told >= LOG_EVERY_S:
            self.told = time.monotonic()
            log.info("%s", self.line())

    def line(self) -> str:
        """Return the state as one line: done of total, rate, remaining time."""
        seconds = max(time.monotonic() - self.started, 1e-9)
        rate = (self.done - self.start_done) / seconds
        text = f"{self.what}: {self._amount(self.done, self.total)}, {self._amount(rate)}/s"
        if self.total is not None and rate > 0 and self.total > self.done:
            text += f", {_clock((self.total - self.done) / rate)} left"
        return text

    def _amount(self, value: float, total: float | None = None) -> str:
        if self.unit == "B":
            sizes = (tqdm.format_sizeof(number, "B", 1024) for number in (value, total) if number is not None)
        else:
            sizes = (
                f"{number:.4g}" if isinstance(number, float) else str(number)
                for number in (value, total)
                if number is not None
            )
        return " of ".join(sizes) + ("" if self.unit == "B" else f" {self.unit}s")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.close()
        elif kind is None and self.closing:
            log.info("%s, %s in all", self.line(), _clock(time.monotonic() - self.started))


def track(items: Iterable[T], what: str, total: int, unit: str) -> Iterator[T]:
    """Yield `items` while showing progress; see `Progress`."""
    with Progress(what, total, unit) as progress:
        for item in items:
            yield item
            progress.update()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
