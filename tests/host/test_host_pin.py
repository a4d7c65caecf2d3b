"""`roadspeed pin` with real commands on this machine's cores."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from machines import ROADSPEED, start_pinned

SHOW = (
    "import os, json, sys; print(json.dumps({'pid': os.getpid(), 'cpus': sorted(os.sched_getaffinity(0)),"
    "'env': dict(os.environ)}), flush=True)"
)
HOLD = SHOW + "; import time; time.sleep(60)"

needs_two = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="this process may use one CPU only")


def told(process: "subprocess.Popen[str]") -> dict[str, object]:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    return json.loads(line)


def start_python(leases: Path, code: str, *options: str, **more: object) -> "subprocess.Popen[str]":
    return start_pinned(leases, list(options), [sys.executable, "-c", code], **more)


def test_the_command_is_the_process_itself(tmp_path: Path) -> None:
    with start_python(tmp_path, SHOW + "; sys.exit(7)", "--threads", "1") as process:
        seen = told(process)
        log = process.communicate(timeout=20)[1]
    assert seen["pid"] == process.pid
    assert process.returncode == 7
    cpus, env = seen["cpus"], seen["env"]
    assert isinstance(cpus, list)
    assert isinstance(env, dict)
    assert len(cpus) == 1
    assert set(cpus) <= os.sched_getaffinity(0)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
        assert env[name] == "1"
        assert f"{name}=1" in log
    assert env["KMP_AFFINITY"] == "granularity=fine,compact,1,0"
    assert env["KMP_BLOCKTIME"] == "1"
    assert f"cpus {cpus[0]} of node" in log


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGPIPE, signal.SIGKILL])
def test_signals_are_the_commands_own(tmp_path: Path, sent: signal.Signals) -> None:
    """sleep knows no signal: it dies of each, also of SIGPIPE, which Python would have left ignored."""
    with start_pinned(tmp_path, ["--threads", "1"], ["sh", "-c", "echo '{}'; exec sleep 60"]) as process:
        told(process)
        process.send_signal(sent)
        assert process.wait(20) == -sent


def test_a_handled_signal_reaches_the_command(tmp_path: Path) -> None:
    trap = "trap 'exit 5' TERM; echo '{}'; while :; do sleep 0.05; done"
    with start_pinned(tmp_path, ["--threads", "1"], ["sh", "-c", trap]) as process:
        told(process)
        process.terminate()
        assert process.wait(20) == 5


@needs_two
def test_two_jobs_never_share_a_core_and_kill_9_frees_one_for_the_third(tmp_path: Path) -> None:
    only_two = ["--cpus", ",".join(str(cpu) for cpu in sorted(os.sched_getaffinity(0))[:2])]
    jobs = [start_python(tmp_path, HOLD, "--threads", "1", *only_two) for _ in range(2)]
    try:
        seen = [told(job)["cpus"] for job in jobs]
        if seen[0] == seen[1]:
            pytest.fail(f"both jobs run on {seen[0]}")
        jobs.append(start_python(tmp_path, HOLD, "--threads", "1", *only_two))
        third = jobs[2]
        assert third.stderr is not None
        waiting = third.stderr.readline()
        assert "waiting for 1 core" in waiting
        assert all(f"pid {job.pid} holds 1" in waiting for job in jobs[:2])
        assert third.poll() is None
        jobs[1].kill()
        assert told(third)["cpus"] == seen[1]
    finally:
        for job in jobs:
            job.kill()
            job.communicate()


@needs_two
def test_a_smaller_set_is_never_left(tmp_path: Path) -> None:
    own = os.sched_getaffinity(0)
    last = max(own)
    os.sched_setaffinity(0, {last})
    try:
        with start_python(tmp_path, SHOW, "--threads", "56") as process:
            seen = told(process)
            log = process.communicate(timeout=20)[1]
    finally:
        os.sched_setaffinity(0, own)
    assert seen["cpus"] == [last]
    assert "56 threads asked for, 1 physical cores are usable here" in log


def test_a_pinned_job_may_pin_again(tmp_path: Path) -> None:
    count = str(len(os.sched_getaffinity(0)))
    inner = [*ROADSPEED, "pin", "--threads", count, "--", sys.executable, "-c", SHOW]
    with start_pinned(tmp_path, ["--threads", count], inner) as process:
        seen = told(process)
        assert process.wait(20) == 0
        env = seen["env"]
        assert isinstance(env, dict)
        assert str(env["ROADSPEED_LEASE"]).count("/") == 1


def test_what_was_set_before_stays_where_it_may(tmp_path: Path) -> None:
    mine = {"KMP_AFFINITY": "none", "OMP_NUM_THREADS": "56", "LD_PRELOAD": "libjemalloc.so.2"}
    with start_python(tmp_path, SHOW, "--threads", "1", env=mine) as process:
        env = told(process)["env"]
    assert isinstance(env, dict)
    assert env["KMP_AFFINITY"] == "none"
    assert env["OMP_NUM_THREADS"] == "1"  # Snakemake exports what was asked for, not what was granted
    assert env["LD_PRELOAD"].endswith("libjemalloc.so.2")
    assert "tcmalloc" not in env["LD_PRELOAD"]


@pytest.mark.parametrize(
    ("options", "command", "code", "message"),
    [
        (["--threads", "1"], ["no-such-program"], 2, "command not found: no-such-program"),
        (["--threads", "1"], [], 2, "no command given"),
        (["--threads", "1", "--numa-node", "77"], ["true"], 1, "NUMA node 77 has no core usable here"),
        (["--threads", "0"], ["true"], 2, "1 or more"),
        (["--threads", "1", "--numa-node", "x"], ["true"], 2, "neither auto nor"),
        (["--threads", "1", "--json"], ["true"], 2, "add --dry-run"),
    ],
)
def test_mistakes_end_in_one_line(
    tmp_path: Path, options: list[str], command: list[str], code: int, message: str
) -> None:
    with start_pinned(tmp_path, options, command) as process:
        errors = process.communicate(timeout=20)[1]
    assert process.returncode == code
    assert message in errors.splitlines()[-1]
    assert "Traceback" not in errors


def test_a_file_that_is_no_program_is_named(tmp_path: Path) -> None:
    script = tmp_path / "x.py"
    script.write_text("print()")
    with start_pinned(tmp_path, ["--threads", "1"], [str(script)]) as process:
        errors = process.communicate(timeout=20)[1]
    assert process.returncode == 2
    assert f"python {script}" in errors
    script.chmod(0o755)  # runnable, but without a line that says by what
    with start_pinned(tmp_path, ["--threads", "1"], [str(script)]) as process:
        errors = process.communicate(timeout=20)[1]
    assert process.returncode == 2
    assert "Exec format error" in errors


def test_the_commands_own_options_are_left_to_it(tmp_path: Path) -> None:
    words = ["--threads", "9", "--", "-v", "--dry-run", "a b"]
    with start_pinned(tmp_path, ["--threads", "1"], ["printf", "%s;", *words]) as process:
        assert process.communicate(timeout=20)[0] == "--threads;9;--;-v;--dry-run;a b;"


def test_dry_run_shows_the_keys_and_takes_nothing(tmp_path: Path) -> None:
    with start_python(tmp_path, HOLD, "--threads", "1") as holder:
        held = told(holder)["cpus"]
        with start_pinned(
            tmp_path, ["--threads", "1", "--dry-run", "--json"], ["touch", str(tmp_path / "x")]
        ) as plan:
            out, log = plan.communicate(timeout=20)
        holder.kill()
    shown = json.loads(out)
    assert set(shown) == {"numa_nodes", "cpus", "command", "env"}
    assert shown["command"] == ["touch", str(tmp_path / "x")]
    assert not (tmp_path / "x").exists()
    if len(os.sched_getaffinity(0)) > 1:
        assert shown["cpus"] != held
    else:
        assert f"pid {holder.pid}" in log


def test_memory_is_bound_to_the_node(tmp_path: Path) -> None:
    code = SHOW + "; a = bytearray(1 << 22); print(open('/proc/self/numa_maps').read())"
    if not Path("/proc/self/numa_maps").exists():
        pytest.skip("this kernel does not tell memory policies (/proc/self/numa_maps)")
    with start_python(tmp_path, code, "--threads", "1") as process:
        told(process)
        maps, log = process.communicate(timeout=20)
    if "memory from node" in log:
        assert " bind:" in maps
    else:
        assert "memory is not bound to node" in log or "memory from anywhere" in log


def test_it_starts_fast_without_the_heavy_libraries() -> None:
    code = (
        "import sys; sys.argv = ['roadspeed', 'pin', '--threads', '1', '--dry-run', '--', 'true'];"
        "from roadspeed.cli import main; assert main() == 0;"
        "heavy = {'numpy', 'torch', 'pydantic', 'geopandas', 'shapely', 'rasterio', 'cv2'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


@needs_two
def test_workers_leave_the_core_that_openmp_bound_their_parent_to(tmp_path: Path) -> None:
    code = (
        "import os, json; from roadspeed.host.cpus import own_cpus, use_own_cpus\n"
        "all_cpus = os.sched_getaffinity(0)\n"
        "os.sched_setaffinity(0, {min(all_cpus)})\n"
        "use_own_cpus()\n"
        "print(json.dumps([sorted(all_cpus), own_cpus(), sorted(os.sched_getaffinity(0))]))"
    )
    with start_python(tmp_path, code, "--threads", "2") as process:
        line = process.communicate(timeout=20)[0]
    given, own, now = json.loads(line)
    assert len(given) == 2
    assert given == own == now


def test_waiting_can_be_interrupted(tmp_path: Path) -> None:
    count = str(len(os.sched_getaffinity(0)))
    with start_python(tmp_path, HOLD, "--threads", count) as holder:
        told(holder)
        with start_python(tmp_path, SHOW, "--threads", "1") as waiter:
            assert waiter.stderr is not None
            assert "waiting for 1 core" in waiter.stderr.readline()
            time.sleep(0.1)
            waiter.send_signal(signal.SIGINT)
            assert waiter.wait(20) == 130
        holder.kill()
