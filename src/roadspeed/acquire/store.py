"""Objects in a bucket, read by ranges: anonymous S3 and any S3-compatible server, a web server, a folder."""

import re
import shutil
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import boto3
import urllib3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from roadspeed.acquire.settings import AcquireSettings
from roadspeed.errors import FetchError, InputError

BLOCK_BYTES = 1 << 20
_TRANSIENT_STATUS = frozenset({408, 429, 500, 502, 503, 504})
_MD5_ETAG = re.compile(r"[0-9a-f]{32}")
_PARTS_ETAG = re.compile(r"[0-9a-f]{32}-(\d+)")


class TransientError(FetchError):
    """A link that broke or a server that is busy: worth another try."""


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


class S3Store:
    """A bucket on Amazon S3 or an S3-compatible server, read without credentials."""

    def __init__(self, bucket: str, prefix: str, settings: AcquireSettings) -> None:
        self.bucket, self.prefix = bucket, prefix
        self.client = boto3.client(
            "s3",
            region_name=settings.region,
            endpoint_url=settings.endpoint_url,
            config=Config(
                signature_version=UNSIGNED,
                max_pool_connections=settings.connections,
                connect_timeout=settings.timeout_s,
                read_timeout=settings.timeout_s,
                retries={"total_max_attempts": 1},
                s3={"addressing_style": "path" if settings.endpoint_url else "auto"},
            ),
        )

    def head(self, key: str) -> ObjectInfo:
        """See `ObjectStore`."""
        place = {"Bucket": self.bucket, "Key": f"{self.prefix}/{key}" if self.prefix else key}
        url = f"s3://{place['Bucket']}/{place['Key']}"
        answer = self._ask(self.client.head_object, url, **place)
        etag = answer["ETag"].strip('"')
        info = ObjectInfo(url, answer["ContentLength"], etag)
        # With server-side encryption by a customer's key the ETag says nothing about the bytes.
        if answer.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in answer:
            return info
        if _MD5_ETAG.fullmatch(etag):
            return replace(info, md5=etag)
        many = _PARTS_ETAG.fullmatch(etag)
        if many is None:
            return info
        first = self._ask(self.client.head_object, url, **place, PartNumber=1)
        told = first["ContentLength"] if first.get("PartsCount") == int(many[1]) else None
        return replace(info, parts=int(many[1]), part_size=told)

    def blocks(self, key: str, info: ObjectInfo, start: int, stop: int) -> Iterator[memoryview]:
        """See `ObjectStore`."""
        answer = self._ask(
            self.client.get_object,
            info.url,
            Bucket=self.bucket,
            Key=f"{self.prefix}/{key}" if self.prefix else key,
            Range=f"bytes={start}-{stop - 1}",
            IfMatch=f'"{info.version}"',
        )
        with answer["Body"] as body:
            yield from _fill(body, stop - start, info.url)

    def _ask(self, call: Any, url: str, **arguments: object) -> Any:
        try:
            return call(**arguments)
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            raise _refusal(status, url, error.response["Error"].get("Code", "")) from error
        except BotoCoreError as error:
            raise TransientError(f"{url}: {error}") from error


