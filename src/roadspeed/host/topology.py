"""Which physical cores of which NUMA node this process may use.

Read from the kernel's files under `/sys`, from `lscpu` where those are hidden, or from what `lscpu -p` printed
on another machine. Imports stay light: every job of the workflow starts through this module.
"""

import logging
import os
import re
import subprocess
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from roadspeed.errors import HostError, InputError

log = logging.getLogger(__name__)

LSCPU = ("lscpu", "-p=CPU,CORE,SOCKET,NODE")


class Core(NamedTuple):
    """One physical core.

    `id` is the lowest CPU number of the core, usable or not: the same on the whole host for every process.
    `cpus` are its hyper-threads that may be used, ascending.
    """

    id: int
    cpus: tuple[int, ...]
    socket: int = 0


class Node(NamedTuple):
    """One NUMA node with the cores that may be used, ascending by id."""

    id: int
    cores: tuple[Core, ...]
    has_memory: bool = True


class Topology(NamedTuple):
    """The NUMA nodes that have a usable core, ascending by id (ids may be sparse)."""

    nodes: tuple[Node, ...]

    @property
    def cores(self) -> tuple[Core, ...]:
        """All usable cores, node by node."""
        return tuple(core for node in self.nodes for core in node.cores)

    def restricted(self, cpus: Collection[int]) -> "Topology":
        """Return the topology with only the hyper-threads in `cpus`; cores and nodes without any vanish."""
        nodes = []
        for node in self.nodes:
            cores = [core._replace(cpus=tuple(c for c in core.cpus if c in cpus)) for core in node.cores]
            usable = tuple(core for core in cores if core.cpus)
            if usable:
                nodes.append(node._replace(cores=usable))
        return Topology(tuple(nodes))

    def as_json(self) -> dict[str, object]:
        """Return `{"nodes": [{"id", "cores": [[cpu, …hyper-threads], …]}]}`."""
        return {"nodes": [{"id": n.id, "cores": [list(c.cpus) for c in n.cores]} for n in self.nodes]}


class Cpu(NamedTuple):
    """One logical CPU as a machine describes it; None is unknown."""

    cpu: int
    core: int | None
    socket: int | None
    node: int | None


def parse_cpu_list(text: str) -> list[int]:
    """Return the numbers of a kernel list such as `0-3,8,10-11`, ascending; an empty text gives none.

    Raises:
        InputError: the text is not such a list.
    """
    cpus: set[int] = set()
    for part in text.strip().split(","):
        if not part.strip():
            continue
        found = re.fullmatch(r"\s*(\d{1,6})(?:-(\d{1,6}))?\s*", part)
        if not found or int(found[2] or found[1]) < int(found[1]):
            raise InputError(f"'{part}' is not a CPU or a range of CPUs; give a list such as 0-3,8")
        cpus.update(range(int(found[1]), int(found[2] or found[1]) + 1))
    return sorted(cpus)


def format_cpu_list(cpus: Iterable[int]) -> str:
    """Return numbers as a kernel list: `[0, 1, 2, 5]` gives `0-2,5`."""
    parts: list[list[int]] = []
    for cpu in sorted(set(cpus)):
        if parts and cpu == parts[-1][1] + 1:
            parts[-1][1] = cpu
        else:
            parts.append([cpu, cpu])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def this_host(root: Path = Path("/sys/devices/system")) -> Topology:
    """Return the cores that this process may use, by its affinity (which cgroups and Slurm restrict too).

    Raises:
        HostError: no usable core was found.
    """
    usable = os.sched_getaffinity(0)
    topology = read_sysfs(root, usable)
    if not topology.nodes:
        topology = _from_lscpu_program().restricted(usable)
    if not topology.nodes:
        log.warning("neither %s nor lscpu describes the processor: each CPU counts as a core of node 0", root)
        topology = Topology((Node(0, tuple(Core(cpu, (cpu,)) for cpu in sorted(usable))),))
    return topology


def read_sysfs(root: Path, usable: Collection[int]) -> Topology:
    """Return the topology in the kernel's folder `root` (`/sys/devices/system`), restricted to `usable` CPUs.

    Offline CPUs have no `topology` folder and are left out. No folder at all gives a topology without nodes.
    """
    node_of, with_memory = _sysfs_nodes(root)
    cores: dict[int, dict[int, Core]] = {}
    seen: set[int] = set()
    for cpu in sorted(usable):
        folder = root / "cpu" / f"cpu{cpu}" / "topology"
        if cpu in seen or not folder.is_dir():
            continue
        siblings = parse_cpu_list(_read(folder / "thread_siblings_list") or _read(folder / "core_cpus_list")) or [cpu]
        seen.update(siblings)
        socket = _read(folder / "physical_package_id")
        core = Core(
            siblings[0],
            tuple(c for c in siblings if c in usable),
            int(socket) if socket.isdigit() else 0,
        )
        cores.setdefault(node_of.get(cpu, 0), {})[core.id] = core
    return _ordered(cores, with_memory)


