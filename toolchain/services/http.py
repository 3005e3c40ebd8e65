"""Send HTTP requests to web servers and to the APIs of services. No other module does."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from toolchain.errors import ServiceError

if TYPE_CHECKING:  # the import takes 80 ms, which a rerun without an HTTP request saves
    from ssl import SSLContext

    from httpx2 import Client, Response

__all__ = ["PermanentError", "Response", "UnreachableError", "request", "stream"]

UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"  # in the message of OpenSSL


class UnreachableError(ServiceError):
    """No complete response: the URL is not valid, or the server cannot be reached, timed out or hung up."""


class PermanentError(UnreachableError):
    """A fault that another try cannot pass: the URL, the proxy or the certificate is not valid."""


def request(
    url: str,
    *,
    timeout_s: float,
    method: str = "GET",
    json: Any = None,
    headers: Mapping[str, str] | None = None,
    use_proxy: bool = True,
) -> "Response":
    """Return the response to a request, whatever its status.

    Args:
        url: ``http://`` or ``https://``; redirects are followed.
        timeout_s: Seconds without a byte before the request fails.
        json: A body to send as JSON; None sends no body.
        use_proxy: Whether HTTP_PROXY and NO_PROXY apply; False for servers on this machine and for pods.

    Raises:
        UnreachableError: no complete response arrived; the message is the reason.
    """
    with _reported(), _client(timeout_s, use_proxy) as client:
        return client.request(method, url, json=json, headers=headers)


@contextmanager
def stream(
    url: str, *, timeout_s: float, method: str = "GET", headers: Mapping[str, str] | None = None
) -> Iterator["Response"]:
    """Yield the response as soon as its headers have arrived; ``iter_raw`` reads the bytes as the server stores them.

    Args and errors are those of ``request``.
    """
    stored = {"Accept-Encoding": "identity"}  # compression on the way would change the bytes and their length
    with (
        _reported(),
        _client(timeout_s, use_proxy=True) as client,
        client.stream(method, url, headers={**stored, **(headers or {})}) as response,
    ):
        yield response


def _client(timeout_s: float, use_proxy: bool) -> "Client":
    from httpx2 import Client, InvalidURL

    try:
        verify = True if use_proxy else _default_certificates()
        return Client(timeout=timeout_s, follow_redirects=True, trust_env=use_proxy, verify=verify)
    except OSError as error:  # ssl reads the certificates
        raise PermanentError(
            f"the certificates cannot be read ({error}); correct SSL_CERT_FILE and SSL_CERT_DIR, or unset them"
        ) from error
    except ImportError as error:
        raise PermanentError("SOCKS proxies are not supported; set HTTPS_PROXY to an http:// proxy") from error
    except (ValueError, InvalidURL) as error:
        raise PermanentError(
            f"the proxy is not valid ({error}); correct HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY"
        ) from error


@cache
def _default_certificates() -> "SSLContext":
    """Return a TLS context without the environment's settings; it takes 18 ms, which many short requests save."""
    from httpx2 import create_ssl_context

    return create_ssl_context(trust_env=False)


@contextmanager
def _reported() -> Iterator[None]:
    from httpx2 import HTTPError, InvalidURL, TooManyRedirects, UnsupportedProtocol

    try:
        yield
    except (HTTPError, InvalidURL) as error:
        message = str(error) or type(error).__name__
        is_permanent = isinstance(error, InvalidURL | TooManyRedirects | UnsupportedProtocol) or UNTRUSTED in message
        raise (PermanentError if is_permanent else UnreachableError)(message) from error
