"""Downloads over loopback: whole, verified, resumed after a kill, through faults, and noticed when replaced."""

import gzip
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import WebServer, s3_server, web_server
from tarfactory import image, members, tarball

from roadspeed.acquire.city import acquire_city
from roadspeed.acquire.download import check_space, download, stream
from roadspeed.acquire.settings import AcquireSettings, Tarball
from roadspeed.acquire.store import open_store
from roadspeed.errors import FetchError, RoadspeedError

MIB = 1 << 20
CONTENT = random.Random(1).randbytes(9 * MIB + 12345)
MD5 = hashlib.md5(CONTENT).hexdigest()
SETTINGS = AcquireSettings(connections=3, range_mib=2, attempts=4, timeout_s=10)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[WebServer]:
    with web_server(tmp_path / "served", {"a.bin": CONTENT}) as state:
        yield state


@pytest.fixture(scope="module")
def s3() -> Iterator[tuple[str, Any]]:
    with s3_server() as server:
        yield server


def fetch(
    tmp_path: Path, bucket: str, key: str = "a.bin", settings: AcquireSettings = SETTINGS, **known: Any
) -> bytes:
    target = tmp_path / "out" / key
    download(open_store(bucket, settings), Tarball(key=key, **known), target, settings)
    return target.read_bytes()


def left(tmp_path: Path) -> set[str]:
    """What is in the target's folder, hidden work included."""
    return {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}


def test_web_by_parallel_ranges(tmp_path: Path, web: WebServer) -> None:
    assert fetch(tmp_path, web.url, md5=MD5, size=len(CONTENT)) == CONTENT
    gets = [wanted for method, wanted in web.requests if method == "GET"]
    assert len(gets) == 5
    assert web.sent == len(CONTENT)
    assert left(tmp_path) == {"a.bin", ".a.bin/.lock"}
    web.requests.clear()
    assert fetch(tmp_path, web.url, md5=MD5) == CONTENT
    assert web.requests == []


@pytest.mark.parametrize("etag", ['""', 'W/"weak"', ""])
def test_servers_with_ways_of_their_own(tmp_path: Path, web: WebServer, etag: str) -> None:
    """A range with status 200, as rclone's S3 server sends it; an ETag that says nothing."""
    web.range_status, web.etags, web.other_etag = 200, False, etag
    assert fetch(tmp_path, web.url, md5=MD5) == CONTENT
    assert web.sent == len(CONTENT)


def test_empty_object(tmp_path: Path, web: WebServer) -> None:
    (web.folder / "none").write_bytes(b"")
    assert fetch(tmp_path, web.url, "none", md5=hashlib.md5(b"").hexdigest()) == b""


def test_server_without_ranges_or_etag(tmp_path: Path, web: WebServer, caplog: pytest.LogCaptureFixture) -> None:
    web.ranges = web.etags = False
    web.cuts, web.cut_after = 2, 3 * MIB
    assert fetch(tmp_path, web.url, md5=MD5) == CONTENT
    assert "no ranges" in caplog.text


def test_broken_links_and_busy_servers_are_tried_again_without_fetching_twice(tmp_path: Path, web: WebServer) -> None:
    web.fail_next, web.cuts, web.cut_after = 2, 4, MIB
    assert fetch(tmp_path, web.url, md5=MD5) == CONTENT
    assert web.sent <= len(CONTENT) + 4 * (1 << 16)


def test_gives_up_after_the_attempts_and_goes_on_later(tmp_path: Path, web: WebServer) -> None:
    web.cuts, web.cut_after = 3, MIB // 2
    web.fail_next = 10**6
    with pytest.raises(FetchError, match="gave up after 4 attempts"):
        fetch(tmp_path, web.url, md5=MD5)
    web.fail_next = 0
    assert fetch(tmp_path, web.url, md5=MD5) == CONTENT


