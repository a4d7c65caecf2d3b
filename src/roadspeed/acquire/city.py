"""A city's tarballs from the bucket to verified files and a chip table; continues where a killed run stopped."""

import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from roadspeed.acquire.checksum import Checksum
from roadspeed.acquire.chiptable import build_chips
from roadspeed.acquire.download import check_space, fetched, head, stream, summed
from roadspeed.acquire.settings import AcquireSettings, Tarball
from roadspeed.acquire.store import FolderStore, ObjectInfo, ObjectStore, open_store
from roadspeed.acquire.unpack import file_blocks, unpack
from roadspeed.chips import Chip, write_chips
from roadspeed.errors import FetchError, InputError
from roadspeed.files import fingerprint, locked, write_json
from roadspeed.names import LABELS, PLAIN_LABELS, ChipName

log = logging.getLogger(__name__)

STATE, STAGING = ".acquire.json", ".unpack"
UNPACKED_PER_BYTE = {"PS-MS": 1.1, "PS-RGB": 0.45}
"""Unpacked bytes for each byte of tarball, an upper estimate from SpaceNet's sizes."""
MIB = 1 << 20


def acquire_city(
    city: str,
    split: str,
    bucket: str,
    tarballs: Sequence[Tarball],
    folder: Path,
    tarball_folder: Path,
    settings: AcquireSettings,
    threads: int = 1,
) -> list[Chip]:
    """Fetch and unpack a city's tarballs and write its chip table, `chips.csv`, which appears last.

    Tarballs that are done are not fetched again while their files are there. Files go to `images/` and `labels/`,
    only after their tarball's checksum was found right.

    Args:
        city: the city's name in the config.
        split: the split's name.
        bucket: an address that `open_store` takes; tarballs of a `file://` bucket are read in place.
        tarballs: keys with checksums; images and labels may come from different ones.
        folder: where chips.csv, images/ and labels/ go.
        tarball_folder: where tarballs are downloaded to.
        settings: product, transfer, what to keep.
        threads: cores to use.

    Returns:
        The chip table.

    Raises:
        InputError: a tarball is damaged or hostile, a label is unreadable, or nothing wanted was found.
        FetchError: a tarball cannot be fetched, or its bytes are wrong.
    """
    folder, tarball_folder = Path(folder), Path(tarball_folder)
    with locked(folder, f"acquire {city} {split}"):
        store = open_store(bucket, settings)
        state = _State(folder, fingerprint(bucket, settings.product))
        for tarball in tarballs:
            if state.has(tarball):
                log.info("%s: unpacked before", tarball.key)
            else:
                (folder / "chips.csv").unlink(missing_ok=True)
                state.add(tarball, _bring(store, tarball, folder, tarball_folder, settings))
        files = state.settle([tarball.key for tarball in tarballs])
        if not any(file.startswith("images/") for file in files):
            raise InputError(
                f"{city} {split}: no {settings.product} image with a SpaceNet name is in "
                f"{', '.join(t.key for t in tarballs) or 'no tarball'}; check the keys and the product"
            )
        chips = build_chips(folder, files, city, split, settings.unreadable_labels, threads)
        for chip in chips:
            if chip.note:
                log.warning("%s: %s", chip.chip_id, chip.note)
        states = [chip.label_state for chip in chips]
        log.info(
            "%s %s: %d chips, %d with roads, %d without roads, %d without label file",
            city,
            split,
            len(chips),
            *(states.count(state) for state in ("roads", "empty", "missing")),
        )
        write_chips(folder / "chips.csv", chips)
        return chips


def place_of(name: ChipName, product: str) -> str | None:
    """Return where a file of this name goes inside a city's folder, or None when it is not wanted."""
    if name.product == product:
        kind, suffix = "images", "tif"
    elif name.product in (LABELS, PLAIN_LABELS):
        kind, suffix = "labels", "geojson"
    else:
        return None
    return f"{kind}/AOI_{name.aoi}_{name.city}_{name.product}_{name.kind}{name.number}.{suffix}"


