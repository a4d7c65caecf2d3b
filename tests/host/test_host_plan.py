"""Which cores a job gets, planned on recorded and made-up machines."""

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import HEADER, ROADSPEED, recorded, xeon_lscpu

from roadspeed.errors import HostError
from roadspeed.host.plan import Place, Request, choose, cpus_of, keep_for_waiting, make_request, nodes_of
from roadspeed.host.topology import parse_lscpu, read_lscpu

XEON = parse_lscpu(xeon_lscpu())
ALL = frozenset(range(112))


def plan(path: Path, *options: str) -> dict[str, object]:
    done = subprocess.run(
        [*ROADSPEED, "pin", "--dry-run", "--json", "--lscpu", str(path), *options, "--", "python", "train.py"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_two_folds_take_a_socket_each() -> None:
    request = make_request(XEON, 56)
    first = choose(request, ALL)
    assert first == tuple(range(56))
    second = choose(request, ALL - set(first))
    assert second == tuple(range(56, 112))
    assert choose(request, ALL - set(first) - set(second)) is None


def test_two_folds_by_the_command() -> None:
    path = Path(__file__).parent / "xeon_2x56_ht.txt"
    first = plan(path, "--threads", "56")
    assert first["numa_nodes"] == [0]
    assert first["cpus"] == list(range(56))
    assert first["command"] == ["python", "train.py"]
    second = plan(path, "--threads", "56", "--busy", "0-55")
    assert (second["numa_nodes"], second["cpus"]) == ([1], list(range(56, 112)))
    env = second["env"]
    assert isinstance(env, dict)
    assert env["OMP_NUM_THREADS"] == env["MKL_NUM_THREADS"] == "56"
    assert env["KMP_AFFINITY"] == "granularity=fine,compact,1,0"
    assert env["KMP_BLOCKTIME"] == "1"
    # Only hyper-threads of node 0 are busy: their cores are.
    assert plan(path, "--threads", "2", "--busy", "112-160")["numa_nodes"] == [1]
    third = subprocess.run(
        [*ROADSPEED, "pin", "--threads", "56", "--lscpu", str(path), "--dry-run", "--busy", "0-111", "--", "x"],
        capture_output=True,
        text=True,
    )
    assert third.returncode == 1
    assert "would wait in line" in third.stderr


def test_hyper_threads_only_when_asked() -> None:
    assert cpus_of(XEON, (0, 1)) == [0, 1]
    assert cpus_of(XEON, (0, 1), hyper_threads=True) == [0, 1, 112, 113]


def test_auto_takes_the_node_with_most_free_cores() -> None:
    assert choose(make_request(XEON, 4), ALL - {0}) == (56, 57, 58, 59)
    assert choose(make_request(XEON, 4), ALL - {56}) == (0, 1, 2, 3)


def test_a_job_that_fits_a_node_waits_rather_than_spills() -> None:
    half_free = set(range(28, 84))
    assert choose(make_request(XEON, 29), half_free) is None
    assert choose(make_request(XEON, 28), half_free) == tuple(range(28, 56))


def test_only_a_job_larger_than_a_node_spills() -> None:
    assert choose(make_request(XEON, 57), ALL) == tuple(range(57))
    assert nodes_of(XEON, range(57)) == [0, 1]
    assert choose(make_request(XEON, 57), range(56, 112)) is None


def test_spilling_stays_on_a_socket(real_data: Path) -> None:
    epyc = read_lscpu(recorded(real_data, "x86_64-epyc_7451.parse.txt"))
    assert nodes_of(epyc, choose(make_request(epyc, 12), range(48)) or ()) == [0, 1]
    # Socket 0 is one core short of four nodes: the job goes to socket 1.
    assert nodes_of(epyc, choose(make_request(epyc, 24), set(range(48)) - {0}) or ()) == [4, 5, 6, 7]
    # Socket 0 has 17 free, socket 1 only 8, though its node 5 is as free as any.
    free = set(range(1, 18)) | set(range(28, 36))
    assert nodes_of(epyc, choose(make_request(epyc, 17), free) or ()) == [0, 1, 2]


def test_sparse_and_uneven_nodes(real_data: Path) -> None:
    machine = read_lscpu(recorded(real_data, "x86_64-64cpu.parse.txt"))  # nodes 0, 2, 3 with 16, 8, 8 cores
    assert [place.node for place in make_request(machine, 9).places] == [0]
    assert make_request(machine, 8, numa_node=2).places[0].cores == (1, 5, 9, 13, 17, 21, 25, 29)
    assert make_request(machine, 17).spill
    with pytest.raises(HostError, match="usable nodes: 0, 2, 3, or auto"):
        make_request(machine, 1, numa_node=1)


@pytest.mark.parametrize(("node", "granted"), [(None, 112), (1, 56)])
def test_more_threads_than_cores_become_all_with_a_warning(
    node: int | None, granted: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert make_request(XEON, 500, node).threads == granted
    assert f"500 threads asked for, {granted} physical cores" in caplog.text


def test_a_restricted_set_is_never_left(tmp_path: Path) -> None:
    path = tmp_path / "xeon.txt"
    path.write_text(xeon_lscpu())
    assert plan(path, "--threads", "56", "--cpus", "54-57")["cpus"] == [54, 55, 56, 57]
    assert plan(path, "--threads", "2", "--cpus", "3,115,116")["cpus"] == [3, 116]


def test_waiting_jobs_keep_free_cores() -> None:
    free = set(range(50, 56)) | set(range(60, 80))
    assert keep_for_waiting(make_request(XEON, 40, numa_node=0), free) == set(range(50, 56))
    assert keep_for_waiting(make_request(XEON, 40), free) == set(range(60, 80))
    assert keep_for_waiting(make_request(XEON, 2), free) == {60, 61}
    assert len(keep_for_waiting(make_request(XEON, 100), free)) == 26


machines = st.lists(st.integers(1, 6), min_size=1, max_size=5)


@given(machines, st.integers(1, 30), st.data())
def test_choices_are_free_enough_and_on_one_node(sizes: list[int], threads: int, data: st.DataObject) -> None:
    lines, cpu = [], 0
    for index, size in enumerate(sizes):
        for _ in range(size):
            lines.append(f"{cpu},{cpu},{index // 2},{3 * index}")
            cpu += 1
    machine = parse_lscpu(HEADER + "\n".join(lines))
    free = data.draw(st.sets(st.integers(0, cpu - 1)))
    request = make_request(machine, threads)
    chosen = choose(request, free)
    if chosen is None:
        enough = {node.id for node in machine.nodes if len(free & {c.id for c in node.cores}) >= request.threads}
        assert len(free) < request.threads if request.spill else not enough
        return
    assert len(chosen) == min(threads, cpu)
    assert set(chosen) <= free
    if threads <= max(sizes):
        assert len(nodes_of(machine, chosen)) == 1


@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from([None, 0, 1])), min_size=1, max_size=8))
def test_nobody_starves(jobs: list[tuple[int, int | None]]) -> None:
    """The first in line is served once those that hold cores end, whatever small jobs come after it."""
    machine = parse_lscpu(xeon_lscpu(cores=4, threads=1))
    first = make_request(machine, 4)
    held = [{0}, {4}]  # one core of each node is held: nobody can have four
    for threads, node in jobs:  # later jobs, served while the first waits
        free = set(range(8)) - set().union(*held)
        chosen = choose(make_request(machine, threads, node), free - keep_for_waiting(first, free))
        if chosen:
            held.append(set(chosen))
    free = set(range(8)) - set().union(*held)
    target = keep_for_waiting(first, free)
    assert len(target) == 3  # the node nearest to being free was left alone
    node = {0, 1, 2, 3} if target <= {0, 1, 2, 3} else {4, 5, 6, 7}
    assert choose(first, free | node) == tuple(sorted(node))


def test_a_place_without_free_cores_is_no_choice() -> None:
    request = Request(1, (Place(0, 0, (0, 1)),))
    assert choose(request, ()) is None
    assert keep_for_waiting(request, ()) == set()
