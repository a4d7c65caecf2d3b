"""Plain HTTP requests whose bodies are read straight into a buffer.

The standard library's client copies a body once; botocore's and urllib3's readers copy it three times and cost more
than the network. Each thread keeps one connection open. Proxies come from the environment, as usual.
"""

import contextlib
import http.client
import os
import ssl
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping

from roadspeed.errors import FetchError

MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_BROKEN = (OSError, http.client.HTTPException)


class TransientError(FetchError):
    """A link that broke or a server that is busy: worth another try."""


class Web:
    """Makes requests; one connection a thread and server.

    Args:
        timeout_s: seconds without an answer after which a connection counts as broken.
    """

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._mine = threading.local()
        self._tls = ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE"))

    @contextlib.contextmanager
    def request(self, method: str, url: str, headers: Mapping[str, str]) -> Iterator[http.client.HTTPResponse]:
        """Send a request, following redirects, and give the answer while the block runs.

        Raises:
            TransientError: the server cannot be reached, or the link broke.
            FetchError: the server is not who it says it is, or redirects in a circle.
        """
        for _ in range(MAX_REDIRECTS + 1):
            address = urllib.parse.urlsplit(url)
            answer = self._send(method, address, headers)
            target = answer.headers.get("Location")
            if answer.status in _REDIRECTS and target:
                self._drop(address)
                url = urllib.parse.urljoin(url, target)
                continue
            try:
                yield answer
            finally:
                # A body that was not read to its end leaves a connection that cannot be used again.
                if not answer.isclosed():
                    self._drop(address)
            return
        raise FetchError(f"{url}: more than {MAX_REDIRECTS} redirects")

    def _send(
        self, method: str, address: urllib.parse.SplitResult, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        connections = self._connections()
        place = (address.scheme, address.netloc)
        while True:
            used_before = place in connections
            try:
                if not used_before:
                    connections[place] = self._connect(address)
                path = urllib.parse.urlunsplit(("", "", address.path or "/", address.query, ""))
                if address.scheme == "http" and self._proxy(address):
                    path = urllib.parse.urlunsplit(address)
                connections[place].request(method, path, headers={"Accept-Encoding": "identity", **headers})
                return connections[place].getresponse()
            except ssl.SSLCertVerificationError as error:
                self._drop(address)
                raise FetchError(
                    f"{address.netloc}: its certificate is not trusted ({error.verify_message})"
                ) from error
            except _BROKEN as error:
                self._drop(address)
                if not used_before:
                    raise TransientError(f"{address.geturl()}: {error or type(error).__name__}") from error
                # The server may have closed an idle connection; a new one tells.

    def _connect(self, address: urllib.parse.SplitResult) -> http.client.HTTPConnection:
        proxy = self._proxy(address)
        host = urllib.parse.urlsplit(proxy).netloc.rpartition("@")[2] if proxy else address.netloc
        if address.scheme == "http":
            return http.client.HTTPConnection(host, timeout=self.timeout_s)
        connection = http.client.HTTPSConnection(host, timeout=self.timeout_s, context=self._tls)
        if proxy:
            connection.set_tunnel(str(address.hostname), address.port or 443)
        return connection

    def _proxy(self, address: urllib.parse.SplitResult) -> str | None:
        if urllib.request.proxy_bypass(address.hostname or ""):
            return None
        return urllib.request.getproxies().get(address.scheme)

    def _drop(self, address: urllib.parse.SplitResult) -> None:
        connection = self._connections().pop((address.scheme, address.netloc), None)
        if connection is not None:
            connection.close()

    def _connections(self) -> dict[tuple[str, str], http.client.HTTPConnection]:
        if not hasattr(self._mine, "connections"):
            self._mine.connections = {}
        found: dict[tuple[str, str], http.client.HTTPConnection] = self._mine.connections
        return found