class _State:
    """Which tarballs are done and which files each gave; lives beside the chip table and survives any kill."""

    def __init__(self, folder: Path, made_for: str) -> None:
        self.folder, self.made_for = folder, made_for
        self.done: dict[str, dict[str, Any]] = {}
        try:
            before = json.loads((folder / STATE).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return
        if before["made_for"] != made_for:
            log.warning("%s: made from another bucket or product; starting from the beginning", folder)
            return
        self.done = before["tarballs"]

    def has(self, tarball: Tarball) -> bool:
        """Return whether a tarball is done and all its files are there."""
        entry = self.done.get(tarball.key)
        if entry is None:
            return False
        if (entry["md5"], entry["size"]) != (tarball.md5, tarball.size):
            log.warning("%s: its checksum or size in the config changed; fetching it again", tarball.key)
            return False
        lost = next((file for file in entry["files"] if not (self.folder / file).is_file()), None)
        if lost is not None:
            log.warning("%s: %s is gone; fetching it again", tarball.key, self.folder / lost)
        return lost is None

    def add(self, tarball: Tarball, files: list[str]) -> None:
        """Note that a tarball is done."""
        self.done[tarball.key] = {"md5": tarball.md5, "size": tarball.size, "files": files}
        self._write()

    def settle(self, keys: list[str]) -> list[str]:
        """Return all files of these tarballs; remove what others left."""
        self.done = {key: self.done[key] for key in keys}
        self._write()
        files = sorted({file for entry in self.done.values() for file in entry["files"]})
        for kind in ("images", "labels"):
            for path in (self.folder / kind).glob("*"):
                if f"{kind}/{path.name}" not in files:
                    path.unlink()
        return files

    def _write(self) -> None:
        write_json(self.folder / STATE, {"made_for": self.made_for, "tarballs": self.done})


def _bring(
    store: ObjectStore, tarball: Tarball, folder: Path, tarball_folder: Path, settings: AcquireSettings
) -> list[str]:
    """Fetch and unpack one tarball; return its files."""
    name = Path(tarball.key).name
    local = tarball_folder / name
    if isinstance(store, FolderStore) or settings.keep_tarballs is False:
        info = head(store, tarball, settings)
        _check_unpack_space(folder, info, settings)
        if isinstance(store, FolderStore):
            blocks = file_blocks(store.path(tarball.key))
        else:
            blocks = stream(store, tarball.key, info, settings)
        return _unpack(blocks, info, tarball, folder, settings, Checksum(tarball, info))
    if local.exists():
        log.info("%s: on disk already", local)
        info = ObjectInfo(str(local), local.stat().st_size, None)
        _check_unpack_space(folder, info, settings)
        try:
            files = _unpack(file_blocks(local), info, tarball, folder, settings, Checksum(tarball, info))
        except (FetchError, InputError) as error:
            raise type(error)(f"{error}; remove {local} to have it fetched anew") from error
        if settings.keep_tarballs is not True:
            local.unlink()
        return files
    work = tarball_folder / f".{name}"
    info = head(store, tarball, settings)
    there = (work / "part").stat().st_blocks * 512 if (work / "part").exists() else 0
    _check_unpack_space(folder, info, settings, more=max(0, info.size - there))
    with fetched(store, tarball, work, settings) as got:
        try:
            files = _unpack(file_blocks(got.path), got.info, tarball, folder, settings, got.checksum)
        except FetchError:
            got.discard()
            raise
        except InputError:
            got.verify()  # wrong bytes are the likelier reason, and are fetched anew by the next run
            raise
        if settings.keep_tarballs is True:
            got.keep(local)
        else:
            got.discard()
    return files


def _check_unpack_space(folder: Path, info: ObjectInfo, settings: AcquireSettings, more: int = 0) -> None:
    check_space(folder, more + int(info.size * UNPACKED_PER_BYTE[settings.product]), f"unpacking {info.url}")


def _unpack(
    blocks: Iterator[memoryview],
    info: ObjectInfo,
    tarball: Tarball,
    folder: Path,
    settings: AcquireSettings,
    checksum: Checksum,
) -> list[str]:
    """Unpack into a folder of its own; move the files to their places once the checksum is right.

    What a stopped run left there was never judged, so nothing of it is used.
    """
    staging = folder / STAGING
    shutil.rmtree(staging, ignore_errors=True)
    wanted = partial(place_of, product=settings.product)
    try:
        files = unpack(summed(blocks, checksum), staging, wanted, info.url, settings.max_member_mib * MIB)
        checksum.verify()
        for file in files:
            target = folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            (staging / file).replace(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return files
