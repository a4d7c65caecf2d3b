"""Which chips a stage has finished, kept line by line beside its table, so that a kill costs the chips under way."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from roadspeed.files import write_text
from roadspeed.storage import Writing


class DoneChips:
    """What an earlier run found for each chip, valid while the chip's fingerprint is the same.

    Args:
        path: the file, one JSON object a line; made when missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._before: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue  # the line that a killed run was writing
                self._before[entry["chip_id"]] = entry
            # Without what is torn or repeated.
            write_text(self.path, "".join(map(_line, self._before.values())))
        with Writing(self.path):
            self._file = self.path.open("a", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with Writing(self.path):
            self._file.close()

    def get(self, chip_id: str, fingerprint: str) -> dict[str, Any] | None:
        """Return what was found for a chip, or None when it is not done or its inputs changed."""
        entry = self._before.get(chip_id)
        return entry if entry is not None and entry["fingerprint"] == fingerprint else None

    def add(self, entry: Mapping[str, Any]) -> None:
        """Keep what was found for a chip; the entry has at least `chip_id` and `fingerprint`."""
        with Writing(self.path):
            self._file.write(_line(entry))
            self._file.flush()


def _line(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=False) + "\n"
