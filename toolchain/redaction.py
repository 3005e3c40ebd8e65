"""Redact secrets in URLs before they are recorded, printed or logged.

A URL can contain a password before its host (RFC 3986, 3.2.1) and a signature or token among its parameters: presigned
addresses of S3 (X-Amz-Signature), Google Cloud Storage (X-Goog-Signature), Azure (sig), CloudFront (Signature),
Tencent (q-signature) and Akamai (hdnts); Oracle Cloud's have it in the path.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s\"'<>\\^`{|}]+", re.IGNORECASE)
USER = re.compile(r"(?<=://)[^/?#]*@")  # up to the last @ before the path: a password can contain one
PREAUTHENTICATED = re.compile(r"(?<=/p/)[^/?#]+(?=/n/[^/]+/b/)")  # Oracle Cloud's token, which is part of the path
PARAMETER = re.compile(r"(?P<name>[^=&;?#]+)=(?P<value>[^&;#]*)")
SECRET = re.compile(
    r"sig|token|key|secret|credential|pass|pwd|^pw$|auth|session|policy|jwt|sas|code|access|acl|hmac|^hdn|bearer|ticket"
    r"|^otp$|^x-(amz|goog|ms)-|^q-ak$|^s[eiprtv]$",
    re.IGNORECASE,
)
MAX_PLAIN_LENGTH = 40  # characters of a parameter that is not a secret: signatures are longer
REMOVED = "REDACTED"


def redact(text: str) -> str:
    """Return ``text`` with the secrets of every URL in it replaced by ``REDACTED``."""
    return URL.sub(lambda found: _redact_url(found[0]), text) if "://" in text else text


def redacted(value: Any) -> Any:
    """Return the JSON ``value`` with all texts redacted."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {redact(key) if isinstance(key, str) else key: redacted(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(redacted(part) for part in value)
    return value


def _redact_url(url: str) -> str:
    address, mark, fragment = url.partition("#")
    address, question, query = USER.sub("", address).partition("?")
    address = PREAUTHENTICATED.sub(REMOVED, address)
    parts = [address, question, PARAMETER.sub(_redact_parameter, query)]
    return "".join([*parts, mark, PARAMETER.sub(_redact_parameter, fragment)])


def _redact_parameter(found: re.Match[str]) -> str:
    value = unquote(found["value"])  # can be a URL itself
    secret = SECRET.search(unquote(found["name"])) or len(found["value"]) > MAX_PLAIN_LENGTH or redact(value) != value
    return f"{found['name']}={REMOVED}" if secret else found[0]
