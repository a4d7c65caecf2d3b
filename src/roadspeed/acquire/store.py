"""Objects in a bucket, read by ranges: anonymous S3 and any S3-compatible server, a web server, a folder.

Public S3 objects are plain HTTP: no credentials, so no signatures, and no client library is needed for them.
"""

import http.client
import io
import re
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from roadspeed.acquire.settings import AcquireSettings
from roadspeed.acquire.web import TransientError, Web
from roadspeed.errors import FetchError, InputError

BLOCK_BYTES = 1 << 18
"""A kill loses at most this of each connection, and what is in its socket."""
_TRANSIENT_STATUS = frozenset({408, 429, 500, 502, 503, 504})
_MD5_ETAG = re.compile(r"[0-9a-f]{32}")
_PARTS_ETAG = re.compile(r"[0-9a-f]{32}-(\d+)")


class ObjectChangedError(FetchError):
    """The object is no longer the one whose first bytes were fetched."""


@dataclass(frozen=True)
class ObjectInfo:
    """What the store says about an object."""

    url: str
    """For messages."""
    size: int
    """Bytes."""
    version: str | None
    """Changes when the object is replaced: the ETag, else the time it was modified; None when neither is told."""
    md5: str | None = None
    """The MD5 that the ETag gives of an object uploaded in one piece."""
    parts: int = 0
    """Number of parts of a multipart upload, whose ETag is the MD5 of its parts' MD5s; 0 for other objects."""
    part_size: int | None = None
    """Size in bytes of the parts but the last, where the store tells it."""
    ranges: bool = True
    """Whether parts of the object can be asked for."""


class ObjectStore(Protocol):
    """A bucket."""

    def head(self, key: str) -> ObjectInfo:
        """Return what is known of an object.

        Raises:
            FetchError: there is no such object, or the store cannot be reached.
        """

    def blocks(self, key: str, info: ObjectInfo, start: int, stop: int) -> Iterator[memoryview]:
        """Yield the bytes from `start` to before `stop` in blocks of at most BLOCK_BYTES, each valid until the next.

        Raises:
            TransientError: the link broke; what was yielded is good.
            ObjectChangedError: the object is not the one that `info` describes.
            FetchError: any other refusal.
        """


def open_store(bucket: str, settings: AcquireSettings) -> ObjectStore:
    """Return the store at an address.

    Args:
        bucket: `s3://name[/prefix]`, `https://host/path`, `http://…`, or `file://folder`.
        settings: endpoint, region, connections, timeout.

    Raises:
        InputError: the address is none of these.
    """
    address = urllib.parse.urlsplit(bucket)
    if address.scheme == "s3" and address.netloc:
        return S3Store(address.netloc, address.path.strip("/"), settings)
    if address.scheme in ("http", "https") and address.netloc:
        return WebStore(bucket.rstrip("/"), settings)
    folder = bucket.removeprefix("file://")
    if address.scheme == "file" and folder:
        plain = Path(folder)
        return FolderStore(plain if plain.exists() else Path(urllib.parse.unquote(folder)))
    raise InputError(f"bucket {bucket!r} is no address; expected s3://name, https://host/path or file://folder")


class FolderStore:
    """A folder as a bucket: its files are read where they lie."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        """Return the file of an object."""
        return self.folder / key

    def head(self, key: str) -> ObjectInfo:
        """See `ObjectStore`."""
        path = self.path(key)
        if not path.is_file():
            raise FetchError(
                f"{path}: no such object in the bucket file://{self.folder}; check the key and the bucket"
            )
        status = path.stat()
        return ObjectInfo(str(path), status.st_size, str(status.st_mtime_ns))

    def blocks(self, key: str, info: ObjectInfo, start: int, stop: int) -> Iterator[memoryview]:
        """See `ObjectStore`."""
        if self.head(key).version != info.version:
            raise ObjectChangedError(f"{info.url} was replaced while it was read")
        with self.path(key).open("rb", buffering=0) as file:
            file.seek(start)
            yield from _fill(file, stop - start, info.url)


class WebStore:
    """Files of a web server under one address."""

    def __init__(self, base: str, settings: AcquireSettings) -> None:
        self.base = base
        self.web = Web(settings.timeout_s)

    def url(self, key: str) -> str:
        """Return an object's address."""
        return f"{self.base}/{urllib.parse.quote(key, safe='/~')}"

    def head(self, key: str) -> ObjectInfo:
        """See `ObjectStore`."""
        url = self.url(key)
        headers = self._headers(url, url)
        return _info(headers, url, amazon="x-amz-request-id" in headers)

    def blocks(self, key: str, info: ObjectInfo, start: int, stop: int) -> Iterator[memoryview]:
        """See `ObjectStore`."""
        # Without ranges the one thing that can be asked for is all.
        whole = not info.ranges
        headers = {} if whole else {"Range": f"bytes={start}-{stop - 1}"}
        if info.version and info.version.startswith('"'):
            headers["If-Match"] = info.version
        with self.web.request("GET", self.url(key), headers) as answer:
            version = _version(answer.headers)
            if answer.status == 412 or (version and info.version and version != info.version):
                raise ObjectChangedError(f"{info.url} was replaced while it was read")
            # Some S3-compatible servers send a range with status 200; what counts is the range they name.
            given = answer.headers.get("Content-Range", "").lower()
            if answer.status not in ((200, 206) if given else (200,) if whole else (206,)):
                raise _refusal(answer.status, info.url)
            placed = f"bytes {start}-{stop - 1}/{info.size}"
            if not whole and given != placed:
                raise ObjectChangedError(f"{info.url}: the server sent another range than {placed}")
            yield from _fill(answer, stop - start, info.url)

    def _headers(self, url: str, shown: str) -> http.client.HTTPMessage:
        with self.web.request("HEAD", url, {}) as answer:
            answer.read()
            if answer.status not in (200, 206):
                raise _refusal(answer.status, shown)
            return answer.headers


