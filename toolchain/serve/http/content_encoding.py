"""Decompress gzip bodies up to a size limit."""

import zlib

from toolchain.serve.problems import Problem

GZIP = (b"gzip", b"x-gzip")
PLAIN = (b"", b"identity")
GZIP_WINDOW = 31  # of zlib: the largest window, with gzip's header
MAX_MEMBERS = 100  # per body; compressors write one


def check_encoding(encoding: bytes) -> None:
    """Raise Problem unless ``encoding``, the value of Content-Encoding, is supported."""
    if encoding and encoding.strip().lower() not in (*GZIP, *PLAIN):
        raise Problem(415, "the body's Content-Encoding must be gzip, or none", headers={"Accept-Encoding": "gzip"})


class GzipDecoder:
    """Decompresses one body."""

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(GZIP_WINDOW)
        self._members, self._begun = 1, False

    def decode(self, data: bytes, max_bytes: int) -> bytes:
        """Return ``data`` decompressed, truncated after ``max_bytes``."""
        parts, size = [], 0
        while data and size < max_bytes:
            if self._decoder.eof:
                self._next_member()
            self._begun = True
            try:
                part = self._decoder.decompress(data, max_bytes - size)
            except zlib.error as error:
                raise Problem(400, "the body is not gzip, but its Content-Encoding is") from error
            parts.append(part)
            size += len(part)
            data = self._decoder.unused_data if self._decoder.eof else self._decoder.unconsumed_tail
        return b"".join(parts)

    def check_end(self) -> None:
        """Raise Problem if the body ended too early."""
        if self._begun and not self._decoder.eof:
            raise Problem(400, "the body is truncated: its gzip data is incomplete")

    def _next_member(self) -> None:
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise Problem(400, f"the body has more than {MAX_MEMBERS} gzip members; compress it as one")
        self._decoder = zlib.decompressobj(GZIP_WINDOW)
