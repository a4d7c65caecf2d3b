"""The CPUs of this job, as the launcher told them: for whoever starts processes or threads inside it."""

import os

from roadspeed.host.topology import parse_cpu_list

CPUS_VARIABLE = "ROADSPEED_CPUS"


def own_cpus() -> list[int]:
    """Return the CPUs that this job may use, also when OpenMP has bound the calling thread to one of them.

    Intel OpenMP binds the main thread to one core at its first parallel region (`KMP_AFFINITY`); processes and
    threads started from it afterwards would all share that core, and `os.sched_getaffinity` tells of it alone.
    A thread outside of the launcher's set (no launcher, or moved since) keeps the set it has.
    """
    current = os.sched_getaffinity(0)
    leased = set(parse_cpu_list(os.environ.get(CPUS_VARIABLE, "")))
    return sorted(leased if current <= leased else current)


def use_own_cpus() -> None:
    """Let the calling thread, and what it starts, run on all CPUs of the job: first thing in a worker."""
    os.sched_setaffinity(0, own_cpus())
