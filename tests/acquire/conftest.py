"""Fixtures of the tests of acquire."""

import pytest

from roadspeed.acquire import download


@pytest.fixture(autouse=True)
def _no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "FIRST_PAUSE_S", 0.01)
