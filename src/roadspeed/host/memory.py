"""Binding a process's memory to NUMA nodes: what `numactl --membind` does, without needing numactl.

The policy is set on the calling thread; the kernel keeps it through `exec` and gives it to children.
"""

import os
import platform
from collections.abc import Collection
from pathlib import Path

from roadspeed.host.topology import Topology, parse_cpu_list

_MPOL_BIND = 2
_SYSCALL = {"x86_64": 238, "aarch64": 237}


def nodes_to_bind(topology: Topology, nodes: Collection[int]) -> list[int]:
    """Return those of the nodes that have memory (a node without takes its neighbour's, left to the kernel)."""
    return [node.id for node in topology.nodes if node.id in nodes and node.has_memory]


def bind_memory(nodes: Collection[int], status: Path = Path("/proc/self/status")) -> str | None:
    """Take memory only from those nodes from now on.

    Args:
        nodes: ids of NUMA nodes, at least one.
        status: the kernel's file about this process, which names the nodes that its cgroup allows.

    Returns:
        None when bound; else why not, in a few words.
    """
    import ctypes

    allowed = _allowed_nodes(status)
    if allowed is not None and not allowed.issuperset(nodes):
        return f"the cgroup allows memory of node {', '.join(map(str, sorted(allowed)))} only"
    words = [0] * (max(nodes) // 64 + 1)
    for node in nodes:
        words[node // 64] |= 1 << node % 64
    mask = (ctypes.c_uint64 * len(words))(*words)
    highest = ctypes.c_ulong(64 * len(words) + 1)
    number = _SYSCALL.get(platform.machine())
    try:
        if number:
            libc = ctypes.CDLL(None, use_errno=True)
            failed = libc.syscall(ctypes.c_long(number), ctypes.c_long(_MPOL_BIND), mask, highest)
        else:
            libnuma = ctypes.CDLL("libnuma.so.1", use_errno=True)
            failed = libnuma.set_mempolicy(ctypes.c_int(_MPOL_BIND), mask, highest)
    except OSError:
        return "libnuma is not installed (sudo apt-get install libnuma1)"
    return f"the kernel refused: {os.strerror(ctypes.get_errno())}" if failed else None


def _allowed_nodes(status: Path) -> set[int] | None:
    try:
        text = status.read_text(encoding="ascii")
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith("Mems_allowed_list:"):
            return set(parse_cpu_list(line.partition(":")[2]))
    return None
