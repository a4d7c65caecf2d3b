"""Which cores the ranks of a job get, and that ranks live and end together."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import HEADER, recorded, xeon_lscpu

from roadspeed.errors import HostError
from roadspeed.host.plan import choose, make_request, nodes_of
from roadspeed.host.ranks import PEER_ENDED, Rank, apportion, divide_cores, rank_count, this_rank
from roadspeed.host.topology import parse_lscpu, read_lscpu

XEON = parse_lscpu(xeon_lscpu())


def ranks_of(machine, threads: int, most: int = 99) -> list[tuple[int, ...]]:
    """Return the cores of each rank that a job of `threads` cores starts on the empty machine."""
    request = make_request(machine, threads)
    cores = choose(request, request.cores) or ()
    return divide_cores(machine, cores, rank_count(machine, cores, "auto", most))


def test_job_on_one_socket_is_one_process_and_on_two_is_two() -> None:
    assert ranks_of(XEON, 56) == [tuple(range(56))]
    assert ranks_of(XEON, 112) == [tuple(range(56)), tuple(range(56, 112))]
    assert ranks_of(XEON, 64) == [tuple(range(56)), tuple(range(56, 64))]
    assert apportion(8, (56, 8)) == [7, 1]  # and the small one gets as little of the batch
    assert len(ranks_of(XEON, 112, most=1)) == 1


def test_ranks_of_recorded_machines(real_data: Path) -> None:
    for name, nodes in (("hwloc_64amd64-4p2n4ca2co.parse.txt", 8), ("x86_64-epyc_7451.parse.txt", 8)):
        machine = read_lscpu(recorded(real_data, name))
        ranks = ranks_of(machine, len(machine.cores))
        assert len(ranks) == nodes
        assert [nodes_of(machine, rank) for rank in ranks] == [[node.id] for node in machine.nodes]
        assert sorted(core for rank in ranks for core in rank) == sorted(core.id for core in machine.cores)


def test_other_numbers_than_nodes() -> None:
    machine = parse_lscpu(HEADER + "\n".join(f"{cpu},{cpu},{cpu // 4},{cpu // 2}" for cpu in range(8)))
    everything = range(8)
    assert divide_cores(machine, everything, 2) == [(0, 1, 2, 3), (4, 5, 6, 7)]  # whole sockets
    assert divide_cores(machine, everything, 8) == [(cpu,) for cpu in everything]
    with pytest.raises(HostError, match="9 processes need a core each, 8 are usable"):
        divide_cores(machine, everything, 9)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=5), st.data())
def test_no_core_twice_and_none_left_out(sizes: list[int], data: st.DataObject) -> None:
    owners = [node for node, size in enumerate(sizes) for _ in range(size)]
    machine = parse_lscpu(HEADER + "\n".join(f"{cpu},{cpu},{node},{node}" for cpu, node in enumerate(owners)))
    count = data.draw(st.integers(1, len(owners)))
    ranks = divide_cores(machine, range(len(owners)), count)
    assert len(ranks) == count
    assert all(ranks)
    assert sorted(core for rank in ranks for core in rank) == list(range(len(owners)))
    if count >= len(sizes):
        assert all(len(nodes_of(machine, rank)) == 1 for rank in ranks)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.integers(0, 40), st.integers(0, 1))
def test_shares_add_up_and_follow_the_weights(weights: list[int], more: int, least: int) -> None:
    total = least * len(weights) + more
    shares = apportion(total, weights, least)
    assert sum(shares) == total
    assert min(shares) >= least
    for weight, share in zip(weights, shares, strict=True):
        assert share <= max(least, total * weight / sum(weights) + 1)


def test_torchruns_variables_name_the_rank() -> None:
    here = {"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    assert this_rank(here) == Rank(1, 4)
    assert this_rank({"RANK": "1", "WORLD_SIZE": "4"}) is None  # some clusters set these without any meeting point
    with pytest.raises(HostError, match="must be numbers"):
        this_rank(here | {"RANK": "x"})


PROGRAM = """
import os, sys, time
from roadspeed.errors import InputError
from roadspeed.host.ranks import PEER_ENDED, enter_ranks, one_tells
from roadspeed.logs import run_main, setup_logging

def work():
    rank, code = enter_ranks(2, 2, most=2)
    if code is not None:
        return code
    cores = sorted(os.sched_getaffinity(0))
    os.write(1, f"{rank.number} {os.getpid()} {cores} {os.environ['OMP_NUM_THREADS']}\\n".encode())  # in one piece
    with one_tells(rank):
        exec(sys.argv[1 + rank.number])

setup_logging()
sys.exit(run_main(work))
"""


def start(*parts: str) -> "subprocess.Popen[str]":
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("two ranks need two cores")
    environ = {key: value for key, value in os.environ.items() if key != "ROADSPEED_CPUS"}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *parts],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
    )


def test_ranks_have_cores_of_their_own() -> None:
    process = start("pass", "pass")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    first, second = sorted(line.split(maxsplit=2) for line in out.splitlines())
    assert first[0] + second[0] == "01"
    assert first[2].endswith(" 1")
    assert second[2].endswith(" 1")
    assert first[2] != second[2]
    assert err.count("2 processes: cpus") == 1, "the first rank alone tells"


@pytest.mark.parametrize(
    ("second", "code", "message"),
    [
        ("sys.exit('this is why')", 1, "this is why"),
        ("os.kill(os.getpid(), 9)", 1, "roadspeed: error: process 1 of 2 was ended by SIGKILL"),
        ("sys.exit(7)", 7, ""),
    ],
)
def test_one_that_fails_ends_all(second: str, code: int, message: str) -> None:
    process = start("time.sleep(300)", second)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert message in err
    for line in out.splitlines():
        assert not Path(f"/proc/{line.split()[1]}").exists()


@pytest.mark.parametrize("first", ["raise InputError('no such table')", "time.sleep(300)"])
def test_error_is_told_once_whoever_meets_it(first: str) -> None:
    process = start(first, "raise InputError('no such table')")
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 2
    assert err.count("roadspeed: error: no such table") == 1


def test_the_cause_decides_not_who_lost_its_peer() -> None:
    process = start(f"sys.exit({PEER_ENDED})", "time.sleep(1); sys.exit(3)")
    process.communicate(timeout=60)
    assert process.returncode == 3


def test_killed_parent_leaves_no_rank() -> None:
    process = start("time.sleep(300)", "time.sleep(300)")
    assert process.stdout is not None
    pids = [int(process.stdout.readline().split()[1]) for _ in range(2)]
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}/cmdline").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(Path(f"/proc/{pid}/cmdline").exists() for pid in pids)
