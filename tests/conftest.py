"""Fixtures shared by all tests."""

import os
import signal
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# A shell starts what runs in its background with SIGINT ignored, and so would every program a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real SpaceNet files; the test is skipped where there is none."""
    folder = Path(os.environ.get("ROADSPEED_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "vegas_img0").is_dir():
        pytest.skip(f"real SpaceNet files are absent: set ROADSPEED_REAL_DATA (looked in {folder})")
    return folder
