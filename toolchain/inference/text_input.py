"""Texts as the input of a model: from a dataset, a request or a tensor to token ids."""

from collections.abc import Sequence
from typing import Any, ClassVar

from toolchain.artifacts.columns import TEXT
from toolchain.artifacts.model import Model
from toolchain.frameworks.length_batches import pad
from toolchain.inference.features import Numbers, Vocabulary, describe_text
from toolchain.inference.prepared import Prepared
from toolchain.inference.requests import Limits, RequestError, check_rows
from toolchain.inference.runtime import Feeds, Tokenizer

NEUTRAL = "It is what it is, and that is all there is to say about it."
SMALL_CHARACTERS = 4_000  # of all texts of a request: they are tokenized in half a millisecond


class TextInput:
    """Texts for a model that has its tokenizer in its folder. A value is a string."""

    column: ClassVar[str] = TEXT  # of a dataset
    field: ClassVar[str] = "texts"  # of a request's JSON body
    unit: ClassVar[str] = "tokens"  # that metrics count
    has_tokens: ClassVar[bool] = (
        True  # whether rows are token ids: of different lengths, some more frequent than others
    )
    file_type: ClassVar[str] = ""  # media types of files that are values; "": values are no files
    tensor_is_prepared: ClassVar[bool] = False  # whether ``parse_tensor`` returns rows as the model takes them
    invalid_value: ClassVar[str] = "a text must not be blank"  # an example of an error, for the API's documentation
    invalid_tensor: ClassVar[str] = "the shape has 2 rows, the data 1"

    def __init__(self, model: Model) -> None:
        self._tokenizer = Tokenizer(model)

    def prepare(self, values: Sequence[str]) -> list[Any]:
        """Return the token ids of each text."""
        return self._tokenizer.ids(values)

    def stack(self, prepared: Sequence[Any], tokens: int | None = None) -> Feeds:
        """Return rows of token ids as one batch, padded to ``tokens`` or to the longest row."""
        return pad(prepared, self._tokenizer.pad_id, tokens)

    def length(self, prepared: Any) -> int:
        """Return the number of tokens."""
        return len(prepared)

    def size(self, value: str) -> None:
        """Return None: only images have a size."""

    def units(self, row: Prepared) -> int:
        """Return the number of tokens that the model reads of ``row``."""
        return row.length

    def record(self, value: str) -> dict[str, Any]:
        """Return the fields of a recorded row (toolchain.artifacts.expected) that hold ``value``."""
        return {"text": value}

    def neutral(self) -> str:
        """Return a text that every model takes."""
        return NEUTRAL

    def parse(self, rows: Any, limits: Limits, pointer: str) -> list[str]:
        """Return the texts in ``rows``, a list from a request at ``pointer``.

        Raises:
            RequestError: a row is no string, is blank or too long, or there are too many.
        """
        for index, text in enumerate(check_rows(rows, limits, pointer)):
            if not isinstance(text, str):
                raise RequestError("a text must be a string", f"{pointer}/{index}")
            if not text.strip():
                raise RequestError(self.invalid_value, f"{pointer}/{index}")
            if len(text) > limits.text_characters:
                message = f"a text has {len(text):,} characters, {limits.text_characters:,} are allowed"
                raise RequestError(message, f"{pointer}/{index}")
        return list(rows)

    def parse_file(self, content: bytes, limits: Limits) -> str:
        """Return the text in ``content``, UTF-8.

        Raises:
            RequestError: it is blank or too long.
        """
        return self.parse([content.decode("utf-8", "replace")], limits, "")[0]

    def is_small(self, values: Sequence[str]) -> bool:
        """Return whether ``values`` can be prepared within a millisecond."""
        return sum(map(len, values)) <= SMALL_CHARACTERS

    def schema(self, limits: Limits) -> dict[str, Any]:
        """Return the JSON schema of one text in a request."""
        return {"type": "string", "minLength": 1, "maxLength": limits.text_characters, "pattern": r"\S"}

    def tensor(self, max_batch_size: int | None) -> dict[str, Any]:
        """Return the tensor of the Open Inference Protocol: BYTES, shape (rows,)."""
        return {"name": "text", "datatype": "BYTES", "shape": [-1]}

    def tensor_schema(self, limits: Limits) -> dict[str, Any]:
        """Return the JSON schema of the tensor's data."""
        return {"type": "array", "items": self.schema(limits), "minItems": 1, "maxItems": limits.rows}

    def tensor_example(self, values: Sequence[str], shape: Sequence[int]) -> tuple[list[int], list[Any]] | None:
        """Return shape and data of a tensor with ``values``."""
        return ([len(values)], list(values)) if values else None

    def parse_tensor(self, data: Any, shape: Sequence[int], limits: Limits, pointer: str) -> list[str]:
        """Return the texts in a tensor's ``data``.

        Raises:
            RequestError: one is not valid, or their number is not that of ``shape``.
        """
        texts = self.parse(data, limits, pointer)
        if len(texts) != shape[0]:
            raise RequestError(f"the shape has {shape[0]} rows, the data {len(texts)}", pointer)
        return texts

    def features(self, value: str, row: Prepared, vocabulary: Vocabulary | None) -> Numbers:
        """Return numbers that describe the text as the model reads it, for monitoring."""
        return describe_text(self._tokenizer.read(value), row.data, vocabulary)
