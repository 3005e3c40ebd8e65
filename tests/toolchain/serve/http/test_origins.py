"""Test requests of browsers, proxies and pages of other sites."""

import gzip
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.support.models import picture
from tests.support.responses import problem
from toolchain.serve.http.content_encoding import MAX_MEMBERS
from toolchain.serve.http.origins import AllowedHosts, host_name
from toolchain.serve.problems import Problem

BODY = b'{"texts": ["good film"]}'
INFER = b'{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["good"]}]}'
JSON = {"Content-Type": "application/json"}
Serving = Callable[..., TestClient]


def accepts(hosts: AllowedHosts, host: str) -> bool:
    try:
        hosts.check({b"host": host.encode()})
    except Problem as refused:
        return refused.status != 421
    return True


@pytest.mark.parametrize(
    ("listening", "allowed", "accepted", "refused"),
    [
        ("127.0.0.1", [], ["127.0.0.1:8080", "localhost", "LOCALHOST:1", "a.localhost", "[::1]:80", "10.0.0.1"],
            ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "", "evil.example:127"]),
        ("::1", [], ["[::1]", "localhost."], ["evil.example"]),
        ("0.0.0.0", [], ["serve-reviews.toolchain.svc.cluster.local:8080", "serve-reviews", "10.1.2.3"], []),
        ("0.0.0.0", ["api.example", ".svc"], ["api.example", "a.ns.svc:80", "10.1.2.3"], ["svc", "other.example"]),
        ("127.0.0.1", ["*"], ["any.example"], []),
    ],
)  # fmt: skip
def test_the_names_that_a_server_has_depend_on_where_it_listens(
    listening: str, allowed: list[str], accepted: list[str], refused: list[str]
):
    hosts = AllowedHosts(allowed, listening)
    assert [host for host in (*accepted, *refused) if accepts(hosts, host)] == accepted


@pytest.mark.parametrize(("host", "name"), [(b"a:80", "a"), (b"[::1]:80", "::1"), (b"A.", "a"), (b"\xff", "\xff")])
def test_a_host_has_a_name_and_perhaps_a_port(host: bytes, name: str):
    assert host_name(host) == name


def test_a_page_whose_name_was_rebound_to_this_machine_reads_nothing(serving: Serving, words: Path):
    client = serving(words)
    for path in ("/docs", "/openapi.json", "/metrics", "/readyz", "/healthz", "/docs-files/swagger-ui.css"):
        assert problem(client.get(path, headers={"Host": "evil.example:8080"}))["status"] == 421
    assert client.post("/predict", content=BODY, headers={**JSON, "Host": "evil.example"}).status_code == 421
    other = serving(words, allowed_hosts="reviews.example, .internal")
    assert other.post("/predict", content=BODY, headers={**JSON, "Host": "a.internal"}).status_code == 200


