"""Topologies: recorded machines, odd machines, this machine, with worked-out answers."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import HEADER, ROADSPEED, recorded, xeon_lscpu

from roadspeed.errors import HostError, InputError
from roadspeed.host.topology import (
    check_node,
    format_cpu_list,
    parse_cpu_list,
    parse_lscpu,
    read_lscpu,
    read_sysfs,
    this_host,
)

# name: {node: cores}, hyper-threads of a core, the first core's CPUs
RECORDED = {
    "hwloc_32em64t-2n8c+dax+nvme+mic+dimms.parse.txt": ({0: 8, 1: 8}, 1, (0,)),
    "hwloc_32intel64-2p8co2t+8ve.parse.txt": ({0: 8, 1: 8}, 2, (0, 16)),
    "hwloc_64amd64-4p2n4ca2co.parse.txt": (dict.fromkeys(range(8), 4), 2, (0, 1)),
    "vmware_fpe.parse.txt": ({0: 2, 1: 2, 2: 2, 3: 2}, 2, (0, 1)),
    "x86_64-64cpu-linux6.2.parse.txt": ({0: 4}, 2, (0, 4)),
    "x86_64-64cpu.parse.txt": ({0: 16, 2: 8, 3: 8}, 2, (0, 32)),
    "x86_64-epyc_7451.parse.txt": (dict.fromkeys(range(8), 6), 2, (0, 48)),
}


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_machines(real_data: Path, name: str) -> None:
    nodes, threads, first = RECORDED[name]
    topology = read_lscpu(recorded(real_data, name))
    assert {node.id: len(node.cores) for node in topology.nodes} == nodes
    assert {len(core.cpus) for core in topology.cores} == {threads}
    assert topology.nodes[0].cores[0].cpus == first


def test_every_recorded_machine_is_in_the_table(real_data: Path) -> None:
    found = {path.name for path in (real_data / "lscpu").glob("*.txt")}
    assert found == set(RECORDED)


def test_two_sockets_with_hyper_threads() -> None:
    topology = parse_lscpu(xeon_lscpu())
    assert [len(node.cores) for node in topology.nodes] == [56, 56]
    assert topology.nodes[1].cores[0] == (56, (56, 168), 1)


def test_offline_cpus_and_missing_fields() -> None:
    # `lscpu --all`: CPU 1 is offline. CPU 3 lacks its node, which is that of its socket; no core at all is fine too.
    text = HEADER + "0,0,0,2\n1,-,-,-\n2,1,1,5\n3,2,1,\n"
    assert parse_lscpu(text).as_json() == {"nodes": [{"id": 2, "cores": [[0]]}, {"id": 5, "cores": [[2], [3]]}]}
    assert parse_lscpu(HEADER + "0,,,\n1,,,\n").as_json() == {"nodes": [{"id": 0, "cores": [[0], [1]]}]}


def test_other_columns_and_physical_numbers() -> None:
    # `lscpu -p=CPU,ONLINE,NODE,SOCKET,CORE --physical`: core numbers start again on each socket.
    text = "# CPU,Online,Node,Socket,Core\n0,Y,0,0,0\n1,Y,1,1,0\n2,N,0,0,1\n3,Y,1,1,0\n"
    assert parse_lscpu(text).as_json() == {"nodes": [{"id": 0, "cores": [[0]]}, {"id": 1, "cores": [[1, 3]]}]}
    # Plain `lscpu -p` has caches as well.
    text = "# CPU,Core,Socket,Node,,L1d,L1i,L2,L3\n0,0,0,0,,0,0,0,0\n1,1,0,0,,1,1,1,0\n"
    assert parse_lscpu(text).as_json() == {"nodes": [{"id": 0, "cores": [[0], [1]]}]}


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    bad = tmp_path / "cpus.txt"
    bad.write_text("Architecture: x86_64\n")
    with pytest.raises(InputError, match="lscpu -p=CPU"):
        read_lscpu(bad)
    bad.write_text("# nothing\n")
    with pytest.raises(InputError, match="no online CPU"):
        read_lscpu(bad)
    with pytest.raises(InputError, match="cannot read"):
        read_lscpu(tmp_path / "absent.txt")


def test_restriction_keeps_the_identity_of_cores() -> None:
    topology = parse_lscpu(xeon_lscpu(cores=2)).restricted({4, 1, 5})  # hyper-thread of core 0; core 1 whole
    assert topology.nodes[0].cores == ((0, (4,), 0), (1, (1, 5), 0))
    assert len(topology.nodes) == 1
    with pytest.raises(HostError, match="NUMA node 1 has no core usable here; usable nodes: 0"):
        check_node(topology, 1)


def fake_sysfs(root: Path) -> None:
    """Two sockets of two cores with two threads; node 1 has no memory; CPU 7 is offline."""
    for cpu in range(7):
        folder = root / "cpu" / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        core = cpu % 4
        siblings = [c for c in (core, core + 4) if c < 7]
        (folder / "thread_siblings_list").write_text(",".join(map(str, siblings)) + "\n")
        (folder / "physical_package_id").write_text(f"{core // 2}\n")
    (root / "cpu" / "cpu7").mkdir()
    for node, cpus in ((0, "0-1,4-5"), (1, "2-3,6")):
        (root / "node" / f"node{node}").mkdir(parents=True)
        (root / "node" / f"node{node}" / "cpulist").write_text(cpus + "\n")
    (root / "node" / "has_memory").write_text("0\n")


def test_sysfs(tmp_path: Path) -> None:
    fake_sysfs(tmp_path)
    topology = read_sysfs(tmp_path, set(range(8)))
    assert topology.as_json() == {
        "nodes": [{"id": 0, "cores": [[0, 4], [1, 5]]}, {"id": 1, "cores": [[2, 6], [3]]}],
    }
    assert [node.has_memory for node in topology.nodes] == [True, False]
    only = read_sysfs(tmp_path, {5, 6})
    assert [(core.id, core.cpus) for core in only.cores] == [(1, (5,)), (2, (6,))]


def test_without_sysfs_lscpu_is_asked_and_without_both_each_cpu_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usable = sorted(os.sched_getaffinity(0))
    program = tmp_path / "lscpu"
    program.write_text("#!/bin/sh\n" + "".join(f"echo {cpu},{cpu},0,3\n" for cpu in range(max(usable) + 2)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert this_host(tmp_path / "absent").as_json() == {"nodes": [{"id": 3, "cores": [[cpu] for cpu in usable]}]}
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert this_host(tmp_path / "absent").as_json() == {"nodes": [{"id": 0, "cores": [[cpu] for cpu in usable]}]}


def test_this_host_agrees_with_lscpu_and_keeps_to_the_affinity() -> None:
    topology = this_host()
    cpus = {cpu for core in topology.cores for cpu in core.cpus}
    assert cpus == os.sched_getaffinity(0)
    try:
        text = subprocess.run(["lscpu", "-p=CPU,CORE,SOCKET,NODE"], capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        pytest.skip("lscpu is not installed: nothing to compare with")
    assert parse_lscpu(text).restricted(cpus).as_json() == topology.as_json()


def test_command(tmp_path: Path) -> None:
    path = tmp_path / "two_sockets.txt"
    path.write_text(xeon_lscpu(cores=3))

    def topology(*options: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*ROADSPEED, "topology", "--lscpu", str(path), *options], capture_output=True, text=True
        )

    assert json.loads(topology("--json", "--cpus", "1-3,9").stdout) == {
        "nodes": [{"id": 0, "cores": [[1], [2]]}, {"id": 1, "cores": [[3, 9]]}]
    }
    assert "2 socket(s), 2 NUMA node(s), 6 cores, 12 CPUs" in topology().stdout
    assert "node 1 (socket 1): 3 cores, cpus 3-5, hyper-threads 9-11" in topology().stdout
    refused = topology("--cpus", "50")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1


@given(st.sets(st.integers(0, 300)))
def test_lists_survive_a_round_trip(cpus: set[int]) -> None:
    assert parse_cpu_list(format_cpu_list(cpus)) == sorted(cpus)


@pytest.mark.parametrize("text", ["3-1", "a", "1;2", "-", "1--2"])
def test_broken_lists_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_cpu_list(text)
