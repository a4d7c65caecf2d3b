"""Core leases under stress: random jobs, random kills; counts cores held twice, cores leaked, jobs starved.

    python benchmarks/leases.py [--jobs 200] [--seed 1]

First on a simulated host of two sockets of 56 cores (real processes and locks, made-up cores), then on the real
cores through `roadspeed pin`. Every job notes when it got its cores and when it gave them back; a killed one held
them at least until just before the signal was sent. Two such times that overlap on a core are a core held twice.
Beside it the reference: torch's `run_cpu` launcher and `numactl` keep no leases; two jobs started at the same
time get the same cores, counted here by the same means with `taskset` and no lease.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from roadspeed.host.leases import LeaseTable
from roadspeed.host.plan import Request, make_request
from roadspeed.host.topology import parse_lscpu, this_host


class Held(NamedTuple):
    """Cores held from one time to another, seconds of the monotonic clock, and how long the job had waited."""

    cores: tuple[int, ...]
    since_s: float
    until_s: float
    waited_s: float


class Outcome(NamedTuple):
    """What a stress run showed."""

    held: list[Held]
    killed: int
    starved: int
    leaked: int

    def twice(self) -> int:
        """Return how many pairs of jobs held a core at the same time."""
        pairs = 0
        by_core: dict[int, list[tuple[float, float]]] = {}
        for job in self.held:
            for core in job.cores:
                by_core.setdefault(core, []).append((job.since_s, job.until_s))
        for times in by_core.values():
            times.sort()
            pairs += sum(later[0] < earlier[1] for earlier, later in itertools.pairwise(times))
        return pairs

    def line(self) -> str:
        """Return the outcome as a line of text."""
        waits = sorted(job.waited_s for job in self.held)
        return (
            f"{len(self.held)} jobs got cores, {self.killed} of all were killed; held twice {self.twice()}, "
            f"leaked {self.leaked}, starved {self.starved}; longest wait {waits[-1]:.1f} s, "
            f"median {waits[len(waits) // 2]:.1f} s"
        )


def simulate(jobs: int, seed: int, folder: Path, cores: int = 56, hold_s: float = 0.5) -> Outcome:
    """Run random jobs on a simulated host of two sockets; kill a fifth of them, waiting or holding.

    Args:
        jobs: how many, all within the first seconds.
        seed: of the random sizes, nodes, times and kills.
        folder: for locks and notes, empty.
        cores: of each socket.
        hold_s: longest time a job holds its cores.
    """
    # One line a core, without hyper-threads: cpu, core, socket, node.
    machine = parse_lscpu("\n".join(f"{c},{c},{c // cores},{c // cores}" for c in range(2 * cores)))
    rng = random.Random(seed)
    context = multiprocessing.get_context("fork")
    locks, notes = folder / "locks", folder / "notes"
    locks.mkdir()
    notes.mkdir()
    started = []
    for number in range(jobs):
        threads = min(rng.choice((1, 2, 7, cores // 2, cores, cores, cores + 4, 2 * cores)), 2 * cores)
        node = rng.choice((None, None, 0, 1)) if threads <= cores else None
        arguments = (locks, notes / str(number), make_request(machine, threads, node), rng.uniform(0, hold_s))
        process = context.Process(target=_hold, args=arguments)
        doomed_s = rng.uniform(0, 20 * hold_s) if rng.random() < 0.2 else None
        process.start()
        started.append((process, doomed_s and time.monotonic() + doomed_s))
    kills = {}
    deadline = time.monotonic() + 30 + jobs * (hold_s + 0.5)
    while any(process.is_alive() for process, _ in started) and time.monotonic() < deadline:
        for number, (process, doom) in enumerate(started):
            if doom and time.monotonic() > doom and process.is_alive() and number not in kills:
                kills[number] = time.monotonic()
                process.kill()
        time.sleep(0.02)
    starved = sum(process.is_alive() for process, _ in started)
    for process, _ in started:
        process.kill()
        process.join()
    free = LeaseTable(locks).free_cores(range(2 * cores))
    died = {number: kills[number] for number in kills if started[number][0].exitcode != 0}
    return Outcome(_read_notes(notes, died), len(died), starved, 2 * cores - len(free))


def _hold(locks: Path, note: Path, request: Request, hold_s: float) -> None:
    asked = time.monotonic()
    lease = LeaseTable(locks).acquire(request, ["job"])
    got = time.monotonic()
    text = {"cores": lease.cores, "since_s": got, "waited_s": got - asked}
    note.write_text(json.dumps(text))
    time.sleep(hold_s)
    note.with_suffix(".end").write_text(str(time.monotonic()))
    lease.release()


def _read_notes(notes: Path, died: dict[int, float]) -> list[Held]:
    """Return who held which cores; `died`: when the signal to a killed job was sent, by number."""
    held = []
    for note in notes.iterdir():
        if note.suffix or not note.read_text():
            continue
        text = json.loads(note.read_text())
        end = note.with_suffix(".end")
        until = float(end.read_text()) if end.exists() and end.read_text() else died[int(note.name)]
        held.append(Held(tuple(text["cores"]), text["since_s"], until, text["waited_s"]))
    return held


JOB = """
import json, os, sys, time
note, hold_s, asked = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
got = time.monotonic()
with open(note, "w") as file:
    json.dump({"cores": sorted(os.sched_getaffinity(0)), "since_s": got, "waited_s": got - asked}, file)
