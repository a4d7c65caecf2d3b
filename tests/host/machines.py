"""Recorded and made-up machines, and processes on leased cores, for the tests of the host package."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEADER = "# CPU,Core,Socket,Node\n"
ROADSPEED = (sys.executable, "-m", "roadspeed")


def xeon_lscpu(sockets: int = 2, cores: int = 56, threads: int = 2) -> str:
    """Return what lscpu prints on a host of Xeons: hyper-threads numbered after all cores, one node a socket."""
    lines = [
        f"{thread * sockets * cores + core},{core},{core // cores},{core // cores}"
        for thread in range(threads)
        for core in range(sockets * cores)
    ]
    return HEADER + "\n".join(lines) + "\n"


def recorded(real_data: Path, name: str) -> Path:
    """Return the recorded machine; the test is skipped where the records are absent."""
    path = real_data / "lscpu" / name
    if not path.is_file():
        pytest.skip(f"recorded machine {name} is absent in {real_data}")
    return path


def start_pinned(leases: Path, options: list[str], command: list[str], **more: object) -> "subprocess.Popen[str]":
    """Start `roadspeed pin` with its own lease folder."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("ROADSPEED_LEASE", "ROADSPEED_CPUS"))}
    environ["ROADSPEED_LEASE_DIR"] = str(leases)
    return subprocess.Popen(
        [*ROADSPEED, "pin", *options, "--", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ | dict(more.get("env", {})),  # type: ignore[call-overload]
    )
