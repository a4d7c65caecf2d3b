"""The processes of one training: what each one's share is, and the sums they form together.

Strategy: every process does all that decides (loss, norm of the gradients, validation, the best epoch) on sums over
all of them, so that all come to the same result without asking the first. A step costs one exchange of some dozen
numbers in the loss and one of the gradients; on one host that is memory traffic beside seconds of convolutions, and
needs no overlap with them.
"""

import contextlib
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta

import torch
from torch import distributed

from roadspeed.errors import InputError, TrainingError
from roadspeed.host.cpus import own_cpus, use_own_cpus
from roadspeed.host.ranks import LISTENER_VARIABLE, PARENT_VARIABLE, Rank, apportion

log = logging.getLogger(__name__)

_TEXT_BYTES = 4096
_PATIENCE = timedelta(days=30)
"""How long one process waits for another: a lost one is noticed at once, a slow one is no error."""


class PeerEnded(TrainingError):  # noqa: N818 - not an error of this process
    """Another process of this training has ended, and has told why."""


class Ranks:
    """The processes of a training as one of them sees the others; alone, nothing is exchanged.

    Args:
        number: of this process, from 0.
        cores: how many cores each process has.
    """

    def __init__(self, number: int = 0, cores: Sequence[int] = (1,)) -> None:
        self.number, self.cores = number, tuple(cores)

    @property
    def size(self) -> int:
        """How many processes there are."""
        return len(self.cores)

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.number == 0

    def part(self, count: int, least: int = 0) -> slice:
        """Return which of `count` things are this process's, in proportion to its cores.

        Raises:
            InputError: there are too few for everybody to get `least`.
        """
        if count < least * self.size:
            raise InputError(
                f"{self.size} processes cannot share a batch of {count}: set train.processes to {count} or fewer"
            )
        shares = apportion(count, self.cores, least)
        start = sum(shares[: self.number])
        return slice(start, start + shares[self.number])

    def add(self, tensor: torch.Tensor) -> None:
        """Replace a contiguous tensor by its sum over all processes, the same bits in each; no gradient flows."""
        if self.size > 1:
            with _peers():
                distributed.all_reduce(tensor)

    def add_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace the gradients by their sums over all processes, in one exchange."""
        if self.size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        self.add(flat)
        start = 0
        for gradient in gradients:
            gradient.copy_(flat[start : start + gradient.numel()].view(gradient.shape))
            start += gradient.numel()

    def average(self, tensors: Iterable[torch.Tensor], weight: float) -> None:
        """Replace tensors by their mean over all processes; the weights of all add up to 1."""
        if self.size == 1:
            return
        for tensor in tensors:
            value = tensor.contiguous() * weight
            self.add(value)
            tensor.copy_(value)

    def copy_first(self, tensors: Iterable[torch.Tensor]) -> None:
        """Replace tensors by the first process's."""
        if self.size == 1:
            return
        with _peers():
            for tensor in tensors:
                value = tensor.contiguous()
                distributed.broadcast(value, 0)
                if value is not tensor:
                    tensor.copy_(value)

    def texts(self, text: str) -> list[str]:
        """Return each process's text (its first 4096 bytes)."""
        data = text.encode()[:_TEXT_BYTES]
        table = torch.zeros((self.size, _TEXT_BYTES), dtype=torch.uint8)
        table[self.number, : len(data)] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        self.add(table)
        return [bytes(row.tolist()).rstrip(b"\0").decode(errors="replace") for row in table]

    def wait(self) -> None:
        """Wait until all processes have come here."""
        self.add(torch.zeros(1))


ALONE = Ranks()


@contextlib.contextmanager
def joined(rank: Rank) -> Iterator[Ranks]:
    """Meet the other processes (see `roadspeed.host.ranks`) and give what this one needs of them.

    Raises:
        PeerEnded: another one has ended meanwhile.
    """
    if rank.size == 1:
        yield ALONE
        return
    use_own_cpus()  # the threads that exchange data start from this one
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    listener = os.environ.pop(LISTENER_VARIABLE, None)
    with _peers():
        store = None
        if PARENT_VARIABLE in os.environ:
            descriptor = None if listener is None else int(listener)
            store = distributed.TCPStore(
                host, port, rank.size, rank.number == 0, _PATIENCE, master_listen_fd=descriptor
            )
        distributed.init_process_group("gloo", store=store, rank=rank.number, world_size=rank.size, timeout=_PATIENCE)
    cores = torch.zeros(rank.size, dtype=torch.int64)
    cores[rank.number] = len(own_cpus())
    Ranks(rank.number, cores.tolist()).add(cores)
    ranks = Ranks(rank.number, cores.tolist())
    log.info("process %d of %d, with %s cores", rank.number, rank.size, ranks.cores)
    yield ranks
    # Only after good work: after an error nobody answers any more, and the process ends anyway.
    ranks.wait()
    distributed.destroy_process_group()


@contextlib.contextmanager
def _peers() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # what gloo raises where a connection breaks
        raise PeerEnded(
            f"another process of this training has ended ({' '.join(str(error).split())[:200]})"
        ) from error