@pytest.mark.parametrize(("key", "known", "said"), [
    ("absent", {}, "no such object"),
    ("a.bin", {"size": 5}, f"has {len(CONTENT)} bytes, expected 5"),
    ("a.bin", {"md5": "0" * 32}, "checksum is"),
])  # fmt: skip
def test_refusals(tmp_path: Path, web: WebServer, key: str, known: dict[str, Any], said: str) -> None:
    with pytest.raises(FetchError, match=said):
        fetch(tmp_path, web.url, key, **known)
    assert not (tmp_path / "out" / key).exists()
    assert not (tmp_path / f"out/.{key}/part").exists()


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="gave up after 4 attempts"):
        fetch(tmp_path, "http://127.0.0.1:9")


def test_object_replaced_on_the_way_is_noticed(
    tmp_path: Path, web: WebServer, caplog: pytest.LogCaptureFixture
) -> None:
    other = CONTENT[::-1]

    def replace_after_two() -> None:
        if sum(method == "GET" for method, _ in web.requests) == 2:
            (web.folder / "a.bin").write_bytes(other)

    web.on_get = replace_after_two
    assert fetch(tmp_path, web.url) == other
    assert "was replaced while it was read" in caplog.text
    assert "starts from the beginning" in caplog.text


def test_object_replaced_between_runs_starts_over_and_says_so(
    tmp_path: Path, web: WebServer, caplog: pytest.LogCaptureFixture
) -> None:
    web.fail_next = 0
    web.cuts, web.cut_after = 10**6, MIB // 4
    with pytest.raises(FetchError):
        fetch(tmp_path, web.url, settings=AcquireSettings(connections=2, range_mib=2, attempts=1))
    web.cuts = 0
    other = CONTENT[::-1]
    (web.folder / "a.bin").write_bytes(other)
    assert fetch(tmp_path, web.url) == other
    assert "another object than the one on disk" in caplog.text


