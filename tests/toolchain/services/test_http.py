"""Requests over HTTP against a real server on loopback; what the client library raises becomes one error."""

import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from toolchain.services import http

CONTENT = b"row\n" * 1000
TIMEOUT_S = 5.0


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        getattr(self, f"_{self.path.strip('/')}")()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._send(200, body, {"Content-Type": self.headers["Content-Type"]})

    def _content(self) -> None:
        self._send(200, CONTENT)

    def _compressed(self) -> None:
        """Compress as a web server does: only for clients that accept it."""
        if "gzip" in self.headers.get("Accept-Encoding", ""):
            self._send(200, gzip.compress(CONTENT), {"Content-Encoding": "gzip"})
        else:
            self._send(200, CONTENT)

    def _redirect(self) -> None:
        self._send(302, b"", {"Location": "/content"})

    def _circle(self) -> None:
        self._send(302, b"", {"Location": "/circle"})

    def _missing(self) -> None:
        self._send(404, b"none")

    def _cut(self) -> None:
        self._send(200, CONTENT[:-1], length=len(CONTENT))

    def _silent(self) -> None:
        threading.Event().wait(TIMEOUT_S)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_response_has_the_status_and_the_body(url: str):
    response = http.request(f"{url}/content", timeout_s=TIMEOUT_S)
    assert (response.status_code, response.content) == (200, CONTENT)


def test_an_error_status_is_returned_rather_than_raised(url: str):
    response = http.request(f"{url}/missing", timeout_s=TIMEOUT_S)
    assert (response.status_code, response.reason_phrase, response.is_error) == (404, "Not Found", True)


def test_redirects_are_followed(url: str):
    assert http.request(f"{url}/redirect", timeout_s=TIMEOUT_S).content == CONTENT


def test_a_body_is_sent_as_json(url: str):
    response = http.request(url, method="POST", json={"texts": ["é"]}, timeout_s=TIMEOUT_S)
    assert response.headers["Content-Type"] == "application/json"
    assert json.loads(response.content) == {"texts": ["é"]}


@pytest.mark.parametrize("path", ["content", "compressed", "redirect"])
def test_a_stream_has_the_bytes_that_the_server_stores(url: str, path: str):
    with http.stream(f"{url}/{path}", timeout_s=TIMEOUT_S) as response:
        assert b"".join(response.iter_raw(100)) == CONTENT


@pytest.mark.parametrize("path", ["cut", "circle"])
def test_a_response_that_does_not_arrive_whole_is_unreachable(url: str, path: str):
    with pytest.raises(http.UnreachableError):
        http.request(f"{url}/{path}", timeout_s=TIMEOUT_S)
    with pytest.raises(http.UnreachableError), http.stream(f"{url}/{path}", timeout_s=TIMEOUT_S) as response:
        list(response.iter_raw())


def test_a_silent_server_is_unreachable_after_the_timeout(url: str):
    with pytest.raises(http.UnreachableError, match="timed out"):
        http.request(f"{url}/silent", timeout_s=0.2)


@pytest.mark.parametrize(
    "invalid", ["http://127.0.0.1:9/", "http://no-such-host.invalid/", "ftp://host/", "host", "http://[::1", ""]
)
def test_what_is_not_the_url_of_a_server_is_unreachable(invalid: str):
    with pytest.raises(http.UnreachableError, match=r"\S"):
        http.request(invalid, timeout_s=TIMEOUT_S)


def test_a_proxy_applies_only_where_it_is_wanted(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert http.request(f"{url}/content", timeout_s=TIMEOUT_S, use_proxy=False).is_success
    with pytest.raises(http.UnreachableError):
        http.request(f"{url}/content", timeout_s=TIMEOUT_S)


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("SSL_CERT_FILE", "/no/such/certificates.pem", "SSL_CERT_FILE"),
        ("ALL_PROXY", "socks5://127.0.0.1:9", "HTTPS_PROXY"),
        ("HTTP_PROXY", "gopher://127.0.0.1:9", "HTTP_PROXY"),
    ],
)
def test_a_setting_that_is_not_valid_is_a_permanent_fault(
    url: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str, hint: str
):
    monkeypatch.setenv(name, value)
    with pytest.raises(http.PermanentError, match=hint):
        http.request(f"{url}/content", timeout_s=TIMEOUT_S)


def test_another_try_does_not_help_with_a_circle_or_a_bad_url(url: str):
    for bad in (f"{url}/circle", "http://[::1", "ftp://host/"):
        with pytest.raises(http.PermanentError):
            http.request(bad, timeout_s=TIMEOUT_S)
    with pytest.raises(http.UnreachableError) as caught:
        http.request("http://127.0.0.1:9/", timeout_s=TIMEOUT_S)
    assert not isinstance(caught.value, http.PermanentError)
