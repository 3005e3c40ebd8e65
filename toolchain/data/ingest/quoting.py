"""Check while a CSV or TSV is read that its quotation marks enclose fields.

A quotation mark at the start of a field opens it (RFC 4180). In a file without quoting, such a field would contain the
following rows. Two signs reveal this: text after the closing mark of a field, and complete rows inside a field.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

QUOTE = b'"'
MAX_LABELS = 1_000  # distinct ones; more are not classes
MAX_FIELD_BYTES = 1 << 20  # of a quoted field: the reader accepts no longer row
MIN_ROW_FIELDS = 4  # lines with three delimiters are rarely sentences; used if no labels are known
EXCERPT_BYTES = 60

Positions = npt.NDArray[np.int64]
Spans = Iterator[tuple[int, int, int]]  # quoted fields with line breaks: start of the row, opening and closing mark


class QuotingError(Exception):
    """The quotation marks of a file do not enclose fields; ``fallback`` is the quoting to try next, "" for none."""

    def __init__(self, line: int, problem: str, fallback: str) -> None:
        super().__init__(f"line {line:,}: {problem}")
        self.fallback = fallback


@dataclass(frozen=True)
class TableShape:
    """Properties of the rows of a file."""

    delimiter: bytes
    fields: int  # per row
    label: int | None = None  # index of the label among the fields
    labels: frozenset[bytes] = frozenset()  # in the first rows
    escaped: bool = False  # whether a backslash precedes quotation marks inside fields

    @cached_property
    def lexer(self) -> re.Pattern[bytes]:
        """Match one field and its end, as the reader parses them."""
        inside = rb'[^"\\]*+(?:(?:\\.|"")[^"\\]*+)*+' if self.escaped else rb'[^"]*+(?:""[^"]*+)*+'
        delimiter = re.escape(self.delimiter)
        plain = rb"[^" + delimiter + rb"\r\n]*+"
        quoted = rb'"(?P<inside>' + inside + rb')(?:"(?P<after>' + plain + rb")|(?P<open>\Z))"
        return re.compile(rb"(?:" + quoted + rb"|" + plain + rb")(?P<end>" + delimiter + rb"|\r\n|\r|\n|\Z)", re.DOTALL)

    @cached_property
    def known_label(self) -> re.Pattern[bytes] | None:
        """Match a label that is a complete field; None if no labels are known."""
        between = b"[" + re.escape(self.delimiter) + rb"\r\n]"
        labels = b"|".join(map(re.escape, sorted(self.labels)))
        return re.compile(b'(?:^|%b)"?(?:%b)"?(?=%b|$)' % (between, labels, between)) if self.labels else None

    @cached_property
    def outer(self) -> npt.NDArray[np.bool_]:
        """The bytes (0..255) allowed next to a quoted field; a quotation mark there is half of a doubled one."""
        allowed = np.zeros(256, bool)
        allowed[list(self.delimiter + b'\r\n"')] = True
        return allowed


class QuoteChecker:
    """Checks the bytes of a file chunk by chunk; raises QuotingError if its quotation marks do not enclose fields."""

    def __init__(self, shape: TableShape) -> None:
        self.shape = shape
        self._rest = b""  # the incomplete last row
        self._line = 1  # its first line

    def checked(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Yield ``chunks``, each after it was checked."""
        for chunk in chunks:
            self._check(self._rest + chunk if self._rest else chunk)
            yield chunk
        self._check(self._rest, final=True)

    def _check(self, data: bytes, final: bool = False) -> None:
        held_back = b"" if final or not data.endswith(b"\r") else b"\r"  # possibly half of a line break
        data = data[: len(data) - len(held_back)]
        breaks = _line_ends(data)
        end = int(breaks[-1]) + 1 if len(breaks) else 0
        if QUOTE in data:
            fast = None if self.shape.escaped else self._check_fast(data, breaks, final)
            end = self._check_each_field(data, final) if fast is None else fast
        self._line += int(np.searchsorted(breaks, end))
        self._rest = data[end:] + held_back
        if len(self._rest) > MAX_FIELD_BYTES and QUOTE in self._rest:
            self._raise_unclosed(data, end)

    def _check_fast(self, data: bytes, breaks: Positions, final: bool) -> int | None:
        """Return the end of the last complete row of ``data``; None if quotation marks are not only around fields."""
        values = np.frombuffer(data, np.uint8)
        marks = np.flatnonzero(values == QUOTE[0])
        if final and len(marks) % 2:
            return None
        before = values[marks[0::2] - 1] if marks[0] else values[marks[2::2] - 1]
        after = values[np.minimum(marks[1::2] + 1, len(values) - 1)]
        if not (self.shape.outer[before].all() and self.shape.outer[after].all()):
            return None
        inside = np.searchsorted(marks, breaks) % 2 == 1
        outside = breaks[~inside]
        end = int(outside[-1]) + 1 if len(outside) else 0
        if inside.any():
            self._check_fields(data, _spans(end, marks, breaks[inside], outside))
        return end

    def _check_each_field(self, data: bytes, final: bool) -> int:
        """Parse each field, and return the end of the last complete row of ``data``."""
        end = 0
        for match in self.shape.lexer.finditer(data):
            if match["open"] is not None:
                if final:
                    self._raise_unclosed(data, match.start())
                break
            if match["after"] and (final or match["end"]):
                self._raise_closed_early(data, match)
            if match["inside"] and (b"\n" in match["inside"] or b"\r" in match["inside"]):
                self._check_fields(data, iter([(end, match.start(), match.end("inside"))]))
            end = end if match["end"] in (b"", self.shape.delimiter) else match.end()
        return end

    def _raise_closed_early(self, data: bytes, match: re.Match[bytes]) -> None:
        close = match.end("inside")
        if data[close - 1 : close] == b"\\" and not self.shape.escaped:
            fallback, problem = "backslash", "a backslash precedes a quotation mark inside a field"
        else:
            fallback, problem = self._unquoted_fallback(data), "text follows the closing quotation mark of a field"
        self._raise(data, match.start(), f"{problem}: {_excerpt(data, close)}", fallback)

    def _raise_unclosed(self, data: bytes, position: int) -> None:
        problem = f"a quotation mark may not be closed: {_excerpt(data, data.find(QUOTE, position))}"
        self._raise(data, position, problem, self._unquoted_fallback(data))

    def _raise(self, data: bytes, position: int, problem: str, fallback: str) -> None:
        raise QuotingError(self._line + len(_line_ends(data[:position])), problem, fallback)

    def _check_fields(self, data: bytes, spans: Spans) -> None:
        for row, begin, end in spans:
            if self._may_contain_row(data[begin + 1 : end]) and self._contains_row(data, row, begin, end):
                problem = f"a quoted field contains complete rows: {_excerpt(data, begin)}"
                self._raise(data, begin, problem, self._unquoted_fallback(data))

    def _may_contain_row(self, content: bytes) -> bool:
        known = self.shape.known_label
        return self.shape.delimiter in content and (known is None or known.search(content) is not None)

    def _contains_row(self, data: bytes, row: int, begin: int, end: int) -> bool:
        """Return whether a line of the field from ``begin`` to ``end`` is (part of) a row with a known label."""
        shape = self.shape
        column = re.sub(rb'"[^"]*"', b"", data[row:begin]).count(shape.delimiter)
        first, *inner, last = re.split(rb"\r\n|\n|\r", data[begin + 1 : end])
        parts = [(first, column, shape.fields - 1 - column), (last, 0, column)]
        parts += [(line, 0, shape.fields - 1) for line in inner]
        if not shape.labels:
            has_many_fields = shape.fields >= MIN_ROW_FIELDS
            return has_many_fields and all(line.count(shape.delimiter) == count for line, _, count in parts)
        return any(self._has_label(line, start, count) for line, start, count in parts)

    def _has_label(self, line: bytes, start: int, delimiters: int) -> bool:
        """Return whether ``line``, which begins at column ``start``, has ``delimiters`` and a known label."""
        index = (self.shape.label or 0) - start
        is_opened_field = start and not index  # the label is the quoted field itself
        if line.count(self.shape.delimiter) != delimiters or not delimiters:
            return False
        if not 0 <= index <= delimiters or is_opened_field:
            return False
        return line.split(self.shape.delimiter)[index].strip(QUOTE) in self.shape.labels

    def _unquoted_fallback(self, data: bytes) -> str:
        """Return "none" if ``data`` is consistent without quoting: rows of equal length, few quoted fields; else ""."""
        lines = [line for line in data.splitlines() if line][:-1]
        delimiter = self.shape.delimiter
        if self.shape.fields < 2 or any(line.count(delimiter) != self.shape.fields - 1 for line in lines):
            return ""
        fields = [field for line in lines if QUOTE in line for field in line.split(delimiter)]
        quoted = sum(len(field) > 1 and field.startswith(QUOTE) and field.endswith(QUOTE) for field in fields)
        halves = sum(field.startswith(QUOTE) != field.endswith(QUOTE) or field == QUOTE for field in fields)
        return "none" if halves >= quoted else ""