class S3Store(WebStore):
    """A bucket on Amazon S3 or an S3-compatible server, read without credentials.

    Args:
        bucket: its name.
        prefix: put before every key, or empty.
        settings: `endpoint_url` of a server that is not Amazon's, region.
    """

    def __init__(self, bucket: str, prefix: str, settings: AcquireSettings) -> None:
        if settings.endpoint_url:
            base = f"{settings.endpoint_url.rstrip('/')}/{bucket}"
        elif "." in bucket:  # such a name does not fit Amazon's certificate
            base = f"https://s3.{settings.region}.amazonaws.com/{bucket}"
        else:
            base = f"https://{bucket}.s3.{settings.region}.amazonaws.com"
        super().__init__(f"{base}/{prefix}" if prefix else base, settings)
        self.shown = f"s3://{bucket}/{prefix}" if prefix else f"s3://{bucket}"

    def head(self, key: str) -> ObjectInfo:
        """See `ObjectStore`."""
        shown = f"{self.shown}/{key}"
        info = _info(self._headers(self.url(key), shown), shown, amazon=True)
        if not info.parts:
            return info
        first = self._headers(f"{self.url(key)}?partNumber=1", shown)
        if first.get("x-amz-mp-parts-count") == str(info.parts):
            return replace(info, part_size=int(first["Content-Length"]))
        return info


def _version(headers: http.client.HTTPMessage) -> str | None:
    """Return what changes when the object does: its ETag, unless that is empty or weak, else its time."""
    etag = headers.get("ETag", "")
    return etag if etag.startswith('"') and etag.strip('"') else headers.get("Last-Modified")


def _info(headers: http.client.HTTPMessage, url: str, amazon: bool) -> ObjectInfo:
    """Return what an answer to HEAD says; only Amazon's ETags are MD5s, and not those of encrypted objects."""
    size = headers.get("Content-Length", "")
    if not size.isdigit():
        raise FetchError(f"{url}: the server does not tell the object's size; use a server that does")
    etag = headers.get("ETag", "")
    plain = amazon and headers.get("x-amz-server-side-encryption", "AES256") == "AES256"
    many = _PARTS_ETAG.fullmatch(etag.strip('"')) if plain else None
    return ObjectInfo(
        url,
        int(size),
        _version(headers),
        md5=etag.strip('"') if plain and _MD5_ETAG.fullmatch(etag.strip('"')) else None,
        parts=int(many[1]) if many else 0,
        ranges=headers.get("Accept-Ranges", "").lower() == "bytes",
    )


def _fill(source: http.client.HTTPResponse | io.FileIO, size: int, url: str) -> Iterator[memoryview]:
    """Yield `size` bytes of a stream, block by block, in one buffer."""
    buffer = memoryview(bytearray(min(BLOCK_BYTES, size)))
    left = size
    while left:
        try:
            count = source.readinto(buffer[:left])
        except (OSError, http.client.HTTPException) as error:
            raise TransientError(f"{url}: {error or type(error).__name__}") from error
        if not count:
            raise TransientError(f"{url}: the connection ended {left} bytes early")
        yield buffer[:count]
        left -= count


def _refusal(status: int, url: str) -> FetchError:
    if status == 412:
        return ObjectChangedError(f"{url} was replaced while it was read")
    if status in _TRANSIENT_STATUS:
        return TransientError(f"{url}: the server is busy (status {status})")
    if status == 404:
        return FetchError(f"{url}: no such object; check the bucket and the key")
    if status in (401, 403):
        return FetchError(f"{url}: access is denied (status {status}); the object is not public, or does not exist")
    if status == 407:
        return FetchError(
            f"{url}: the proxy wants to know who asks; set HTTP_PROXY to http://user:password@host:port"
        )
    return FetchError(f"{url}: the server answered with status {status}")