def _sysfs_nodes(root: Path) -> tuple[dict[int, int], set[int] | None]:
    """Return the node of each CPU, and the nodes with memory (None: not told)."""
    node_of: dict[int, int] = {}
    for folder in (root / "node").glob("node[0-9]*"):
        for cpu in parse_cpu_list(_read(folder / "cpulist")):
            node_of[cpu] = int(folder.name.removeprefix("node"))
    memory = _read(root / "node" / "has_memory") or _read(root / "node" / "has_normal_memory")
    return node_of, set(parse_cpu_list(memory)) if memory else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _ordered(cores: dict[int, dict[int, Core]], with_memory: set[int] | None) -> Topology:
    return Topology(
        tuple(
            Node(
                node,
                tuple(sorted(cores[node].values())),
                with_memory is None or node in with_memory,
            )
            for node in sorted(cores)
        )
    )


def _from_lscpu_program() -> Topology:
    try:
        done = subprocess.run(LSCPU, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return Topology(())
    return parse_lscpu(done.stdout)


def read_lscpu(path: Path) -> Topology:
    """Return the topology in a file that holds what `lscpu -p` printed on some machine; all online CPUs count.

    Raises:
        InputError: the file cannot be read, or is not such a table.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path} ({error}); make it with: {' '.join(LSCPU)} > {path}") from error
    try:
        topology = parse_lscpu(text)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if not topology.nodes:
        raise InputError(f"{path} names no online CPU; make it with: {' '.join(LSCPU)} > {path}")
    return topology


def parse_lscpu(text: str) -> Topology:
    """Return the topology in the output of `lscpu -p`, with any columns that include CPU.

    A missing field is empty or `-`. A CPU without core, on a machine that knows the core of others, is offline
    and left out; a machine that knows no cores counts each CPU as one. A CPU without node gets the node of its
    socket, else 0. Core numbers need to be unique only within a socket (`lscpu --physical`).

    Raises:
        InputError: a line is not such a table's.
    """
    columns = ["cpu", "core", "socket", "node"]
    cpus: list[Cpu] = []
    for line in text.splitlines():
        if line.startswith("#"):
            names = line.lstrip("# ").strip().lower().split(",")
            if names[0] == "cpu" and len(names) > 1:
                columns = names
        elif line.strip():
            row = dict(zip(columns, line.strip().split(","), strict=False))
            if row.get("online", "y").lower() not in ("n", "no", "0"):
                cpus.append(Cpu(*(_field(row, name, line) for name in ("cpu", "core", "socket", "node"))))  # type: ignore[arg-type]
    return _from_cpus(cpus)


def _field(row: dict[str, str], name: str, line: str) -> int | None:
    value = row.get(name, "").strip()
    if value.isascii() and value.isdigit():
        return int(value)
    if value in ("", "-") and name != "cpu":
        return None
    raise InputError(f"'{line}' is not a line of `{' '.join(LSCPU)}`: the {name} is '{value}', a number is expected")


def _from_cpus(cpus: list[Cpu]) -> Topology:
    cores_known = any(cpu.core is not None for cpu in cpus)
    node_of_socket = {cpu.socket: cpu.node for cpu in cpus if cpu.node is not None}
    threads: dict[tuple[int, int, int], list[int]] = {}
    for cpu in cpus:
        if cpu.core is None and cores_known:
            continue
        node = cpu.node if cpu.node is not None else node_of_socket.get(cpu.socket) or 0
        core = cpu.core if cpu.core is not None else cpu.cpu
        threads.setdefault((node, cpu.socket or 0, core), []).append(cpu.cpu)
    cores: dict[int, dict[int, Core]] = {}
    for (node, socket, _), found in threads.items():
        core_cpus = tuple(sorted(set(found)))
        cores.setdefault(node, {})[core_cpus[0]] = Core(core_cpus[0], core_cpus, socket)
    return _ordered(cores, None)


def check_node(topology: Topology, node: int) -> Node:
    """Return the node with that id.

    Raises:
        HostError: no usable core lies on it.
    """
    for found in topology.nodes:
        if found.id == node:
            return found
    known = ", ".join(str(found.id) for found in topology.nodes)
    raise HostError(f"NUMA node {node} has no core usable here; usable nodes: {known}, or auto")
