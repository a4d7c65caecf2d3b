"""Leases among real processes: exclusive, in line, freed by the kernel, nested."""

import fcntl
import json
import logging
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from machines import xeon_lscpu

from roadspeed.errors import HostError
from roadspeed.host.leases import LeaseTable, lease_folder
from roadspeed.host.plan import Request, make_request
from roadspeed.host.topology import parse_lscpu

FORK = multiprocessing.get_context("fork")
MACHINE = parse_lscpu(xeon_lscpu(cores=4))  # node 0: cores 0-3; node 1: cores 4-7


class Job:
    """A process that leases cores, tells which, and holds them until it is ended."""

    def __init__(self, folder: Path, request: Request, chain: tuple[str, ...] = ()) -> None:
        self.ours, theirs = FORK.Pipe()
        self.process = FORK.Process(target=_hold, args=(folder, request, chain, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def cores(self, timeout_s: float = 20) -> tuple[int, ...]:
        assert self.ours.poll(timeout_s), "no lease in time"
        lease = self.ours.recv()
        self.chain: tuple[str, ...] = lease.chain
        return lease.cores

    def waits(self) -> bool:
        return not self.ours.poll(0.6)

    def end(self) -> None:
        self.ours.send("end")
        self.process.join(10)

    def kill(self) -> None:
        self.process.kill()
        self.process.join(10)


def _hold(folder: Path, request: Request, chain: tuple[str, ...], pipe: Connection) -> None:
    lease = LeaseTable(folder, chain).acquire(request, ["job"])
    pipe.send(lease)
    pipe.recv()


@pytest.fixture
def start(tmp_path: Path) -> Iterator["object"]:
    jobs: list[Job] = []

    def start_job(threads: int, node: int | None = None, chain: tuple[str, ...] = ()) -> Job:
        jobs.append(Job(tmp_path, make_request(MACHINE, threads, node), chain))
        return jobs[-1]

    yield start_job
    for job in jobs:
        job.kill()


def test_two_jobs_share_no_core_and_the_third_waits_for_a_kill(start) -> None:  # type: ignore[no-untyped-def]
    first, second = start(4), start(4)
    assert set(first.cores()) | set(second.cores()) == set(range(8))
    third = start(4)
    assert third.waits()
    second.kill()
    assert len(third.cores()) == 4


def test_those_who_came_first_are_served_first(start) -> None:  # type: ignore[no-untyped-def]
    holder = start(8)
    holder.cores()
    large = start(4, 0)
    assert large.waits()
    small = [start(1, 0) for _ in range(3)]
    assert all(job.waits() for job in small)
    other_node = start(4, 1)
    assert other_node.waits()
    holder.end()
    assert large.cores() == (0, 1, 2, 3)
    assert other_node.cores() == (4, 5, 6, 7)  # it did not stand behind jobs of another node
    assert all(job.waits() for job in small)
    large.end()
    assert sorted(job.cores()[0] for job in small) == [0, 1, 2]


def test_small_jobs_do_not_starve_a_large_one(start) -> None:  # type: ignore[no-untyped-def]
    small = [start(1, 0), start(1, 0)]
    for job in small:
        job.cores()
    large = start(4, 0)
    assert large.waits()
    late = start(1, 0)  # two cores are free, but kept for the large one
    assert late.waits()
    for job in small:
        job.end()
    assert large.cores() == (0, 1, 2, 3)
    large.end()
    assert late.cores() == (0,)


def test_a_killed_waiter_leaves_the_line(start) -> None:  # type: ignore[no-untyped-def]
    holder = start(3, 0)
    holder.cores()
    waiter = start(4, 0)
    assert waiter.waits()
    behind = start(1, 0)
    assert behind.waits()
    waiter.kill()
    assert behind.cores() == (3,)


def test_a_lease_inside_a_lease_shares_out_its_own_cores(start, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    outer = start(4, 0)
    outer.cores()
    waiting_outside = start(4, 0)  # must not make the inner ones wait
    assert waiting_outside.waits()
    inner = [start(2, 0, outer.chain), start(2, 0, outer.chain)]
    assert sorted(inner[0].cores() + inner[1].cores()) == [0, 1, 2, 3]
    third = start(1, 0, outer.chain)
    assert third.waits()
    inner[0].end()
    third.cores()
    # An inner job that outlives the outer one keeps its cores from the others.
    outer.kill()
    third.end()
    assert waiting_outside.waits()
    inner[1].kill()
    assert waiting_outside.cores() == (0, 1, 2, 3)


def test_a_name_of_an_ended_lease_opens_nothing(start) -> None:  # type: ignore[no-untyped-def]
    """A shell that stays behind after its lease has ended, and pins again, competes like everybody."""
    ended = start(4, 0)
    ended.cores()
    ended.end()
    other = start(3, 0)
    assert other.cores() == (0, 1, 2)
    late = start(1, 0, ended.chain)
    assert late.cores() == (3,)
    assert start(1, 0).waits()


def test_holders_are_named(start, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:  # type: ignore[no-untyped-def]
    job = start(2, 0)
    job.cores()
    holders = LeaseTable(tmp_path).holders(range(8))
    assert [(holder.pids, holder.command, holder.cores) for holder in holders] == [
        ((job.process.pid,), "job", (0, 1))
    ]
    caplog.set_level(logging.INFO, "roadspeed")
    with pytest.raises(KeyboardInterrupt):
        signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        LeaseTable(tmp_path).acquire(make_request(MACHINE, 4, 0), ["other"])
    assert f"waiting for 4 cores of node 0: pid {job.process.pid} holds 2 (job)" in caplog.text
    assert LeaseTable(tmp_path).free_cores(range(8)) == set(range(2, 8))  # who gives up leaves the line
    assert start(2, 0).cores() == (2, 3)


def test_orphans_are_named_and_keep_their_cores(tmp_path: Path) -> None:
    code = (
        "import os, sys, time; from pathlib import Path; from roadspeed.host.leases import LeaseTable;"
        "from roadspeed.host.plan import Place, Request\n"
        "LeaseTable(Path(sys.argv[1])).acquire(Request(1, (Place(0, 0, (0,)),)), ['parent'])\n"
        "child = os.fork()\n"
        "if child: print(child, flush=True)\n"
        "time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    orphan = int(parent.stdout.readline())
    try:
        parent.kill()
        parent.wait()
        parent.stdout.close()
        table = LeaseTable(tmp_path)
        assert table.free_cores([0]) == set()
        assert table.holders([0])[0].pids == (orphan,)
    finally:
        os.kill(orphan, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while not table.free_cores([0]):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_files_serve_every_user_and_rubbish_in_them_does_no_harm(tmp_path: Path) -> None:
    folder = tmp_path / "leases"
    mask = os.umask(0o077)
    try:
        os.environ["ROADSPEED_LEASE_DIR"] = str(folder)
        table = LeaseTable(lease_folder())
        table.acquire(make_request(MACHINE, 1), ["x"]).release()
    finally:
        os.umask(mask)
        del os.environ["ROADSPEED_LEASE_DIR"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o1777
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o666}
    assert {path.name for path in folder.iterdir()} >= {"gate", "core-0"}
    for rubbish in ("", "[1]", "\0\xff", json.dumps({"number": "x", "places": 3})):
        for name in ("core-0", "core-1", "line-0"):
            (folder / name).write_text(rubbish, encoding="latin-1")
        with (folder / "line-0").open() as unreadable_waiter:
            fcntl.flock(unreadable_waiter, fcntl.LOCK_EX)
            lease = table.acquire(make_request(MACHINE, 4, 0), ["x"])
        assert lease.cores == (0, 1, 2, 3)
        lease.release()
    (folder / "core-5").unlink(missing_ok=True)
    (folder / "core-5").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HostError, match="core-5"):
        table.free_cores([5])
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ROADSPEED_LEASE_DIR", str(tmp_path / "file" / "leases"))
    with pytest.raises(HostError, match="file/leases"):
        lease_folder()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as other users")
def test_jobs_of_other_users_wait_for_each_other() -> None:
    """The folder has the sticky bit and its files belong to whoever came first, as in /run/lock."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o1777)

        def hold_as(user: int, pipe: Connection) -> None:
            os.setuid(user)
            _hold(folder, make_request(MACHINE, 4, 0), (), pipe)

        pipes, processes = [], []
        for user in (65534, 65533):
            ours, theirs = FORK.Pipe()
            processes.append(FORK.Process(target=hold_as, args=(user, theirs), daemon=True))
            processes[-1].start()
            pipes.append(ours)
            if user == 65534:
                assert ours.poll(10)
        assert not pipes[1].poll(0.6)
        assert LeaseTable(folder).free_cores(range(4)) == set()
        processes[0].kill()
        assert pipes[1].poll(10)
        processes[1].kill()
        for process in processes:
            process.join(10)
