"""Find where the head, the chunks and the trailers of an HTTP/1.1 request end (RFC 9112).

The parser does not stop between two requests. Therefore it receives one part of a request at a time: every byte is
counted, and the next request stays unparsed. The parser checks the syntax; if it finds other boundaries than this
module, the connection is closed.
"""

import re
from collections.abc import Callable

MAX_HEAD_BYTES = 64 * 1024  # of a request line and headers; four times the limit of common clients and load balancers
MAX_LINE_BYTES = 8 * 1024  # of a chunk's size with its extensions, or of a trailer
HEAD_END = b"\r\n\r\n"
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")


class FramingError(Exception):
    """The bytes are not an HTTP/1.1 request."""


class HeadTooLargeError(Exception):
    """The head, the chunk extensions or the trailers are larger than allowed."""


class Framing:
    """Finds the parts of one request after another."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Expect a new request."""
        self.done = False  # the end of the request was found
        self.in_head = True
        self.begun = False  # any byte of it has arrived
        self._part: Callable[[bytes, int], int] = self._head_part
        self._tail = b""  # the last bytes of an incomplete head, where HEAD_END may begin
        self._left = 0  # bytes of a body or a chunk
        self._overhead, self._body = 0, 0  # bytes so far, without and in the body

    def part_end(self, data: bytes, begin: int) -> int:
        """Return the end of the part of the request that starts at ``begin``; ``begin`` if more data is needed.

        Raises:
            FramingError: a chunk's line is malformed.
            HeadTooLargeError: the head, chunk extensions or trailers are too large.
        """
        self.begun = True
        return self._part(data, begin)

    def expect_body(self, length: int | None) -> None:
        """Expect a body of ``length`` bytes; None for a chunked one. Call it when the head is parsed."""
        if length is None:
            self._part = self._chunk_part
        elif length:
            self._left, self._part = length, self._body_part
        else:
            self.done = True

    def _head_part(self, data: bytes, begin: int) -> int:
        window = self._tail + data[begin:] if self._tail or begin else data
        found = window.find(HEAD_END)
        end = len(data) if found < 0 else begin + found + len(HEAD_END) - len(self._tail)
        self._count(end - begin)
        self.in_head = found < 0
        self._tail = window[-(len(HEAD_END) - 1) :] if self.in_head else b""
        return end

    def _body_part(self, data: bytes, begin: int) -> int:
        end = min(len(data), begin + self._left)
        self._left -= end - begin
        self.done = not self._left
        return end

    def _chunk_part(self, data: bytes, begin: int) -> int:
        """Return the end of a chunk's size line and of the data after it, as far as it has arrived."""
        line = self._line(data, begin)
        if not line:
            return begin
        match = CHUNK_LINE.fullmatch(line)
        if match is None:
            raise FramingError
        size = int(match[1], 16)
        if not size:
            self._part = self._trailer_part
            return begin + len(line)
        self._body += size
        self._left, self._part = size + len(b"\r\n"), self._chunk_data_part
        return self._chunk_data_part(data, begin + len(line))

    def _chunk_data_part(self, data: bytes, begin: int) -> int:
        end = self._body_part(data, begin)
        if self.done:
            self.done, self._part = False, self._chunk_part
        return end

    def _trailer_part(self, data: bytes, begin: int) -> int:
        line = self._line(data, begin)
        self.done = line == b"\r\n"
        return begin + len(line)

    def _line(self, data: bytes, begin: int) -> bytes:
        """Return the line that starts at ``begin``, b"" while it is incomplete."""
        end = data.find(b"\n", begin, begin + MAX_LINE_BYTES) + 1
        if not end and len(data) - begin >= MAX_LINE_BYTES:
            raise HeadTooLargeError
        self._count(max(0, end - begin))
        return data[begin:end]

    def _count(self, size: int) -> None:
        self._overhead += size
        if self._overhead > MAX_HEAD_BYTES + self._body:  # small chunks may have as much overhead as data
            raise HeadTooLargeError
