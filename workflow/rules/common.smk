# What all rules share: the checked configuration, folders, launch prefix, wildcards and the lock of a run.
import fcntl
import json
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from roadspeed.config import check_config
from roadspeed.errors import ConfigError

try:
    CONFIG = check_config(config)
except ConfigError as error:
    sys.exit(f"roadspeed: error: {error}")

RUN = CONFIG.run
DATA = CONFIG.data_dir.rstrip("/")
RESULTS = f"{CONFIG.results_dir.rstrip('/')}/{RUN}"
SPLITS = list(CONFIG.splits())
LABELLED = CONFIG.labelled
TRAINED = CONFIG.trained

# Scripts run in Snakemake's own Python, found through the environment: neither its path nor that of the scripts is
# part of a rule, so a project that was moved does not run anew.
BIN = shlex.quote(str(Path(sys.executable).parent))
SCRIPTS = shlex.quote(str(Path(workflow.basedir) / "workflow" / "scripts"))
shell.prefix(f"set -euo pipefail; export PATH={BIN}:$PATH SCRIPTS={SCRIPTS}; ")


wildcard_constraints:
    city="|".join(CONFIG.cities),
    split="train|test_public",
    fold=r"\d+",
    shard=r"\d+",


def as_json(settings):
    """Return settings as the JSON text that a script takes: a change reruns just the rules that have it."""
    return settings.model_dump_json()


def of_trained(pattern):
    """Return the pattern's path for the labelled split of every training city."""
    return expand(pattern, city=TRAINED, split="train")


def local_tarballs(wildcards):
    """Return the tarballs as input files where the bucket is a folder; objects on a server are no inputs."""
    if not CONFIG.bucket.startswith("file://"):
        return []
    folder = Path(CONFIG.bucket.removeprefix("file://"))
    return [
        str(folder / item.key)
        for item in CONFIG.tarballs(wildcards.city, wildcards.split)
    ]


def tarballs_json(wildcards):
    """Return a city's tarballs as the JSON text that the acquire script takes."""
    return json.dumps(
        [item.model_dump() for item in CONFIG.tarballs(wildcards.city, wildcards.split)]
    )


def shard_tables(wildcards):
    """Return the shard tables of a city's split."""
    pattern = f"{RESULTS}/predict/{{city}}/{{split}}/shard{{shard}}.csv"
    return expand(
        pattern, city=wildcards.city, split=wildcards.split, shard=range(CONFIG.shards)
    )


# Snakemake's own lock outlives a kill -9 and then stops the next run; the profile turns it off. This one is
# the kernel's and vanishes with its process.
LOCK = Path(".snakemake") / "roadspeed.lock"


onstart:
    lock_file = LOCK.open("w")
    try:
        fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise WorkflowError(
            f"another run is at work in this folder ({LOCK} is held); wait for it or end it"
        )
    globals()["_held_lock"] = lock_file


def other_ranges(wildcards):
    """Return the train split's ranges for a city's test_public, so that a network sees both alike."""
    if wildcards.split == "train" or wildcards.city not in LABELLED:
        return []
    if CONFIG.prepare.stretch.method != "city":
        return []
    return f"{DATA}/prepare/{wildcards.city}/train/rgb.json"
