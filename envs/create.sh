#!/bin/sh
# Make or refresh .venv from the pinned requirements; does nothing when it is up to date.
# usage: envs/create.sh [dev]      dev adds the tools of `make test` and `make lint`
#   PYTHON=python3.12   which Python to use (3.11 to 3.13; python3 and its versioned names are tried otherwise)
#   CPU_WHEELS=URL      a package index with PyTorch's CPU-only builds: saves the CUDA libraries (about 4 GB)
set -eu
cd "$(dirname "$0")/.."

fail() {
    echo "roadspeed: error: $*" >&2
    exit 1
}

base="envs/requirements.txt pyproject.toml envs/create.sh"
stamp=.venv/.ready
[ "${1:-}" = dev ] && base="$base envs/requirements-dev.txt envs/requirements-openvino.txt" && stamp=.venv/.ready-dev
now=$(cat $base | cksum)
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$now" ] && exit 0

suits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }
python=
for name in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if suits "$name"; then python=$name && break; fi
done
[ -n "$python" ] || fail "no Python from 3.11 to 3.13 found (tried ${PYTHON:-python3 and its versioned names});" \
    "install one, on Debian or Ubuntu: apt-get install python3.11 python3.11-venv, or set PYTHON"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python lacks the venv module; on Debian or Ubuntu: apt-get install python3-venv"
need_gib=10
[ -n "${CPU_WHEELS:-}" ] && need_gib=4
free_kib=$(df -Pk . | awk 'NR == 2 {print $4}')
[ -d .venv ] || [ "$free_kib" -gt $((need_gib * 1048576)) ] ||
    fail "$((free_kib / 1048576)) GiB are free here and .venv needs $need_gib GiB"

echo "roadspeed: filling .venv with the pinned packages (some minutes the first time, $need_gib GiB)"
if ! suits .venv/bin/python; then "$python" -m venv --clear .venv; fi
pip=".venv/bin/python -m pip --disable-pip-version-check install --quiet"
if [ -n "${CPU_WHEELS:-}" ]; then
    grep -vE '^(nvidia-|triton)' envs/requirements.txt >.venv/requirements-cpu.txt
    $pip --extra-index-url "$CPU_WHEELS" -r .venv/requirements-cpu.txt
else
    $pip -r envs/requirements.txt
fi
if [ "${1:-}" = dev ]; then
    $pip -r envs/requirements-dev.txt
    # Pinned for Python 3.11 only; elsewhere its tests are skipped, with the reason.
    if .venv/bin/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then
        $pip -r envs/requirements-openvino.txt
    fi
fi
$pip --no-deps --editable .
echo "$now" >"$stamp"
echo "roadspeed: .venv is ready"
