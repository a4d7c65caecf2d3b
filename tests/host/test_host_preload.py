"""Finding libraries to preload, and binding memory."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from roadspeed.host.memory import bind_memory, nodes_to_bind
from roadspeed.host.preload import INTEL_OPENMP, TCMALLOC, find, preloads, search_folders
from roadspeed.host.topology import Core, Node, Topology

HERE = Path("/proc/self/exe").read_bytes()[:64]  # the head of a file for this processor


def library(path: Path, head: bytes = HERE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head)
    return path


def test_the_shortest_then_the_newest_name_is_taken(tmp_path: Path) -> None:
    folder = tmp_path / "lib"
    for name in ("libtcmalloc.so.4.5.10", "libtcmalloc.so.9", "libtcmalloc.so.10", "libtcmalloc.so.10-gdb.py"):
        library(folder / name)
    assert find(TCMALLOC, [tmp_path / "absent", folder]) == folder / "libtcmalloc.so.10"
    library(folder / "libtcmalloc.so")
    assert find(TCMALLOC, [folder]) == folder / "libtcmalloc.so"


def test_the_full_library_comes_before_the_minimal_one(tmp_path: Path) -> None:
    minimal = library(tmp_path / "a" / "libtcmalloc_minimal.so.4")
    assert find(TCMALLOC, [tmp_path / "a", tmp_path / "b"]) == minimal
    full = library(tmp_path / "b" / "libtcmalloc.so.4")
    assert find(TCMALLOC, [tmp_path / "a", tmp_path / "b"]) == full


def test_what_cannot_be_preloaded_is_passed_over(tmp_path: Path) -> None:
    other = bytearray(HERE)
    other[18] ^= 0x55  # another processor
    library(tmp_path / "other" / "libiomp5.so", bytes(other))
    library(tmp_path / "text" / "libiomp5.so", b"INPUT(libomp.so)")
    library(tmp_path / "a blank" / "libiomp5.so")
    library(tmp_path / "a:colon" / "libiomp5.so")
    folders = [tmp_path / name for name in ("other", "text", "a blank", "a:colon")]
    assert find(INTEL_OPENMP, folders) is None
    good = library(tmp_path / "good" / "libiomp5.so")
    assert find(INTEL_OPENMP, [*folders, good.parent]) == good


def test_folders_of_the_environment_come_before_the_systems() -> None:
    folders = list(search_folders({"CONDA_PREFIX": "/conda", "LD_LIBRARY_PATH": "/x::/y"}))
    assert folders[:4] == [Path(sys.prefix) / "lib", Path("/conda/lib"), Path("/x"), Path("/y")]
    assert Path(f"/usr/lib/{platform.machine()}-linux-gnu") in folders
    assert len(folders) == len(set(folders))


def test_what_is_preloaded_stays_and_is_not_doubled(tmp_path: Path) -> None:
    mine = library(tmp_path / "lib" / "libtcmalloc.so.4")
    environ = {"LD_LIBRARY_PATH": str(mine.parent), "LD_PRELOAD": "/opt/libiomp5.so /opt/libx.so"}
    value, missing = preloads(environ)
    assert value.endswith(":/opt/libiomp5.so /opt/libx.so")
    assert value.count("libiomp5") == 1
    assert "libtcmalloc" in value
    assert missing == []
    assert preloads({"LD_PRELOAD": "libjemalloc.so.2:libiomp5.so"}) == ("libjemalloc.so.2:libiomp5.so", [])


def test_missing_libraries_are_named_with_their_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roadspeed.host.preload.search_folders", lambda environ: iter(()))
    value, missing = preloads({})
    assert value == ""
    assert "sudo apt-get install libgoogle-perftools4" in [library.install for library in missing]


def test_a_node_without_memory_is_not_bound_to() -> None:
    machine = Topology((Node(0, (Core(0, (0,)),)), Node(3, (Core(1, (1,)),), has_memory=False)))
    assert nodes_to_bind(machine, [0, 3]) == [0]
    assert nodes_to_bind(machine, [3]) == []


def test_memory_that_is_not_allowed_is_said(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tx\nMems_allowed_list:\t0-1\n")
    assert bind_memory([5], status) == "the cgroup allows memory of node 0, 1 only"
    status.write_text("Mems_allowed_list:\t0-1023\n")
    reason = bind_memory([1000], status)
    assert reason is not None
    assert reason.startswith("the kernel refused: ")


def test_a_refused_binding_is_a_warning_and_the_command_runs(tmp_path: Path) -> None:
    code = (
        "import logging; from roadspeed.logs import setup_logging; setup_logging()\n"
        "from roadspeed.host.launch import run_pinned; from roadspeed.host.plan import make_request\n"
        "from roadspeed.host.topology import this_host, Topology\n"
        "machine = Topology((this_host().nodes[0]._replace(id=1000),))\n"
        "run_pinned(machine, make_request(machine, 1), ['printf', '\"ran\"'])"
    )
    environ = {**os.environ, "ROADSPEED_LEASE_DIR": str(tmp_path)}
    environ.pop("ROADSPEED_LEASE", None)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ, timeout=60)
    assert (done.returncode, json.loads(done.stdout)) == (0, "ran")
    assert "WARNING memory is not bound to node 1000" in done.stderr