until = got + hold_s
while time.monotonic() < until:
    pass
with open(note + ".end", "w") as file:
    file.write(str(time.monotonic()))
"""


def run_real(jobs: int, seed: int, folder: Path, at_once: int, pinned: bool = True) -> Outcome:
    """Run jobs on the real cores; kill a fifth of them, waiting or holding.

    Args:
        jobs: how many.
        seed: of the random sizes, times and kills.
        folder: for locks and notes, empty.
        at_once: how many run or wait at the same time.
        pinned: through `roadspeed pin`; else as launchers without leases do, with `taskset` on the first cores.
    """
    rng = random.Random(seed)
    cores = this_host().cores
    notes = folder / "notes"
    notes.mkdir()
    environ = {**os.environ, "ROADSPEED_LEASE_DIR": str(folder / "locks")}
    waiting = list(range(jobs))
    running: dict[int, tuple[subprocess.Popen[bytes], float | None]] = {}
    died = {}
    deadline = time.monotonic() + 60 + jobs
    while (waiting or running) and time.monotonic() < deadline:
        while waiting and len(running) < at_once:
            number = waiting.pop(0)
            threads = rng.choice((1, 1, len(cores)))
            cpus = ",".join(str(core.cpus[0]) for core in cores[:threads])
            pin: Sequence[str] = ("taskset", "-c", cpus)
            if pinned:
                pin = (sys.executable, "-m", "roadspeed", "pin", "--threads", str(threads), "--")
            asked = time.monotonic()
            job = (sys.executable, "-S", "-c", JOB, str(notes / str(number)), str(rng.uniform(0, 0.1)), str(asked))
            process = subprocess.Popen([*pin, *job], env=environ, stderr=subprocess.DEVNULL)
            running[number] = process, asked + rng.uniform(0, 3) if rng.random() < 0.2 else None
        for number, (process, doom) in list(running.items()):
            if doom and time.monotonic() > doom and number not in died:
                died[number] = time.monotonic()
                process.kill()
            if process.poll() is not None:
                del running[number]
                if process.returncode == 0:
                    died.pop(number, None)
        time.sleep(0.01)
    starved = len(running) + len(waiting)
    for process, _ in running.values():
        process.kill()
        process.wait()
    free = len(cores)
    if pinned:
        free = len(LeaseTable(folder / "locks").free_cores(core.id for core in cores))
    return Outcome(_read_notes(notes, died), len(died), starved, len(cores) - free)


def main() -> None:
    """Run both, print their outcomes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        parts = [Path(folder) / name for name in ("simulated", "real", "none")]
        for part in parts:
            part.mkdir()
        started = time.monotonic()
        outcome = simulate(args.jobs, args.seed, parts[0])
        print(f"simulated 2 x 56 cores, {time.monotonic() - started:.0f} s: {outcome.line()}", flush=True)
        bad += outcome.twice() + outcome.leaked + outcome.starved
        started = time.monotonic()
        outcome = run_real(args.jobs, args.seed, parts[1], at_once=args.jobs)
        cores = len(this_host().cores)
        print(f"real {cores} cores, {time.monotonic() - started:.0f} s: {outcome.line()}", flush=True)
        bad += outcome.twice() + outcome.leaked + outcome.starved
        outcome = run_real(min(args.jobs, 40), args.seed, parts[2], at_once=4, pinned=False)
        print(f"without leases (taskset), 40 jobs, 4 at once: held twice {outcome.twice()}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
