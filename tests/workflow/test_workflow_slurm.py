"""The workflow on a cluster: a Slurm of one host, its jobs, and the cores that they stay on."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from roadspeed.chips import read_chips
from roadspeed.files import read_table
from tests.workflow.conftest import ROOT, Project

SCRIPT = Path(os.environ.get("ROADSPEED_SLURM", ROOT.parent / "shared" / "tools" / "slurm" / "slurm_one_host.sh"))
CONFIG = Path("/etc/slurm/slurm.conf")


@pytest.fixture(scope="module")
def slurm() -> Iterator[None]:
    """A Slurm on this host, ended afterwards."""
    if not SCRIPT.is_file():
        pytest.skip(f"no script that starts a Slurm: set ROADSPEED_SLURM (looked for {SCRIPT})")
    if os.getuid() or not all(map(shutil.which, ("slurmctld", "slurmd", "munged"))):
        pytest.skip("a Slurm is started by root, with the packages slurm-wlm and munge")
    if CONFIG.exists():
        pytest.skip(f"{CONFIG} is there already: this host has a Slurm of its own")
    # Not pytest's folder: munge's own user must reach it.
    folder = Path(tempfile.mkdtemp(prefix="roadspeed-slurm-"))
    folder.chmod(0o755)
    try:
        # The daemons keep whatever output they are given.
        with (folder / "start.log").open("w") as log:
            done = subprocess.run(["bash", SCRIPT, "start", folder], stdout=log, stderr=log, timeout=90, check=False)
        assert done.returncode == 0, (folder / "start.log").read_text()
        yield
    finally:
        subprocess.run(["bash", SCRIPT, "stop", folder], stdout=subprocess.DEVNULL, timeout=60, check=False)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.usefixtures("slurm")
def test_jobs_run_through_slurm_on_the_cores_it_gives(project: Project) -> None:
    first, second = project.config["cities"]
    wanted = [f"data/prepare/{first}/train/masks.csv", f"data/acquire/{second}/train/chips.csv"]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", *wanted),
            *("--profile", ROOT / "profiles/slurm", "--configfile", "config.yaml", "--max-threads", "1"),
            # This Slurm keeps no accounts, and its jobs are short.
            *("--slurm-status-command", "squeue", "--slurm-no-account", "--slurm-keep-successful-logs"),
            *("--slurm-init-seconds-before-status-checks", "3", "--seconds-between-status-checks", "2"),
        ],
        cwd=project.folder,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    text = done.stdout + done.stderr
    logs = {path: path.read_text() for path in (project.folder / ".snakemake/slurm_logs").rglob("*.log")}
    assert done.returncode == 0, text[-3000:] + "".join(logs.values())[-3000:]
    assert len(re.findall(r"submitted with SLURM jobid \d+", text)) == 4
    assert {path.parent.parent.name for path in logs} == {"rule_acquire", "rule_stretch", "rule_masks"}
    launched = [found for log in logs.values() for found in re.findall(r"cpus (\S+) of node", log)]
    assert len(launched) == 2 and all(cpus in {"0", "1"} for cpus in launched), launched
    masks = read_table(project.folder / wanted[0])
    assert [row["chip_id"] for row in masks] == [
        c.chip_id for c in read_chips(project.folder / f"data/acquire/{first}/train/chips.csv")
    ]
    assert any(row["mask"] for row in masks)
