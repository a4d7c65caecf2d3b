"""Unpacking: only what is needed, byte for byte; hostile and broken tarballs end in one line."""

import gzip
import io
import os
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tarfactory import members, tar, tarball

from roadspeed.acquire.city import place_of
from roadspeed.acquire.unpack import file_blocks, unpack
from roadspeed.errors import InputError, RoadspeedError
from roadspeed.names import ChipName, parse_name

FUZZ = int(os.environ.get("ROADSPEED_FUZZ_EXAMPLES", "60"))
"""Examples of each fuzz test; minutes are spent with 20000."""
NAME = "AOI_7_Moscow_PS-MS_chip1.tif"
LIMIT = 10_000_000


def wanted(name: ChipName) -> str | None:
    return place_of(name, "PS-MS")


def run(folder: Path, content: bytes, block: int = 1000, limit: int = LIMIT) -> list[str]:
    def blocks() -> Iterator[memoryview]:
        for place in range(0, len(content), block):
            yield memoryview(content[place : place + block])

    return unpack(blocks(), folder / "out", wanted, "t.tar.gz", limit)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def special(name: str, kind: bytes, target: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, size
    return info


@pytest.mark.parametrize("block", [1, 7, 100_000])
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_only_what_is_wanted_byte_for_byte(tmp_path: Path, block: int, form: int) -> None:
    content = {name: value[:4000] for name, value in members().items()}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        archive.addfile(special("nfs", tarfile.DIRTYPE))
        for name, value in content.items():
            # Longer than a header's field, so that extended headers are used where the format has them.
            info = tarfile.TarInfo(name if form == tarfile.USTAR_FORMAT else f"{'deep/' * 30}ü/{name}")
            info.size = len(value)
            archive.addfile(info, io.BytesIO(value))
    found = run(tmp_path, gzip.compress(buffer.getvalue(), 1), block)
    assert len(found) == 4 + 3
    expected = {wanted(name): value for path, value in content.items() if (name := parse_name(path)) and wanted(name)}
    assert files(tmp_path / "out") == expected


def test_plain_tar_and_several_gzip_members(tmp_path: Path) -> None:
    plain = tar({NAME: b"abc" * 10_000})
    assert run(tmp_path / "a", plain) == [f"images/{NAME}"]
    run(tmp_path / "b", gzip.compress(plain[:700]) + gzip.compress(plain[700:]), block=13)
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_what_lies_there_is_not_taken_for_the_member(tmp_path: Path) -> None:
    path = tmp_path / "out/images" / NAME
    path.parent.mkdir(parents=True)
    for left in (b"ab", b"xyz"):
        path.write_bytes(left)
        run(tmp_path, tarball({NAME: b"abc"}))
        assert path.read_bytes() == b"abc"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (tarball({f"../../{NAME}": b"x"}), "leads outside"),
        (tarball({f"/etc/{NAME}": b"x"}), "leads outside"),
        (tarball({f"a/../{NAME}": b"x"}), "leads outside"),
        (tarball({"l": special(NAME, tarfile.SYMTYPE, "/etc/passwd")}), "symbolic link"),
        (tarball({"l": special(NAME, tarfile.LNKTYPE, "/etc/passwd")}), "hard link"),
        (tarball({"l": special(NAME, tarfile.CHRTYPE)}), "device"),
        (tarball({"l": special(NAME, tarfile.FIFOTYPE)}), "pipe"),
        (tarball({NAME: b"x", f"b/{NAME}": b"y"}), "other content"),
        (tarball({NAME: b"x" * 2000}), "claims 2000 bytes, at most 1999"),
        (tarball({"l": special("a", tarfile.GNUTYPE_SPARSE)}), "sparse"),
        (tarball({"l": special("a", tarfile.GNUTYPE_LONGNAME, size=2**30)}), "extended header of 1073741824 bytes"),
        (tarball({"l": special("a", tarfile.XHDTYPE, size=2**30)}), "extended header"),
        (tarball({"l": special("b", tarfile.REGTYPE, size=2**40)}), "cut short"),
        (tarball({NAME: os.urandom(1000)})[:-300], "cut short"),
        (tarball({name: value[:1500] for name, value in members().items()})[:-900], "cut short"),
        (tar({NAME: b"x" * 1000})[:1300], "cut short inside"),
        (tar({NAME: b"x" * 1000})[:1536], "no end mark"),
        (tar({NAME: b"x"}).replace(b"ustar", b"USTAR", 1), "damaged header"),
        (tar({"a": b"x", NAME: b"y"})[:1024] + b"garbage" * 1000, "damaged header"),
        (b"", "empty"),
        (b"\x1f", "no end mark"),
        (b"\x1f\x8b" + b"no gzip" * 100, "gzip stream is damaged"),
        (b"<html>404</html>", "no end mark"),
        (gzip.compress(b""), "no end mark"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_hostile_and_broken(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        run(tmp_path, content, limit=1999)
    assert str(caught.value).startswith("t.tar.gz: ")
    assert "\n" not in str(caught.value)
    assert {name.split("/")[0] for name in files(tmp_path)} <= {"out"}
    assert not [name for name in files(tmp_path) if "tmp" in name]


def test_flipped_bit_is_found_by_gzip(tmp_path: Path) -> None:
    content = bytearray(tarball({NAME: os.urandom(5000)}))
    content[3000] ^= 1
    with pytest.raises(InputError, match=r"gzip stream is damaged|damaged header|cut short"):
        run(tmp_path, bytes(content))


def test_what_is_harmless(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    odd = {
        "/etc/passwd": b"root",
        "../../evil.sh": b"rm",
        "l": special("link", tarfile.SYMTYPE, "/etc"),
        "d": special(f"{NAME}/", tarfile.DIRTYPE),
        "f": special("pipe", tarfile.FIFOTYPE),
        NAME: b"x",
        f"again/{NAME}": b"x",
    }
    assert run(tmp_path, tarball(odd) + b"trailing garbage") == [f"images/{NAME}"]
    assert files(tmp_path) == {f"out/images/{NAME}": b"x"}
    assert "bytes after the end of the gzip stream are ignored" in caplog.text
    assert run(tmp_path, tarball({NAME: b"x"}) + bytes(5000)) == [f"images/{NAME}"]


def test_damage_of_the_source_passes_through(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        unpack(file_blocks(tmp_path / "absent"), tmp_path, wanted, "t", LIMIT)


def test_disk_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file where a folder should be")
    with pytest.raises(RoadspeedError, match="cannot be written"):
        run(tmp_path, tarball({NAME: b"x"}))


names = st.one_of(
    st.text(max_size=60),
    st.builds(
        "{}AOI_{}_{}_{}_{}{}{}".format,
        st.sampled_from(["", "SN5_roads_train_", "../", "/", "a/b/", "RGB-PanSharpen_"]),
        st.integers(0, 10**6),
        st.sampled_from(["Vegas", "San_Juan", "..", "A/B", "\x00", "é", "x" * 200]),
        st.sampled_from(["PS-MS", "PS-RGB", "geojson_roads", "geojson_roads_speed", "MUL-PanSharpen"]),
        st.sampled_from(["img", "chip"]),
        st.integers(0, 10**30) | st.just("9" * 5000),
        st.sampled_from([".tif", ".geojson", "_speed.geojson", ".TIF", ""]),
    ),
)


@settings(max_examples=FUZZ * 5, deadline=None)
@given(names)
def test_fuzz_names(name: str) -> None:
    found = parse_name(name)
    if found is not None:
        place = place_of(found, "PS-MS")
        assert place is None or (place.count("/") == 1 and ".." not in place and "\0" not in place)


@settings(max_examples=FUZZ, deadline=None)
@given(
    st.lists(st.tuples(names, st.sampled_from(list(b"0123456LKxgSVD\0")), st.binary(max_size=700)), max_size=5),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=4),
    st.integers(0, 4000),
    st.booleans(),
)
def test_fuzz_tar_members(
    content: list[tuple[str, int, bytes]],
    flips: list[tuple[int, int]],
    cut: int,
    zipped: bool,
) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as archive:
        for name, kind, data in content:
            info = tarfile.TarInfo(name)
            info.type, info.size = bytes([kind]), len(data)
            archive.addfile(info, io.BytesIO(data))
    made = bytearray(buffer.getvalue())
    for place, value in flips:
        made[place % len(made)] = value
    made = made[: len(made) - cut] if cut % 2 else made
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            found = run(folder, gzip.compress(bytes(made)) if zipped else bytes(made))
            assert {path.removeprefix("out/") for path in files(folder)} == set(found)
        except RoadspeedError as error:
            assert "\n" not in str(error)
        assert {path.name for path in folder.iterdir()} <= {"out"}


@settings(max_examples=FUZZ, deadline=None)
@given(st.binary(max_size=3000), st.booleans())
def test_fuzz_bytes(content: bytes, zipped: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            run(folder, gzip.compress(content) if zipped else b"\x1f\x8b\x08" + content)
        except RoadspeedError as error:
            assert "\n" not in str(error)
        assert not files(folder)