def test_killed_at_random_times_it_goes_on_where_it_was(tmp_path: Path, web: WebServer) -> None:
    """A process is killed several times; the last one completes, and hardly a byte came twice."""
    web.bytes_per_s = 8 * MIB
    code = (
        "import sys; from pathlib import Path\n"
        "from roadspeed.acquire.download import download\n"
        "from roadspeed.acquire.settings import AcquireSettings, Tarball\n"
        "from roadspeed.acquire.store import open_store\n"
        "settings = AcquireSettings(connections=3, range_mib=2)\n"
        "print('go', flush=True)\n"
        "tarball = Tarball(key='a.bin', md5=sys.argv[2])\n"
        "download(open_store(sys.argv[1], settings), tarball, Path(sys.argv[3]), settings)\n"
    )
    target = tmp_path / "out/a.bin"
    rng = random.Random(0)
    kills = 0
    while not target.exists():
        command = [sys.executable, "-c", code, web.url, MD5, str(target)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
        assert process.stdout is not None
        process.stdout.readline()
        try:
            process.wait(rng.uniform(0.1, 0.25) if kills < 3 else 60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
        process.stdout.close()
        time.sleep(0.05)
    assert kills == 3
    assert target.read_bytes() == CONTENT
    assert web.sent <= 1.2 * len(CONTENT) + 3 * 3 * MIB  # what is in sockets is lost at a kill
    assert left(tmp_path) == {"a.bin", ".a.bin/.lock"}


def test_wrong_byte_on_disk_is_found_at_the_end(tmp_path: Path, web: WebServer) -> None:
    web.cuts, web.cut_after = 10**6, MIB
    with pytest.raises(FetchError):
        fetch(tmp_path, web.url, md5=MD5, settings=AcquireSettings(connections=1, range_mib=2, attempts=1))
    with (tmp_path / "out/.a.bin/part").open("r+b") as file:
        file.seek(100)
        file.write(b"wrong")
    web.cuts = 0
    with pytest.raises(FetchError, match="checksum is"):
        fetch(tmp_path, web.url, md5=MD5)
    assert fetch(tmp_path, web.url, md5=MD5) == CONTENT


def test_s3_anonymous_with_etags_of_one_piece_and_of_many(tmp_path: Path, s3: tuple[str, Any], caplog: Any) -> None:
    endpoint, client = s3
    settings = SETTINGS.model_copy(update={"endpoint_url": endpoint})
    client.put_object(Bucket="tiles", Key="x/one", Body=CONTENT, ACL="public-read")
    caplog.set_level("INFO")
    assert fetch(tmp_path, "s3://tiles", "x/one", settings) == CONTENT
    assert "checksum is right (ETag)" in caplog.text
    caplog.clear()
    upload = client.create_multipart_upload(Bucket="tiles", Key="x/many", ACL="public-read")["UploadId"]
    parts = []
    for number, start in enumerate(range(0, len(CONTENT), 5 * MIB), 1):
        answer = client.upload_part(
            Bucket="tiles", Key="x/many", UploadId=upload, PartNumber=number, Body=CONTENT[start : start + 5 * MIB]
        )
        parts.append({"PartNumber": number, "ETag": answer["ETag"]})
    client.complete_multipart_upload(Bucket="tiles", Key="x/many", UploadId=upload, MultipartUpload={"Parts": parts})
    assert fetch(tmp_path, "s3://tiles/x", "many", settings) == CONTENT
    assert "checksum is right (ETag)" in caplog.text


def test_s3_refusals(tmp_path: Path, s3: tuple[str, Any]) -> None:
    endpoint, client = s3
    settings = SETTINGS.model_copy(update={"endpoint_url": endpoint})
    client.put_object(Bucket="tiles", Key="private", Body=b"x")
    with pytest.raises(FetchError, match=r"s3://tiles/private: access is denied"):
        fetch(tmp_path, "s3://tiles", "private", settings)
    with pytest.raises(FetchError, match=r"s3://tiles/absent: (no such object|access is denied)"):
        fetch(tmp_path, "s3://tiles", "absent", settings)


def test_s3_object_replaced_on_the_way(tmp_path: Path, s3: tuple[str, Any]) -> None:
    endpoint, client = s3
    settings = SETTINGS.model_copy(update={"endpoint_url": endpoint})
    client.put_object(Bucket="tiles", Key="changing", Body=CONTENT, ACL="public-read")
    store = open_store("s3://tiles", settings)
    info = store.head("changing")
    client.put_object(Bucket="tiles", Key="changing", Body=CONTENT[::-1], ACL="public-read")
    with pytest.raises(FetchError, match="was replaced"):
        b"".join(stream(store, "changing", info, settings))
    assert fetch(tmp_path, "s3://tiles", "changing", settings) == CONTENT[::-1]


def test_stream_is_in_order_through_faults(web: WebServer) -> None:
    settings = AcquireSettings(connections=4, range_mib=1)
    store = open_store(web.url, settings)
    web.fail_next, web.cuts, web.cut_after = 1, 2, 1000
    assert b"".join(stream(store, "a.bin", store.head("a.bin"), settings)) == CONTENT


@pytest.mark.parametrize("keep", [True, False, "until_unpacked"])
def test_city_from_s3(tmp_path: Path, s3: tuple[str, Any], keep: bool | str) -> None:
    endpoint, client = s3
    body = tarball(members())
    client.put_object(Bucket="tiles", Key="t/moscow.tar.gz", Body=body, ACL="public-read")
    settings = AcquireSettings.checked({"endpoint_url": endpoint, "keep_tarballs": keep})
    known = Tarball(key="t/moscow.tar.gz", md5=hashlib.md5(body).hexdigest())
    chips = acquire_city("moscow", "train", "s3://tiles", [known], tmp_path / "c", tmp_path / "t", settings)
    assert [chip.label_state for chip in chips] == ["roads", "roads", "empty", "missing"]
    tarballs = [path.name for path in (tmp_path / "t").rglob("*") if path.is_file() and path.name != ".lock"]
    assert tarballs == (["moscow.tar.gz"] if keep is True else [])
    wrong = known.model_copy(update={"md5": "0" * 32})
    with pytest.raises(FetchError, match="checksum"):
        acquire_city("moscow", "train", "s3://tiles", [wrong], tmp_path / "d", tmp_path / "u", settings)
    assert not [path for path in (tmp_path / "d").rglob("*") if path.suffix in (".tif", ".csv")]


def test_free_space_is_checked_first(tmp_path: Path) -> None:
    with pytest.raises(RoadspeedError, match=r"needs about 1073741824\.0 GiB, .* are free; make room"):
        check_space(tmp_path / "not" / "there", 2**60, "download of x")


def test_tarball_spoilt_on_disk_is_fetched_anew(tmp_path: Path, web: WebServer) -> None:
    body = tarball(members())
    (web.folder / "m.tar.gz").write_bytes(body)
    settings = AcquireSettings(connections=1, attempts=1)
    known = Tarball(key="m.tar.gz", md5=hashlib.md5(body).hexdigest())

    def acquire() -> int:
        return len(acquire_city("moscow", "train", web.url, [known], tmp_path / "c", tmp_path / "t", settings))

    web.cuts, web.cut_after = 1, 30_000
    with pytest.raises(FetchError, match="gave up"):
        acquire()
    with (tmp_path / "t/.m.tar.gz/part").open("r+b") as file:
        file.seek(5000)
        file.write(b"spoilt")
    with pytest.raises(FetchError, match="checksum is"):
        acquire()
    assert acquire() == 4


def test_nothing_of_a_spoilt_tarball_is_used_by_the_next_run(tmp_path: Path, web: WebServer) -> None:
    content = {f"SN5_roads_train_AOI_7_Moscow_PS-MS_chip{n}.tif": image(n, size=300, seed=n) for n in range(4)}
    body = gzip.compress(gzip.decompress(tarball(content)), 0)  # as it is, so that only the end tells of a wrong byte
    (web.folder / "m.tar.gz").write_bytes(body)
    known = Tarball(key="m.tar.gz", md5=hashlib.md5(body).hexdigest())
    settings = AcquireSettings(connections=1, attempts=1)

    def acquire() -> None:
        acquire_city("moscow", "train", web.url, [known], tmp_path / "c", tmp_path / "t", settings)

    web.cuts, web.cut_after = 1, len(body) - 1000
    with pytest.raises(FetchError, match="gave up"):
        acquire()
    place = body.index(next(iter(content.values()))[2000:3000])
    with (tmp_path / "t/.m.tar.gz/part").open("r+b") as file:
        file.seek(place)
        file.write(b"spoilt")
    with pytest.raises(FetchError, match="checksum is"):
        acquire()
    acquire()
    found = [path.read_bytes() for path in sorted((tmp_path / "c/images").iterdir())]
    assert found == list(content.values())


def test_tarball_that_was_kept_and_is_spoilt_stays_and_is_named(tmp_path: Path, web: WebServer) -> None:
    body = tarball(members())
    (web.folder / "m.tar.gz").write_bytes(body)
    known = Tarball(key="m.tar.gz", md5=hashlib.md5(body).hexdigest())
    kept = tmp_path / "t/m.tar.gz"
    kept.parent.mkdir()
    settings = AcquireSettings(keep_tarballs=True)

    def acquire() -> int:
        return len(acquire_city("moscow", "train", web.url, [known], tmp_path / "c", tmp_path / "t", settings))

    for spoilt in (body[:-200] + bytes(200), body[:5000]):
        kept.write_bytes(spoilt)
        with pytest.raises(RoadspeedError, match=r"remove .*m\.tar\.gz to have it fetched anew"):
            acquire()
        assert kept.read_bytes() == spoilt
    kept.unlink()
    assert acquire() == 4
    assert kept.read_bytes() == body
