"""Quotation marks in CSV and TSV: whether those of a file are what they are read as, checked while it is read.

A quotation mark at the start of a field opens it (RFC 4180), and so swallows rows in a file that quotes nothing. Two
signs show it: what follows the mark that closes a field, and whole rows with known labels inside one field.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

QUOTE = b'"'
MAX_LABELS = 1_000  # different ones; more are no classes
MAX_FIELD_BYTES = 1 << 20  # of a quoted field: the reader takes no longer row
ROWLIKE_FIELDS = 4  # three delimiters in a line are rarely a sentence's; used where no labels are known
EXCERPT_BYTES = 60

Positions = npt.NDArray[np.int64]
Spans = Iterator[tuple[int, int, int]]  # of quoted fields with line breaks: start of the row, and both marks


class QuotingError(Exception):
    """The quotation marks of a file are not what they are read as; ``instead`` is the quoting to try, "" for none."""

    def __init__(self, line: int, fault: str, instead: str) -> None:
        super().__init__(f"line {line:,}: {fault}")
        self.instead = instead


@dataclass(frozen=True)
class Shape:
    """What the rows of a file are like."""

    delimiter: bytes
    fields: int
    label: int | None = None  # position of the label among the fields
    labels: frozenset[bytes] = frozenset()  # labels of the first rows
    escaped: bool = False  # whether a backslash precedes quotation marks inside fields

    @cached_property
    def lexer(self) -> re.Pattern[bytes]:
        """Matches one field and what ends it, as the reader parses them."""
        inside = rb'[^"\\]*+(?:(?:\\.|"")[^"\\]*+)*+' if self.escaped else rb'[^"]*+(?:""[^"]*+)*+'
        delimiter = re.escape(self.delimiter)
        plain = rb"[^" + delimiter + rb"\r\n]*+"
        quoted = rb'"(?P<inside>' + inside + rb')(?:"(?P<after>' + plain + rb")|(?P<open>\Z))"
        return re.compile(rb"(?:" + quoted + rb"|" + plain + rb")(?P<end>" + delimiter + rb"|\r\n|\r|\n|\Z)", re.DOTALL)

    @cached_property
    def known_label(self) -> re.Pattern[bytes] | None:
        """Matches a label that is a whole field; None where none are known."""
        between = b"[" + re.escape(self.delimiter) + rb"\r\n]"
        labels = b"|".join(map(re.escape, sorted(self.labels)))
        return re.compile(b'(?:^|%b)"?(?:%b)"?(?=%b|$)' % (between, labels, between)) if self.labels else None

    @cached_property
    def outer(self) -> npt.NDArray[np.bool_]:
        """Which bytes (0..255) may stand beside a quoted field; a quotation mark there is half of a doubled one."""
        allowed = np.zeros(256, bool)
        allowed[list(self.delimiter + b'\r\n"')] = True
        return allowed


class QuoteChecker:
    """Checks the bytes of a file in turn; raises QuotingError where its quotation marks cannot mean what is read."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self._rest = b""  # from the start of the row that has not ended yet
        self._line = 1  # where that row starts

    def checked(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Yield ``chunks``, each after its check."""
        for chunk in chunks:
            self._check(self._rest + chunk if self._rest else chunk)
            yield chunk
        self._check(self._rest, final=True)

    def _check(self, data: bytes, final: bool = False) -> None:
        held = b"" if final or not data.endswith(b"\r") else b"\r"  # half of a line break, perhaps
        data = data[: len(data) - len(held)]
        breaks = _line_ends(data)
        end = int(breaks[-1]) + 1 if len(breaks) else 0
        if QUOTE in data:
            strict = None if self.shape.escaped else self._strict(data, breaks, final)
            end = self._lexed(data, final) if strict is None else strict
        self._line += int(np.searchsorted(breaks, end))
        self._rest = data[end:] + held
        if len(self._rest) > MAX_FIELD_BYTES and QUOTE in self._rest:
            self._unclosed(data, end)

    def _strict(self, data: bytes, breaks: Positions, final: bool) -> int | None:
        """Return where the last whole row of ``data`` ends; None where marks stand elsewhere than around fields."""
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

    def _lexed(self, data: bytes, final: bool) -> int:
        """Return where the last whole row of ``data`` ends, having parsed each field."""
        end = 0
        for match in self.shape.lexer.finditer(data):
            if match["open"] is not None:
                if final:
                    self._unclosed(data, match.start())
                break
            if match["after"] and (final or match["end"]):
                self._closed_early(data, match)
            if match["inside"] and (b"\n" in match["inside"] or b"\r" in match["inside"]):
                self._check_fields(data, iter([(end, match.start(), match.end("inside"))]))
            end = end if match["end"] in (b"", self.shape.delimiter) else match.end()
        return end

    def _closed_early(self, data: bytes, match: re.Match[bytes]) -> None:
        close = match.end("inside")
        if data[close - 1 : close] == b"\\" and not self.shape.escaped:
            instead, fault = "backslash", "a backslash precedes a quotation mark inside a field"
        else:
            instead, fault = self._unquoted(data), "a quoted field goes on after its closing quotation mark"
        raise QuotingError(
            self._line + len(_line_ends(data[: match.start()])), f"{fault}: {_excerpt(data, close)}", instead
        )

    def _unclosed(self, data: bytes, position: int) -> None:
        fault = f"a quotation mark may never be closed: {_excerpt(data, data.find(QUOTE, position))}"
        raise QuotingError(self._line + len(_line_ends(data[:position])), fault, self._unquoted(data))

    def _check_fields(self, data: bytes, spans: Spans) -> None:
        for row, begin, end in spans:
            if self._may_hold_row(data[begin + 1 : end]) and self._holds_row(data, row, begin, end):
                fault = f"a quoted field holds line breaks and whole rows: {_excerpt(data, begin)}"
                raise QuotingError(self._line + len(_line_ends(data[:begin])), fault, self._unquoted(data))

    def _may_hold_row(self, content: bytes) -> bool:
        known = self.shape.known_label
        return self.shape.delimiter in content and (known is None or known.search(content) is not None)

    def _holds_row(self, data: bytes, row: int, begin: int, end: int) -> bool:
        """Whether a line of the field from ``begin`` to ``end`` is a row, or part of one, with a known label."""
        shape = self.shape
        column = re.sub(rb'"[^"]*"', b"", data[row:begin]).count(shape.delimiter)
        first, *inner, last = re.split(rb"\r\n|\n|\r", data[begin + 1 : end])
        parts = [(first, column, shape.fields - 1 - column), (last, 0, column)]
        parts += [(line, 0, shape.fields - 1) for line in inner]
        if not shape.labels:
            rowlike = shape.fields >= ROWLIKE_FIELDS
            return rowlike and all(line.count(shape.delimiter) == count for line, _, count in parts)
        return any(self._has_label(line, start, count) for line, start, count in parts)

    def _has_label(self, line: bytes, start: int, delimiters: int) -> bool:
        """Whether ``line``, whose first field is that of column ``start``, has so many ``delimiters`` and a label."""
        at = (self.shape.label or 0) - start
        opened_here = start and not at  # the label's own field is the one that was opened
        if line.count(self.shape.delimiter) != delimiters or not 0 <= at <= delimiters or opened_here or not delimiters:
            return False
        return line.split(self.shape.delimiter)[at].strip(QUOTE) in self.shape.labels

    def _unquoted(self, data: bytes) -> str:
        """Return "none" where ``data`` reads well with marks as text: rows of one length, few quoted fields."""
        lines = [line for line in data.splitlines() if line][:-1]
        delimiter = self.shape.delimiter
        if self.shape.fields < 2 or any(line.count(delimiter) != self.shape.fields - 1 for line in lines):
            return ""
        fields = [field for line in lines if QUOTE in line for field in line.split(delimiter)]
        quoted = sum(len(field) > 1 and field.startswith(QUOTE) and field.endswith(QUOTE) for field in fields)
        halves = sum(field.startswith(QUOTE) != field.endswith(QUOTE) or field == QUOTE for field in fields)
        return "none" if halves >= quoted else ""


def _line_ends(data: bytes) -> Positions:
    """Return where the lines of ``data`` end: at \\n, and at \\r where no \\n follows."""
    values = np.frombuffer(data, np.uint8)
    ends = values == b"\n"[0]
    if b"\r" in data:
        returns = values == b"\r"[0]
        returns[:-1] &= ~ends[1:]
        ends |= returns
    return np.flatnonzero(ends)


def _spans(end: int, marks: Positions, breaks: Positions, outside: Positions) -> Spans:
    """Yield the quoted fields up to ``end`` that hold one of ``breaks``; rows end at ``outside``."""
    closes = marks[1::2][marks[1::2] < end]
    opens = marks[0::2][: len(closes)]
    doubled = opens[1:] == closes[:-1] + 1  # a mark and the next are one doubled mark inside a field
    begins, ends = opens[np.append(True, ~doubled)[: len(opens)]], closes[np.append(~doubled, True)[: len(closes)]]
    found = np.unique(np.searchsorted(begins, breaks[breaks < end]) - 1)
    rows = np.append(0, outside + 1)[np.searchsorted(outside, begins[found])]
    yield from zip(rows.tolist(), begins[found].tolist(), ends[found].tolist(), strict=True)


def _excerpt(data: bytes, position: int) -> str:
    """Return what stands around ``position`` as one line."""
    begin = max(position - EXCERPT_BYTES // 2, 0)
    return repr(data[begin : begin + EXCERPT_BYTES].decode("utf-8", "replace"))
