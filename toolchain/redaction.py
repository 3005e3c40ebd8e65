"""Redaction: addresses as they may be recorded, printed and logged, without the secrets that URLs can hold.

A URL can hold a password before its host (RFC 3986, 3.2.1) and a signature or token among its parameters: presigned
addresses of S3 (X-Amz-Signature), Google Cloud Storage (X-Goog-Signature), Azure (sig) and CloudFront (Signature).
"""

import re
from collections.abc import Mapping
from typing import Any

URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s\"'<>\\^`{|}]+", re.IGNORECASE)
USER = re.compile(r"(?<=://)[^/?#]*@")  # up to the last @ before the path: a password may hold one
PARAMETER = re.compile(r"(?P<name>[^=&;?#]+)=(?P<value>[^&;#]*)")
SECRET = re.compile(
    r"sig|token|key|secret|credential|passw|pwd|auth|session|policy|jwt|sas|code|access|acl|^x-(amz|goog|ms)-|^s[eiprtv]$",
    re.IGNORECASE,
)
LONGEST_PLAIN = 40  # characters of a value that identifies a file rather than proves a right: no signature is as short
REMOVED = "REDACTED"


def redact(text: str) -> str:
    """Return ``text`` with the secrets of every URL in it replaced by ``REDACTED``."""
    return URL.sub(lambda found: _redact_url(found[0]), text) if "://" in text else text


def redacted(value: Any) -> Any:
    """Return ``value``, as JSON holds it, with every text in it redacted."""
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
    parts = [address, question, PARAMETER.sub(_redact_parameter, query)]
    return "".join([*parts, mark, PARAMETER.sub(_redact_parameter, fragment)])


def _redact_parameter(found: re.Match[str]) -> str:
    secret = SECRET.search(found["name"]) or len(found["value"]) > LONGEST_PLAIN
    return f"{found['name']}={REMOVED}" if secret else found[0]
