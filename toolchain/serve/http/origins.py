"""Origins: by which names this server may be called, and from which web pages.

A page in a browser can send requests to any address that the browser reaches. It can read the answers only if the
browser takes the address for the page's own, which DNS rebinding makes it do: then Host is the page's name, not ours.
"""

from collections.abc import Mapping, Sequence
from ipaddress import ip_address

from toolchain.serve.problems import Problem

ANY = "*"
LOOPBACK = ("localhost", ".localhost")
MAX_KNOWN = 100  # values of Host that are remembered
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
Headers = Mapping[bytes, bytes]


class Hosts:
    """The names in Host that are accepted.

    Args:
        allowed: Names; one with a dot first stands for all below it, "*" for all. None: all, unless ``listening`` is
            an address of this machine alone.
        listening: The address that the server listens at.
    """

    def __init__(self, allowed: Sequence[str], listening: str) -> None:
        default = LOOPBACK if _is_loopback(listening) else (ANY,)
        self._names = tuple(name.lower() for name in allowed) or default
        self._known: set[bytes] = set()  # values of Host that were accepted: callers send few different ones

    def check(self, headers: Headers) -> None:
        """Raise Problem unless Host is an accepted name, or an IP address, which no other site can have for a name."""
        host = headers.get(b"host", b"")
        if host in self._known:
            return
        name = host_name(host)
        if ANY not in self._names and not _is_address(name) and not any(_matches(name, one) for one in self._names):
            raise Problem(421, "this server does not serve the host in the request; name it with --allowed-hosts")
        if len(self._known) < MAX_KNOWN:
            self._known.add(host)


def check_site(method: str, headers: Headers) -> None:
    """Raise Problem for a request without a body that a page of another site makes and that may change something.

    One with a body needs a Content-Type that browsers do not send to other sites unasked.
    """
    if method in SAFE_METHODS or headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers:
        return
    if _is_cross_site(headers):
        raise Problem(403, "pages of other sites may not call this server")


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
