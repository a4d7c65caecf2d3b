"""HTTPS, certificates and proxies, over loopback."""

import random
import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from servers import WebServer, proxy_server, web_server

from roadspeed.acquire.download import download
from roadspeed.acquire.settings import AcquireSettings, Tarball
from roadspeed.acquire.store import open_store
from roadspeed.errors import FetchError, InputError

CONTENT = random.Random(2).randbytes(3_000_000)
SETTINGS = AcquireSettings(connections=3, range_mib=1, attempts=2, timeout_s=10)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    assert not urllib.request.getproxies()


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    found = trustme.CA()
    found.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return found


@pytest.fixture
def https(tmp_path: Path, authority: trustme.CA) -> Iterator[WebServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with web_server(tmp_path / "served", {"tiles/a.bin": CONTENT}, context) as server:
        yield server


@pytest.fixture
def http(tmp_path: Path) -> Iterator[WebServer]:
    with web_server(tmp_path / "plain", {"a.bin": CONTENT}) as server:
        yield server


def fetch(tmp_path: Path, bucket: str, **settings: object) -> bytes:
    target = tmp_path / "out/a.bin"
    changed = SETTINGS.model_copy(update=settings)
    download(open_store(bucket, changed), Tarball(key="a.bin", size=len(CONTENT)), target, changed)
    return target.read_bytes()


def test_https_whose_authority_is_known(tmp_path: Path, https: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    assert fetch(tmp_path, f"{https.url}/tiles") == CONTENT


def test_s3_over_https(tmp_path: Path, https: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    assert fetch(tmp_path, "s3://tiles", endpoint_url=https.url) == CONTENT


def test_certificate_of_nobody_is_refused_at_once(tmp_path: Path, https: WebServer) -> None:
    with pytest.raises(FetchError, match="its certificate is not trusted"):
        fetch(tmp_path, f"{https.url}/tiles", attempts=100)
    assert not https.requests


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_authorities_that_cannot_be_read(
    tmp_path: Path, https: WebServer, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    bundle = tmp_path / "mine.pem"
    if content is not None:
        bundle.write_text(content)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    with pytest.raises(InputError, match=r"mine\.pem: AWS_CA_BUNDLE names it"):
        fetch(tmp_path, f"{https.url}/tiles")


@pytest.mark.parametrize("user", ["", "anna:p%40ss"])
@pytest.mark.parametrize("scheme", ["http://", ""])
def test_https_through_a_proxy(
    tmp_path: Path, https: WebServer, monkeypatch: pytest.MonkeyPatch, user: str, scheme: str
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    with proxy_server(user.replace("%40", "@")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}{user}@{proxy.host}" if user else f"{scheme}{proxy.host}")
        assert fetch(tmp_path, f"{https.url}/tiles") == CONTENT
    assert set(proxy.asked) == {f"CONNECT {https.url.removeprefix('https://')}"}


@pytest.mark.parametrize("user", ["", "anna:secret"])
def test_http_through_a_proxy(tmp_path: Path, http: WebServer, monkeypatch: pytest.MonkeyPatch, user: str) -> None:
    with proxy_server(user) as proxy:
        monkeypatch.setenv("http_proxy", f"http://{user}@{proxy.host}" if user else f"http://{proxy.host}")
        assert fetch(tmp_path, http.url) == CONTENT
    assert set(proxy.asked) == {f"{method} {http.url}/a.bin" for method in ("HEAD", "GET")}


def test_proxy_is_passed_by_where_no_proxy_says_so(
    tmp_path: Path, http: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert fetch(tmp_path, http.url) == CONTENT


@pytest.mark.parametrize("secure", [True, False])
def test_proxy_that_does_not_know_us_is_told_at_once(
    tmp_path: Path, https: WebServer, http: WebServer, monkeypatch: pytest.MonkeyPatch, secure: bool
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    with proxy_server("anna:secret") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://anna:wrong@{proxy.host}")
        monkeypatch.setenv("http_proxy", f"http://anna:wrong@{proxy.host}")
        with pytest.raises(FetchError, match=r"the proxy (refuses|wants)") as caught:
            fetch(tmp_path, f"{https.url}/tiles" if secure else http.url, attempts=100)
    assert "wrong" not in str(caught.value), "a password is nothing for a log"
    assert not proxy.asked


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1080", "https://127.0.0.1:3128", "http://"])
def test_proxies_of_other_kinds_are_named(
    tmp_path: Path, https: WebServer, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(FetchError, match=r"from HTTPS_PROXY cannot be used; expected http://host:port"):
        fetch(tmp_path, f"{https.url}/tiles", attempts=100)
