"""Protect against requests from other websites: check the Host header and the origin.

A web page can send requests to any address that the browser reaches, but read only the responses of its origin. DNS
rebinding makes this server appear to be that origin. The Host header is then the page's host name.
"""

from collections.abc import Mapping, Sequence
from ipaddress import ip_address

from toolchain.serve.problems import Problem

ANY = "*"
LOOPBACK = ("localhost", ".localhost")
MAX_KNOWN = 100  # accepted values of Host to remember
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
Headers = Mapping[bytes, bytes]


class AllowedHosts:
    """The accepted host names.

    Args:
        allowed: Names; ".NAME" includes all subdomains, "*" all names. If empty, all names are accepted, or only
            localhost if ``listening`` is a loopback address.
        listening: The address that the server listens on.
    """

    def __init__(self, allowed: Sequence[str], listening: str) -> None:
        default = LOOPBACK if _is_loopback(listening) else (ANY,)
        self._names = tuple(name.lower() for name in allowed) or default
        self._known: set[bytes] = set()  # accepted values: clients use few different ones

    def check(self, headers: Headers) -> None:
        """Raise Problem unless Host is an accepted name or an IP address, which is no website's host name."""
        host = headers.get(b"host", b"")
        if host in self._known:
            return
        name = host_name(host)
        if ANY not in self._names and not _is_address(name) and not any(_matches(name, one) for one in self._names):
            raise Problem(421, "the Host header is not allowed; add the host name to --allowed-hosts")
        if len(self._known) < MAX_KNOWN:
            self._known.add(host)


def check_site(method: str, headers: Headers) -> None:
    """Raise Problem for a cross-site request without a body, unless its method is safe.

    Requests with a body need a Content-Type that browsers send to other sites only after a preflight request.
    """
    if method in SAFE_METHODS or headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers:
        return
    if _is_cross_site(headers):
        raise Problem(403, "cross-site requests are not allowed")


def host_name(host: bytes) -> str:
    """Return the name in a Host header, without its port."""
    text = host.decode("latin-1").lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].removesuffix(".")


def _is_cross_site(headers: Headers) -> bool:
    if site := headers.get(b"sec-fetch-site"):
        return site not in (b"same-origin", b"none")
    origin = headers.get(b"origin")
    return origin is not None and origin.partition(b"://")[2].lower() != headers.get(b"host", b"").lower()


def _is_loopback(listening: str) -> bool:
    return listening == "localhost" or (_is_address(listening) and ip_address(listening).is_loopback)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _matches(name: str, allowed: str) -> bool:
    return name.endswith(allowed) if allowed.startswith(".") else name == allowed