KINDS = [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a", "*/*",
    "text/plain; application/json", "application/json-patch+json"]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("path", "body"), [("/predict", BODY), ("/v2/models/reviews/infer", INFER)])
def test_simple_cross_site_requests_are_rejected(
    path: str, body: bytes, kind: str | None, serving: Serving, words: Path
):
    headers = {} if kind is None else {"Content-Type": kind}
    assert problem(serving(words).post(path, content=body, headers=headers))["status"] == 415


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8"])
def test_the_media_type_is_json_in_any_case_and_with_parameters(kind: str, serving: Serving, words: Path):
    assert serving(words).post("/predict", content=BODY, headers={"Content-Type": kind}).status_code == 200


def test_an_image_without_a_content_type_is_rejected(serving: Serving, image_model: Path):
    client = serving(image_model)
    assert problem(client.post("/predict", content=picture(255)))["status"] == 415
    for kind in ("image/png", "application/octet-stream"):
        assert client.post("/predict", content=picture(255), headers={"Content-Type": kind}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://127.0.0.1"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://proxied.example"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_a_page_of_another_site_cannot_start_work_without_a_body(
    headers: dict[str, str], status: int, serving: Serving, words: Path
):
    assert serving(words).post("/parity", headers=headers).status_code == status


# --- Methods ---


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/metrics", "/v2", "/v2/health/live",
    "/v2/models/reviews", "/docs", "/openapi.json", "/docs-files/swagger-ui.css"])  # fmt: skip
def test_head_is_get_without_the_body(path: str, serving: Serving, words: Path):
    client = serving(words)
    got, reported = client.get(path), client.head(path)
    assert (reported.status_code, reported.content) == (200, b"")
    same = ("content-type", "content-length", "content-security-policy", "x-content-type-options")
    changing = ("content-length",) if path == "/metrics" else ()
    assert {name: reported.headers.get(name) for name in same if name not in changing} == {
        name: got.headers.get(name) for name in same if name not in changing
    }


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/predict", {"POST"}),
        ("HEAD", "/predict", {"POST"}),
        ("OPTIONS", "/predict", {"POST"}),
        ("DELETE", "/healthz", {"GET", "HEAD"}),
        ("POST", "/v2/models/reviews", {"GET", "HEAD"}),
        ("PUT", "/docs", {"GET", "HEAD"}),
        ("GET", "/parity", {"POST"}),
    ],
)
def test_an_unsupported_method_returns_405_with_the_supported_ones(
    method: str, path: str, allow: set[str], serving: Serving, words: Path
):
    response = serving(words).request(method, path)
    assert response.status_code == 405
    assert set(response.headers["allow"].split(", ")) == allow


# --- Headers for browsers ---


def test_every_response_forbids_content_sniffing(serving: Serving, words: Path):
    client = serving(words, tokens=("a-token-of-tests-only",))
    for path in ("/healthz", "/docs", "/nowhere", "/docs-files/swagger-ui.css", "/metrics"):
        assert client.get(path).headers["x-content-type-options"] == "nosniff"
    assert client.get("/openapi.json").headers["cache-control"] == "no-store"


def test_the_page_may_run_no_script_but_its_own_and_be_in_no_frame(serving: Serving, words: Path):
    page = serving(words).get("/docs")
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert re.fullmatch(r"'self' 'sha256-[A-Za-z0-9+/]{43}='", policy["script-src"])
    assert page.headers["x-frame-options"] == "DENY"
    assert "http" not in page.text.replace("http-equiv", "")


# --- Content-Encoding ---


def packed(body: bytes, **changes: Any) -> dict[str, Any]:
    return {"content": body, "headers": {**JSON, "Content-Encoding": "gzip", **changes}}


def test_a_body_may_be_compressed_by_gzip(serving: Serving, words: Path):
    client = serving(words, max_text_body_bytes=2000)
    for body in (gzip.compress(BODY), gzip.compress(BODY[:9]) + gzip.compress(BODY[9:])):
        assert client.post("/predict", **packed(body)).json()["predictions"][0]["label"] == "positive"
    infer = client.post("/v2/models/reviews/infer", **packed(gzip.compress(INFER), **{"Content-Encoding": "X-GZIP"}))
    assert infer.status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (BODY, 400),
        (gzip.compress(BODY, mtime=0)[:-4], 400),
        (gzip.compress(BODY, mtime=0) + b"garbage", 400),
        (zlib.compress(BODY), 400),
        (gzip.compress(b" " * 2001, mtime=0), 413),
        (gzip.compress(b" " * 10_000_000, mtime=0), 413),
        (gzip.compress(b"", mtime=0) * (MAX_MEMBERS + 1), 400),
    ],
)
def test_invalid_gzip_and_large_content_are_rejected(body: bytes, status: int, serving: Serving, words: Path):
    client = serving(words, max_text_body_bytes=20_000 if len(body) > 2000 else 2000)
    assert problem(client.post("/predict", **packed(body)))["status"] == status


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip"])
def test_another_encoding_is_rejected_with_the_supported_one(encoding: str, serving: Serving, words: Path):
    response = serving(words).post("/predict", **packed(BODY, **{"Content-Encoding": encoding}))
    assert problem(response)["status"] == 415
    assert response.headers["accept-encoding"] == "gzip"
