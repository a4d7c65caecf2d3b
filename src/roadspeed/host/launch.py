"""Running a command on leased cores: affinity, memory, environment, preloads, then `exec`.

The command replaces this process: same pid, its own signals and exit code. What is set follows Intel's tuning
guide for PyTorch on Xeon and `torch.backends.xeon.run_cpu`; unlike that, it never leaves the cores it was given.
"""

import logging
import os
import shlex
import signal
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from roadspeed.errors import HostError, InputError
from roadspeed.host.cpus import CPUS_VARIABLE
from roadspeed.host.leases import LEASE_VARIABLE, LeaseTable, inherited_chain, lease_folder
from roadspeed.host.memory import bind_memory, nodes_to_bind
from roadspeed.host.plan import Request, choose, cpus_of, nodes_of
from roadspeed.host.preload import preloads
from roadspeed.host.topology import Topology, format_cpu_list

log = logging.getLogger(__name__)

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
    "GDAL_NUM_THREADS",
)
KMP_DEFAULTS = {"KMP_AFFINITY": "granularity=fine,compact,1,0", "KMP_BLOCKTIME": "1"}


class Plan(NamedTuple):
    """What a command is run with: nodes, CPUs, command line, and the environment variables that are set."""

    numa_nodes: list[int]
    cpus: list[int]
    memory_nodes: list[int]
    command: list[str]
    env: dict[str, str]

    def as_json(self) -> dict[str, object]:
        """Return `{"numa_nodes", "cpus", "command", "env"}`."""
        return {"numa_nodes": self.numa_nodes, "cpus": self.cpus, "command": self.command, "env": self.env}


def make_plan(
    topology: Topology, cores: Collection[int], command: Sequence[str], hyper_threads: bool = False
) -> Plan:
    """Return what the command is run with on those cores.

    Args:
        topology: the usable cores.
        cores: ids of the cores to run on.
        command: the command line.
        hyper_threads: use all hyper-threads of the cores, not one of each.
    """
    cpus = cpus_of(topology, cores, hyper_threads)
    nodes = nodes_of(topology, cores)
    return Plan(nodes, cpus, nodes_to_bind(topology, nodes), list(command), environment(cpus))


def environment(cpus: Sequence[int], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables to set for a job on those CPUs; says which libraries are missing.

    Numbers of threads are always set (Snakemake exports the number asked for, which may be more than granted);
    a KMP variable that the user has set is kept.
    """
    values = {name: str(len(cpus)) for name in THREAD_VARIABLES}
    values |= {name: environ.get(name, value) for name, value in KMP_DEFAULTS.items()}
    values[CPUS_VARIABLE] = format_cpu_list(cpus)
    preload, missing = preloads(environ)
    if preload:
        values["LD_PRELOAD"] = preload
    if missing:
        told = " and ".join(f"{library.name} ({library.install})" for library in missing)
        log.warning("not installed: %s; jobs run without, slower", told)
    return values


def plan_here(topology: Topology, request: Request, command: Sequence[str], hyper_threads: bool) -> Plan:
    """Return the plan for a command that would start on this host now; says so when it would have to wait."""
    table = LeaseTable(lease_folder(), inherited_chain())
    cores = choose(request, table.free_cores(request.cores))
    if cores is None:
        held = ", ".join(f"pid {', '.join(map(str, h.pids))} ({h.command})" for h in table.holders(request.cores))
        log.warning("would wait in line: cores are held by %s; the plan is for when all are free", held)
    return make_plan(topology, cores or choose(request, request.cores) or (), command, hyper_threads)


def run_pinned(topology: Topology, request: Request, command: Sequence[str], hyper_threads: bool = False) -> NoReturn:
    """Lease the cores, waiting in line if need be, and become the command.

    Raises:
        InputError: the command cannot be found or run.
        HostError: the kernel refuses the cores, or leases cannot be kept here.
    """
    program = find_program(command[0])
    lease = LeaseTable(lease_folder(), inherited_chain()).acquire(request, command)
    plan = make_plan(topology, lease.cores, command, hyper_threads)
    become(plan, {LEASE_VARIABLE: "/".join(lease.chain)}, program)


def become(plan: Plan, more: Mapping[str, str] | None = None, program: str | None = None) -> NoReturn:
    """Replace this process by the plan's command, on the plan's CPUs with the plan's memory and environment.

    Args:
        plan: what to run, and with what.
        more: further variables of the environment.
        program: the command's file, where it was looked up before.

    Raises:
        InputError: the command cannot be found or run.
        HostError: the kernel refuses the cores.
    """
    program = program or find_program(plan.command[0])
    _set_affinity(plan.cpus)
    memory = _memory_bound(plan)
    settings = " ".join(f"{name}={shlex.quote(value)}" for name, value in plan.env.items())
    log.info("cpus %s of node %s, %s: %s %s", *_where(plan), memory, settings, shlex.join(plan.command))
    environ = {**os.environ, **plan.env, **(more or {})}
    sys.stdout.flush()
    sys.stderr.flush()
    # Python ignores these two at its start; the command must find them as any shell would leave them.
    for name in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(name, signal.SIG_DFL)
    try:
        os.execve(program, plan.command, environ)  # noqa: S606 - running what the user asks for is the purpose
    except OSError as error:
        raise InputError(f"cannot run {plan.command[0]}: {error.strerror}") from error


def find_program(name: str) -> str:
    """Return the path of a program, looked up in PATH unless it names a folder.

    Raises:
        InputError: there is no such program, or it may not be run.
    """
    candidates = [Path(name)] if "/" in name else [Path(folder) / name for folder in os.get_exec_path()]
    files = [path for path in candidates if path.is_file()]
    for path in files:
        if os.access(path, os.X_OK):
            return os.fspath(path)
    if files:
        raise InputError(f"{files[0]} is not executable; put its interpreter before it, such as python {files[0]}")
    raise InputError(f"command not found: {name}")


def _set_affinity(cpus: Sequence[int]) -> None:
    try:
        os.sched_setaffinity(0, cpus)
    except OSError as error:
        raise HostError(f"cannot run on cpus {format_cpu_list(cpus)}: {error.strerror}") from error
    if os.sched_getaffinity(0) != set(cpus):
        raise HostError(f"cannot run on cpus {format_cpu_list(cpus)}: some of them were taken away or are offline")


def _memory_bound(plan: Plan) -> str:
    """Bind the memory; return what the log says of it."""
    nodes = format_cpu_list(plan.memory_nodes)
    if not plan.memory_nodes:
        return "memory from anywhere (the node has none)"
    reason = bind_memory(plan.memory_nodes)
    if reason is None:
        return f"memory from node {nodes}"
    log.warning("memory is not bound to node %s: %s", nodes, reason)
    return "memory from anywhere"


def _where(plan: Plan) -> tuple[str, str]:
    return format_cpu_list(plan.cpus), format_cpu_list(plan.numa_nodes)


def describe(plan: Plan) -> str:
    """Return the plan as lines of text."""
    cpus, nodes = _where(plan)
    memory = format_cpu_list(plan.memory_nodes) or "any"
    env = "".join(f"  {name}={shlex.quote(value)}\n" for name, value in plan.env.items())
    return f"numa nodes: {nodes}\ncpus: {cpus}\nmemory of nodes: {memory}\n{env}command: {shlex.join(plan.command)}"