def _line_ends(data: bytes) -> Positions:
    """Return the positions of line ends in ``data``: \\n, and \\r without a following \\n."""
    values = np.frombuffer(data, np.uint8)
    ends = values == b"\n"[0]
    if b"\r" in data:
        returns = values == b"\r"[0]
        returns[:-1] &= ~ends[1:]
        ends |= returns
    return np.flatnonzero(ends)


def _spans(end: int, marks: Positions, breaks: Positions, outside: Positions) -> Spans:
    """Yield the quoted fields before ``end`` that contain one of ``breaks``; rows end at ``outside``."""
    closes = marks[1::2][marks[1::2] < end]
    opens = marks[0::2][: len(closes)]
    doubled = opens[1:] == closes[:-1] + 1  # a mark and the next are one doubled mark inside a field
    begins, ends = opens[np.append(True, ~doubled)[: len(opens)]], closes[np.append(~doubled, True)[: len(closes)]]
    found = np.unique(np.searchsorted(begins, breaks[breaks < end]) - 1)
    rows = np.append(0, outside + 1)[np.searchsorted(outside, begins[found])]
    yield from zip(rows.tolist(), begins[found].tolist(), ends[found].tolist(), strict=True)


def _excerpt(data: bytes, position: int) -> str:
    """Return the bytes around ``position`` as one line."""
    begin = max(position - EXCERPT_BYTES // 2, 0)
    return repr(data[begin : begin + EXCERPT_BYTES].decode("utf-8", "replace"))
