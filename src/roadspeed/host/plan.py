"""Which cores a job gets: pure functions from a topology and the free cores to a choice.

Rules. A job that fits a node gets cores of one node: the named one, or (auto) the one with the most free cores.
Only a job larger than every node spills over nodes, those of the freest socket first. A job larger than the
machine gets all of it. A job that waits keeps the free cores it is waiting to complete, so later jobs cannot
starve it: a waiter named to a node keeps that node's; an auto waiter keeps those of the node nearest to having
enough, whose free cores then only grow in number, until it is served.
"""

import logging
from collections.abc import Collection
from typing import NamedTuple

from roadspeed.host.topology import Topology, check_node

log = logging.getLogger(__name__)


class Place(NamedTuple):
    """One NUMA node with the ids of its cores that a job may get."""

    node: int
    socket: int
    cores: tuple[int, ...]


class Request(NamedTuple):
    """What a job asks for: `threads` physical cores of one of `places`, or of several when `spill`."""

    threads: int
    places: tuple[Place, ...]
    spill: bool = False

    @property
    def cores(self) -> set[int]:
        """Ids of all cores that the job could get."""
        return {core for place in self.places for core in place.cores}


def make_request(topology: Topology, threads: int, numa_node: int | None = None) -> Request:
    """Return what a job of `threads` cores may get on this machine.

    More threads than the machine (or the named node) has become all it has, with a warning: Snakemake accepts
    `--cores 56` on any machine.

    Args:
        topology: the usable cores.
        threads: wanted physical cores, ≥ 1.
        numa_node: id of the only node to use; None: the best.

    Raises:
        HostError: the node has no usable core.
    """
    places = [
        Place(node.id, node.cores[0].socket, tuple(core.id for core in node.cores))
        for node in (topology.nodes if numa_node is None else [check_node(topology, numa_node)])
    ]
    usable = sum(len(place.cores) for place in places)
    if threads > usable:
        where = "are usable here" if numa_node is None else f"are usable on NUMA node {numa_node}"
        log.warning("%d threads asked for, %d physical cores %s: taking all of them", threads, usable, where)
        threads = usable
    large = [place for place in places if len(place.cores) >= threads]
    return Request(threads, tuple(large or places), spill=not large)


def choose(request: Request, free: Collection[int]) -> tuple[int, ...] | None:
    """Return the ids of the cores to take, `request.threads` of them, ascending; None: not enough are free.

    Args:
        request: what the job asks for.
        free: ids of cores that nobody holds.
    """
    places = _by_free(request, free)
    if not request.spill:
        best = places[0]
        return best.cores[: request.threads] if len(best.cores) >= request.threads else None
    on_socket: dict[int, int] = {}
    for place in places:
        on_socket[place.socket] = on_socket.get(place.socket, 0) + len(place.cores)
    by_socket = sorted(places, key=lambda place: (-on_socket[place.socket], place.socket))
    cores = [core for place in by_socket for core in place.cores]
    return tuple(sorted(cores[: request.threads])) if len(cores) >= request.threads else None


def keep_for_waiting(request: Request, free: Collection[int]) -> set[int]:
    """Return the free cores that later jobs must leave to a job that waits."""
    places = _by_free(request, free)
    kept = places if request.spill else places[:1]
    return set([core for place in kept for core in place.cores][: request.threads])


def _by_free(request: Request, free: Collection[int]) -> list[Place]:
    """Return the places with their free cores only, the freest first (the lowest id where equal)."""
    places = [place._replace(cores=tuple(c for c in place.cores if c in free)) for place in request.places]
    return sorted(places, key=lambda place: (-len(place.cores), place.node))


def nodes_of(topology: Topology, cores: Collection[int]) -> list[int]:
    """Return the ids of the nodes that those cores lie on, ascending."""
    return [node.id for node in topology.nodes if any(core.id in cores for core in node.cores)]


def cpus_of(topology: Topology, cores: Collection[int], hyper_threads: bool = False) -> list[int]:
    """Return the CPUs of those cores, ascending: one a core, or all its usable hyper-threads when asked."""
    chosen = [core for core in topology.cores if core.id in cores]
    return sorted(cpu for core in chosen for cpu in (core.cpus if hyper_threads else core.cpus[:1]))
