"""Content encoding: bodies that come compressed by gzip, unpacked up to a limit."""

import zlib

from toolchain.serve.problems import Problem

GZIP = (b"gzip", b"x-gzip")
PLAIN = (b"", b"identity")
GZIP_WINDOW = 31  # of zlib: the largest window, with gzip's header
MAX_MEMBERS = 100  # of one body; compressors write one


def check_encoding(encoding: bytes) -> None:
    """Raise Problem unless ``encoding``, as Content-Encoding names it, is understood."""
    if encoding and encoding.strip().lower() not in (*GZIP, *PLAIN):
        raise Problem(415, "the body's Content-Encoding must be gzip, or none", headers={"Accept-Encoding": "gzip"})


class Gunzip:
    """Unpacks one body."""

    def __init__(self) -> None:
        self._unpacker = zlib.decompressobj(GZIP_WINDOW)
        self._members, self._begun = 1, False

    def unpack(self, data: bytes, most: int) -> bytes:
        """Return what ``data`` unpacks to, cut off after ``most`` bytes."""
        parts, size = [], 0
        while data and size < most:
            if self._unpacker.eof:
                self._next_member()
            self._begun = True
            try:
                part = self._unpacker.decompress(data, most - size)
            except zlib.error as error:
                raise Problem(400, "the body is not gzip, as its Content-Encoding says") from error
            parts.append(part)
            size += len(part)
            data = self._unpacker.unused_data if self._unpacker.eof else self._unpacker.unconsumed_tail
        return b"".join(parts)

    def check_end(self) -> None:
        """Raise Problem if the body ended too early."""
        if self._begun and not self._unpacker.eof:
            raise Problem(400, "the body is cut off: its gzip data has no end")

    def _next_member(self) -> None:
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise Problem(400, f"the body has more than {MAX_MEMBERS} gzip members; compress it at once")
        self._unpacker = zlib.decompressobj(GZIP_WINDOW)