class WebStore:
    """Files of a web server under one address."""

    def __init__(self, base: str, settings: AcquireSettings) -> None:
        self.base = base
        timeout = urllib3.Timeout(connect=settings.timeout_s, read=settings.timeout_s)
        options = {"maxsize": settings.connections, "retries": False, "timeout": timeout}
        address = urllib.parse.urlsplit(base)
        proxy = urllib.request.getproxies().get(address.scheme)
        if proxy and not urllib.request.proxy_bypass(address.hostname or ""):
            self.pool: urllib3.PoolManager = urllib3.ProxyManager(proxy, **options)  # type: ignore[arg-type]
        else:
            self.pool = urllib3.PoolManager(**options)  # type: ignore[arg-type]

    def head(self, key: str) -> ObjectInfo:
        """See `ObjectStore`."""
        url = self._url(key)
        answer = self._ask("HEAD", url, {})
        answer.drain_conn()
        if answer.status != 200:
            raise _refusal(answer.status, url)
        headers = answer.headers
        size = headers.get("Content-Length", "")
        if not size.isdigit():
            raise FetchError(f"{url}: the server does not tell the object's size; use a server that does")
        etag = headers.get("ETag", "")
        strong = etag if etag.startswith('"') else ""
        # Only Amazon's answers carry this header, and only there an ETag of this form is an MD5.
        amazon = "x-amz-request-id" in headers and "x-amz-server-side-encryption-aws-kms-key-id" not in headers
        many = _PARTS_ETAG.fullmatch(etag.strip('"')) if amazon else None
        return ObjectInfo(
            url,
            int(size),
            strong or headers.get("Last-Modified"),
            md5=etag.strip('"') if amazon and _MD5_ETAG.fullmatch(etag.strip('"')) else None,
            parts=int(many[1]) if many else 0,
            ranges=headers.get("Accept-Ranges", "").lower() == "bytes",
        )

    def blocks(self, key: str, info: ObjectInfo, start: int, stop: int) -> Iterator[memoryview]:
        """See `ObjectStore`."""
        wants_all = (start, stop) == (0, info.size)
        headers = {} if wants_all else {"Range": f"bytes={start}-{stop - 1}"}
        if info.version and info.version.startswith('"'):
            headers["If-Match"] = info.version
        answer = self._ask("GET", info.url, headers)
        try:
            version = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
            if answer.status == 412 or (version and info.version and version != info.version):
                raise ObjectChangedError(f"{info.url} was replaced while it was read")
            if answer.status not in ((200, 206) if wants_all else (206,)):
                raise _refusal(answer.status, info.url)
            placed = f"bytes {start}-{stop - 1}/{info.size}"
            if answer.status == 206 and answer.headers.get("Content-Range", "").lower() != placed:
                raise ObjectChangedError(f"{info.url}: the server sent another range than {placed}")
            yield from _fill(answer, stop - start, info.url)
        finally:
            # An answer that was not read to its end leaves a connection that cannot be used again.
            answer.close()
            answer.release_conn()

    def _url(self, key: str) -> str:
        return f"{self.base}/{urllib.parse.quote(key)}"

    def _ask(self, method: str, url: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        try:
            return self.pool.request(
                method, url, headers={"Accept-Encoding": "identity", **headers}, preload_content=False, redirect=True
            )
        except urllib3.exceptions.HTTPError as error:
            raise TransientError(f"{url}: {error}") from error


def _fill(source: Any, size: int, url: str) -> Iterator[memoryview]:
    """Yield `size` bytes of a stream with `readinto`, block by block, in one buffer."""
    buffer = memoryview(bytearray(min(BLOCK_BYTES, size)))
    left = size
    while left:
        try:
            count = source.readinto(buffer[:left])
        except (BotoCoreError, urllib3.exceptions.HTTPError, OSError) as error:
            raise TransientError(f"{url}: {error}") from error
        if not count:
            raise TransientError(f"{url}: the connection ended {left} bytes early")
        yield buffer[:count]
        left -= count


def _refusal(status: int, url: str, code: str = "") -> FetchError:
    if status == 412:
        return ObjectChangedError(f"{url} was replaced while it was read")
    if status in _TRANSIENT_STATUS:
        return TransientError(f"{url}: the server is busy (status {status} {code})".replace(" )", ")"))
    if status == 404:
        return FetchError(f"{url}: no such object; check the bucket and the key")
    if status in (401, 403):
        return FetchError(f"{url}: access is denied (status {status}); the object is not public, or does not exist")
    return FetchError(f"{url}: the server answered with status {status} {code}".rstrip())


def free_bytes(folder: Path) -> int:
    """Return the free space of the file system that `folder`, or its nearest existing parent, lies on."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
