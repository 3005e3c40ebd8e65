"""Check the request line and the headers by the rules of RFC 9112 that the parser does not check."""

import re

import httptools

from toolchain.serve.problems import Problem

Headers = list[tuple[bytes, bytes]]
HOST = re.compile(rb"(?:[A-Za-z0-9._~%!$&'()*+,;=-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
BAD_HOST = 400, "send exactly one Host header, with the name and the port of this server"
BAD_TARGET = 400, "the request target must be a path, or an http URL with a host"
BAD_LENGTH = 400, "send exactly one of Content-Length and Transfer-Encoding: chunked"
UNSUPPORTED_CODING = 501, "the Transfer-Encoding must be chunked; others are not supported"
UNSUPPORTED_VERSION = 505, "the supported versions are HTTP/1.1 and HTTP/1.0"


def check_version(version: str) -> None:
    """Raise Problem unless ``version`` is supported."""
    if version not in ("1.0", "1.1"):
        raise Problem(*UNSUPPORTED_VERSION)


def origin_form(target: bytes, headers: Headers) -> bytes:
    """Return ``target`` as a path and query; the host of an absolute URL replaces the Host header."""
    if target.startswith(b"/") or target == b"*":
        return target
    try:
        url = httptools.parse_url(target)
    except httptools.HttpParserError as error:
        raise Problem(*BAD_TARGET) from error
    if (url.schema or b"").lower() not in (b"http", b"https") or not url.host:
        raise Problem(*BAD_TARGET)
    host = b"[%s]" % url.host if b":" in url.host else url.host
    headers[:] = [header for header in headers if header[0] != b"host"]
    headers.append((b"host", host + (b":%d" % url.port if url.port else b"")))
    return (url.path or b"/") + (b"?" + url.query if url.query else b"")


def body_length(headers: Headers, version: str) -> int | None:
    """Return the length of the body in bytes, None if chunked.

    Raises:
        Problem: the length or the Host header is ambiguous or missing.
    """
    hosts, codings, lengths = [], [], []
    for name, value in headers:
        if name == b"host":
            hosts.append(value)
        elif name == b"content-length":
            lengths.append(value.strip())
        elif name == b"transfer-encoding":
            codings.append(value.lower())
    if len(hosts) > 1 or (not hosts and version != "1.0") or not all(map(HOST.fullmatch, hosts)):
        raise Problem(*BAD_HOST)
    return _length(codings, lengths, version)


def _length(codings: list[bytes], lengths: list[bytes], version: str) -> int | None:
    if codings:
        if lengths or version == "1.0":
            raise Problem(*BAD_LENGTH)
        if codings != [b"chunked"]:
            raise Problem(*UNSUPPORTED_CODING)
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not lengths[0].isdigit():
        raise Problem(*BAD_LENGTH)
    return int(lengths[0])
