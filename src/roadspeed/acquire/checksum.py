"""Whether an object's bytes are the right ones: its known MD5, else what its ETag says."""

import hashlib
import logging

from roadspeed.acquire.settings import Tarball
from roadspeed.acquire.store import ObjectInfo
from roadspeed.errors import FetchError

log = logging.getLogger(__name__)

MIB = 1 << 20
USUAL_PART_MIB = (8, 16, 5, 10, 15, 20, 25, 32, 50, 64, 100, 128, 256, 512, 1024)
"""Part sizes of the usual upload programs, the AWS CLI's first."""


class Checksum:
    """Takes an object's bytes in order and judges them at the end.

    Args:
        tarball: the known MD5, which counts most.
        info: the store's ETag: an MD5, or that of a multipart upload, which is the MD5 of its parts' MD5s.
    """

    def __init__(self, tarball: Tarball, info: ObjectInfo) -> None:
        self.info = info
        self.expected = (tarball.md5 or info.md5 or "").lower()
        self.source = "known MD5" if tarball.md5 else "ETag"
        self.part_size = 0
        if not self.expected and info.parts:
            self.part_size = info.part_size or likely_part_size(info.size, info.parts)
        self.taken = 0
        self._whole = hashlib.md5(usedforsecurity=False)
        self._part = hashlib.md5(usedforsecurity=False)
        self._part_digests: list[bytes] = []

    def update(self, block: memoryview) -> None:
        """Take the next bytes."""
        self.taken += len(block)
        if self.expected:
            self._whole.update(block)
            return
        while self.part_size and len(block):
            room = self.part_size - (self.taken - len(block)) % self.part_size
            self._part.update(block[:room])
            if len(block) >= room:
                self._end_part()
            block = block[room:]

    def _end_part(self) -> None:
        self._part_digests.append(self._part.digest())
        self._part = hashlib.md5(usedforsecurity=False)

    def verify(self) -> None:
        """Judge the bytes taken.

        Raises:
            FetchError: they are not the expected ones.
        """
        info = self.info
        if self.taken != info.size:
            raise FetchError(f"{info.url}: {self.taken} bytes came, expected {info.size}; run the command again")
        if self.expected:
            self._compare(self._whole.hexdigest(), self.expected)
        elif self.part_size:
            if info.size % self.part_size:
                self._end_part()
            joined = hashlib.md5(b"".join(self._part_digests), usedforsecurity=False)
            found = f"{joined.hexdigest()}-{len(self._part_digests)}"
            if info.part_size or found == str(info.version).strip('"'):
                self._compare(found, str(info.version).strip('"'))
            else:
                log.warning("%s: the part size of its ETag is unknown; only its size was checked", info.url)
        else:
            log.warning("%s: neither an MD5 nor a telling ETag is known; only its size was checked", info.url)

    def _compare(self, found: str, expected: str) -> None:
        if found != expected:
            raise FetchError(
                f"{self.info.url}: its checksum is {found}, the {self.source} is {expected}; nothing of it is used. "
                "Fetch it again; if it stays so, the object or the checksum in the config is wrong"
            )
        log.info("%s: checksum is right (%s)", self.info.url, self.source)


def likely_part_size(size: int, parts: int) -> int:
    """Return the usual part size in bytes that gives this number of parts, or 0 when none does."""
    return next((mib * MIB for mib in USUAL_PART_MIB if -(-size // (mib * MIB)) == parts), 0)
