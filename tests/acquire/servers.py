"""Servers on loopback: a plain web server with ranges, faults and a count of bytes; an S3 server; public objects."""

import base64
import contextlib
import hashlib
import http.client
import http.server
import socket
import socketserver
import ssl
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class WebServer:
    """A web server's address and dials."""

    folder: Path
    url: str = ""
    sent: int = 0
    """Bytes of bodies sent."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    """Method and Range of each request."""
    ranges: bool = True
    etags: bool = True
    other_etag: str = ""
    """An ETag that says nothing of the content."""
    range_status: int = 206
    fail_next: int = 0
    """So many GETs are answered with 503."""
    cut_after: int = 0
    """GETs end after so many bytes, while `cuts` are left."""
    cuts: int = 0
    bytes_per_s: float = 0
    """Of each connection; 0 for no limit."""
    on_get: object = None
    """Called before each GET."""


@contextlib.contextmanager
def web_server(
    folder: Path, files: Mapping[str, bytes] | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[WebServer]:
    """Serve a folder, into which `files` are written, until the block ends; over HTTPS where a context with a
    certificate is given."""
    for name, content in (files or {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    state = WebServer(folder)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(False)

        def do_GET(self) -> None:
            if callable(state.on_get):
                state.on_get()
            self.answer(True)

        def answer(self, body: bool) -> None:
            state.requests.append((self.command, self.headers.get("Range", "")))
            path = state.folder / self.path.lstrip("/")
            if not path.is_file():
                self.refuse(404)
                return
            if body and state.fail_next:
                state.fail_next -= 1
                self.refuse(503)
                return
            content = path.read_bytes()
            etag = f'"{hashlib.sha1(content).hexdigest()}"'
            if state.etags and self.headers.get("If-Match", etag) != etag:
                self.refuse(412)
                return
            start, stop = 0, len(content)
            wanted = self.headers.get("Range", "")
            if state.ranges and wanted.startswith("bytes="):
                first, last = wanted.removeprefix("bytes=").split("-")
                start, stop = int(first), int(last) + 1
                self.send_response(state.range_status)
                self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
            else:
                self.send_response(200)
            if state.ranges:
                self.send_header("Accept-Ranges", "bytes")
            if state.etags or state.other_etag:
                self.send_header("ETag", etag if state.etags else state.other_etag)
            self.send_header("Content-Length", str(stop - start))
            self.end_headers()
            if body:
                self.send(content[start:stop])

        def refuse(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def send(self, content: bytes) -> None:
            if state.cuts:
                state.cuts -= 1
                content = content[: state.cut_after]
                self.close_connection = True
            for place in range(0, len(content), 1 << 16):
                block = content[place : place + (1 << 16)]
                try:
                    self.wfile.write(block)
                except OSError:
                    self.close_connection = True
                    return
                state.sent += len(block)
                if state.bytes_per_s:
                    time.sleep(len(block) / state.bytes_per_s)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    state.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
    with _running(server):
        yield state


@contextlib.contextmanager
def _running(server: socketserver.ThreadingTCPServer) -> Iterator[None]:
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class ProxyServer:
    """A proxy's address and what was asked of it."""

    host: str = ""
    """With its port."""
    asked: list[str] = field(default_factory=list)
    """Method and target of each request that it passed on."""


@contextlib.contextmanager
def proxy_server(user: str = "") -> Iterator[ProxyServer]:
    """Run a proxy for plain requests and for tunnels; only for `user:password` where that is given."""
    state = ProxyServer()
    expected = f"Basic {base64.b64encode(user.encode()).decode()}" if user else None

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def known(self) -> bool:
            if self.headers.get("Proxy-Authorization") == expected:
                state.asked.append(f"{self.command} {self.path}")
                return True
            self.send_response(407)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return False

        def do_CONNECT(self) -> None:
            if not self.known():
                return
            host, _, port = self.path.rpartition(":")
            with socket.create_connection((host, int(port))) as there:
                self.send_response(200)
                self.end_headers()
                back = threading.Thread(target=_pass_on, args=(there, self.connection), daemon=True)
                back.start()
                _pass_on(self.connection, there)
                back.join()
            self.close_connection = True

        def pass_on(self) -> None:
            if not self.known():
                return
            address = urllib.parse.urlsplit(self.path)
            there = http.client.HTTPConnection(address.netloc)
            there.request(self.command, address.path, headers=dict(self.headers))
            answer = there.getresponse()
            body = answer.read()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            there.close()

        def do_GET(self) -> None:
            self.pass_on()

        def do_HEAD(self) -> None:
            self.pass_on()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.host = f"127.0.0.1:{server.server_address[1]}"
    with _running(server):
        yield state


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def s3_server() -> Iterator[tuple[str, object]]:
    """Run an S3 server with a bucket named `tiles`; give its address and a client that may write."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    client.create_bucket(Bucket="tiles")
    try:
        yield endpoint, client
    finally:
        server.stop()
