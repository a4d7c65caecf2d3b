"""Plain HTTP requests whose bodies are read straight into a buffer.

The standard library's client copies a body once; botocore's and urllib3's readers copy it three times and cost more
than the network. Each thread keeps one connection open. Proxies come from the environment, as usual.
"""

import base64
import contextlib
import http.client
import os
import ssl
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from roadspeed.errors import FetchError, InputError

MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_BROKEN = (OSError, http.client.HTTPException)
_TUNNEL_REFUSED = "Tunnel connection failed: 4"
"""How http.client begins to tell that a proxy answered with 4xx, which no other try changes."""


class TransientError(FetchError):
    """A link that broke or a server that is busy: worth another try."""


@dataclass(frozen=True)
class Proxy:
    """A proxy, and what tells it who asks."""

    host: str
    """With its port."""
    headers: Mapping[str, str] = field(default_factory=dict)


def proxy_for(address: urllib.parse.SplitResult) -> Proxy | None:
    """Return the proxy that HTTPS_PROXY, HTTP_PROXY and NO_PROXY (or their small spellings) give an address, if any.

    Raises:
        FetchError: it is not a proxy that is asked in plain HTTP.
    """
    if urllib.request.proxy_bypass(address.hostname or ""):
        return None
    told = urllib.request.getproxies().get(address.scheme)
    if not told:
        return None
    proxy = urllib.parse.urlsplit(told if "://" in told else f"http://{told}")
    host = proxy.netloc.rpartition("@")[2]
    if proxy.scheme != "http" or not host:
        raise FetchError(
            f"the proxy {proxy.scheme}://{host} from {address.scheme.upper()}_PROXY cannot be used; expected "
            "http://host:port"
        )
    if proxy.username is None:
        return Proxy(host)
    user = ":".join(urllib.parse.unquote(part or "") for part in (proxy.username, proxy.password))
    return Proxy(host, {"Proxy-Authorization": f"Basic {base64.b64encode(user.encode()).decode()}"})


class Web:
    """Makes requests; one connection a thread and server.

    Args:
        timeout_s: seconds without an answer after which a connection counts as broken.

    Raises:
        InputError: AWS_CA_BUNDLE names no file of certificates.
    """

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._mine = threading.local()
        authorities = os.environ.get("AWS_CA_BUNDLE")
        try:
            self._tls = ssl.create_default_context(cafile=authorities)
        except OSError as error:
            raise InputError(
                f"{authorities}: AWS_CA_BUNDLE names it, but no certificates can be read from it ({error.strerror})"
            ) from error

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
                sent = {"Accept-Encoding": "identity", **headers}
                if address.scheme == "http" and (proxy := proxy_for(address)):
                    path = urllib.parse.urlunsplit(address)
                    sent |= proxy.headers
                connections[place].request(method, path, headers=sent)
                return connections[place].getresponse()
            except ssl.SSLCertVerificationError as error:
                self._drop(address)
                raise FetchError(
                    f"{address.netloc}: its certificate is not trusted ({error.verify_message})"
                ) from error
            except _BROKEN as error:
                self._drop(address)
                if _TUNNEL_REFUSED in str(error):
                    raise FetchError(
                        f"{address.netloc}: the proxy refuses ({error}); check HTTPS_PROXY, and its user and password"
                    ) from error
                if not used_before:
                    raise TransientError(f"{address.geturl()}: {error or type(error).__name__}") from error
                # The server may have closed an idle connection; a new one tells.

    def _connect(self, address: urllib.parse.SplitResult) -> http.client.HTTPConnection:
        proxy = proxy_for(address)
        host = proxy.host if proxy else address.netloc
        if address.scheme == "http":
            return http.client.HTTPConnection(host, timeout=self.timeout_s)
        connection = http.client.HTTPSConnection(host, timeout=self.timeout_s, context=self._tls)
        if proxy:
            connection.set_tunnel(str(address.hostname), address.port or 443, dict(proxy.headers))
        return connection

    def _drop(self, address: urllib.parse.SplitResult) -> None:
        connection = self._connections().pop((address.scheme, address.netloc), None)
        if connection is not None:
            connection.close()

    def _connections(self) -> dict[tuple[str, str], http.client.HTTPConnection]:
        if not hasattr(self._mine, "connections"):
            self._mine.connections = {}
        found: dict[tuple[str, str], http.client.HTTPConnection] = self._mine.connections
        return found
