"""One program on several NUMA nodes: a process (rank) a node, each on its own cores with its node's memory.

A rank is told who it is by the variables that `torchrun` sets (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT), so a
program may be started by either. Ours keeps all sockets on 127.0.0.1 and hands the first rank a socket that listens
already, so that no port is guessed; the kernel ends the ranks with the process that started them.
Nothing here imports torch: a rank starts itself anew on its cores before anything heavy is loaded.
"""

import contextlib
import ctypes
import itertools
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, NoReturn, TypeVar

from roadspeed.errors import HostError, RoadspeedError
from roadspeed.host.cpus import CPUS_VARIABLE, use_own_cpus
from roadspeed.host.launch import become, make_plan
from roadspeed.host.plan import choose, cpus_of, make_request, nodes_of
from roadspeed.host.topology import Topology, format_cpu_list, this_host

log = logging.getLogger(__name__)

T = TypeVar("T")

PARENT_VARIABLE = "ROADSPEED_RANKS_PARENT"
PLACED_VARIABLE = "ROADSPEED_RANK_PLACED"
LISTENER_VARIABLE = "ROADSPEED_RANKS_LISTENER"
PEER_ENDED = 69
"""Exit code of a rank that ends only because another one did; that one has told why."""
_PR_SET_PDEATHSIG = 1
_LOOK_S = 0.05
_REASON_S = 10.0
_HOLD_BACK_S = 4.0


class Rank(NamedTuple):
    """Which of the processes of a program this one is."""

    number: int = 0
    size: int = 1
    """Processes in all."""


def apportion(total: int, weights: Sequence[int], least: int = 1) -> list[int]:
    """Divide `total` things in proportion to `weights`, in whole numbers, nobody getting less than `least`.

    Args:
        total: at least `least` for each weight.
        weights: above 0.
        least: 0 or 1.
    """
    shares = [least] * len(weights)
    for _ in range(total - least * len(weights)):
        # Who lacks most gets the next; the first where equal.
        lacks = [total * weight / sum(weights) - share for weight, share in zip(weights, shares, strict=True)]
        shares[lacks.index(max(lacks))] += 1
    return shares


def divide_cores(topology: Topology, cores: Collection[int], count: int) -> list[tuple[int, ...]]:
    """Divide a job's cores among ranks: a node each; several whole nodes, or a part of one, where numbers differ.

    Args:
        topology: of the machine.
        cores: ids of the job's cores.
        count: ranks, ≥ 1.

    Raises:
        HostError: there are fewer cores than ranks.
    """
    nodes = [[core.id for core in node.cores if core.id in cores] for node in topology.nodes]
    nodes = [node for node in nodes if node]
    if count > sum(map(len, nodes)):
        raise HostError(f"{count} processes need a core each, {sum(map(len, nodes))} are usable here; start fewer")
    if count < len(nodes):
        return [tuple(core for node in part for core in node) for part in _parts(nodes, count)]
    ranks = apportion(count, [len(node) for node in nodes])
    return [tuple(part) for node, here in zip(nodes, ranks, strict=True) for part in _parts(node, here)]


def _parts(items: Sequence[T], count: int) -> list[Sequence[T]]:
    """Cut a list into `count` pieces whose lengths differ by one at most."""
    cuts = [len(items) * k // count for k in range(count + 1)]
    return [items[start:stop] for start, stop in itertools.pairwise(cuts)]


def rank_count(topology: Topology, cores: Collection[int], processes: int | Literal["auto"], most: int) -> int:
    """Return how many ranks a job on those cores starts.

    Args:
        topology: of the machine.
        cores: ids of the job's cores.
        processes: how many are wanted; `auto` is one for each NUMA node that the cores lie on.
        most: more than this would have nothing to do (`auto` only).
    """
    return processes if processes != "auto" else max(1, min(len(nodes_of(topology, cores)), most))


def this_rank(environ: Mapping[str, str] = os.environ) -> Rank | None:
    """Return which rank this process was started as, by us or by torchrun; None: it was not started as one.

    Raises:
        HostError: the variables are no numbers.
    """
    names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    if not all(environ.get(name) for name in names):
        return None
    try:
        return Rank(int(environ["RANK"]), int(environ["WORLD_SIZE"]))
    except ValueError as error:
        raise HostError(f"RANK and WORLD_SIZE must be numbers ({error}); unset them to start one process") from error


def enter_ranks(threads: int, processes: int | Literal["auto"], most: int) -> tuple[Rank, int | None]:
    """Make this program run as its ranks: call it first, before anything heavy is imported.

    A process that was not started as a rank starts them if there is to be more than one, and waits for their end.
    A rank moves to its own cores, binds its memory there, and starts itself anew with the environment that fits.

    Args:
        threads: cores of the whole job.
        processes: ranks wanted, or `auto` for one a NUMA node of the job's cores.
        most: the most ranks that `auto` may start.

    Returns:
        The rank to work as, and the exit code if the ranks did the work already.

    Raises:
        HostError: there are fewer cores than ranks, or a rank was ended by a signal.
    """
    rank = this_rank()
    if rank is not None and (rank.size == 1 or os.environ.get(PLACED_VARIABLE)):
        _only_first_tells(rank)
        return rank, None
    if rank is None and processes == 1:
        return Rank(), None
    use_own_cpus()
    topology = this_host()
    request = make_request(topology, min(threads, len(topology.cores)))
    cores = choose(request, request.cores) or ()
    if rank is not None:
        _start_anew(rank, topology, cores)
    count = rank_count(topology, cores, processes, most)
    divide_cores(topology, cores, count)
    return Rank(), None if count == 1 else _run(count)


def _start_anew(rank: Rank, topology: Topology, cores: Collection[int]) -> NoReturn:
    """Move to this rank's part of the job's cores and start the program again there."""
    _end_with_parent()
    _only_first_tells(rank)
    local = int(os.environ.get("LOCAL_RANK", rank.number))
    parts = divide_cores(topology, cores, int(os.environ.get("LOCAL_WORLD_SIZE", rank.size)))
    hyper_threads = CPUS_VARIABLE in os.environ  # the launcher has chosen them: all that it gave are used
    places = [
        f"cpus {format_cpu_list(cpus_of(topology, part, hyper_threads))} of node "
        f"{format_cpu_list(nodes_of(topology, part))}"
        for part in parts
    ]
    log.info("%d processes: %s", len(parts), ", ".join(places))
    plan = make_plan(topology, parts[local], [sys.executable, *sys.orig_argv[1:]], hyper_threads)
    become(plan, {PLACED_VARIABLE: "1"})


@contextlib.contextmanager
def one_tells(rank: Rank) -> Iterator[None]:
    """Let an error that all ranks meet be told once: the others hold theirs back until the first one's ends them."""
    try:
        yield
    except RoadspeedError:
        if rank.number:
            time.sleep(_HOLD_BACK_S)
        raise


def _run(count: int) -> int:
    """Run this program again as `count` ranks; return the exit code of the one that failed first, or 0."""
    command = [sys.executable, *sys.orig_argv[1:]]
    ranks: list[subprocess.Popen[bytes]] = []
    with socket.create_server(("127.0.0.1", 0), backlog=count) as listener:
        shared = {
            "WORLD_SIZE": str(count),
            "LOCAL_WORLD_SIZE": str(count),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(listener.getsockname()[1]),
            "GLOO_SOCKET_IFNAME": "lo",
            PARENT_VARIABLE: str(os.getpid()),
        }
        for number in range(count):
            own = {"RANK": str(number), "LOCAL_RANK": str(number)}
            descriptors = []
            if number == 0:
                descriptors = [listener.fileno()]
                own[LISTENER_VARIABLE] = str(listener.fileno())
            environ = {**os.environ, **shared, **own}
            ranks.append(subprocess.Popen(command, env=environ, pass_fds=descriptors))
    try:
        return _wait(ranks)
    finally:
        for process in ranks:
            if process.poll() is None:
                process.kill()
            process.wait()


def _wait(ranks: Sequence["subprocess.Popen[bytes]"]) -> int:
    reason_by = None
    while True:
        codes = [process.poll() for process in ranks]
        if not any(code is None or code for code in codes):
            return 0
        told = [(number, code) for number, code in enumerate(codes) if code not in (None, 0, PEER_ENDED)]
        if told:
            number, code = told[0]
            assert code is not None
            if code > 0:
                return code
            raise HostError(
                f"process {number} of {len(ranks)} was ended by {signal.Signals(-code).name}: killed or out of memory"
            )
        if PEER_ENDED in codes:
            reason_by = reason_by or time.monotonic() + _REASON_S
            if time.monotonic() > reason_by:
                raise HostError(f"the {len(ranks)} processes lost each other; look at the log and start it again")
        time.sleep(_LOOK_S)


def _end_with_parent() -> None:
    """Have the kernel end this process when the one that started it ends, however that ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # it outlives `exec`, as an ignored signal does
    parent = os.environ.get(PARENT_VARIABLE)
    if parent is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all at once: the parent's word is enough
        if os.getppid() != int(parent):
            os.kill(os.getpid(), signal.SIGKILL)


def _only_first_tells(rank: Rank) -> None:
    """All ranks do the same: leave the log to the first, and only errors to the others."""
    if rank.number:
        logging.getLogger("roadspeed").setLevel(logging.ERROR)
