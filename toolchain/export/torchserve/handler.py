"""Handler: what a worker of TorchServe answers requests with. It travels in the archive, beside the model's folder.

A request is JSON as our own server takes it ({"texts": [...]} or {"images": [base64, ...]}), or one text or picture.
"""

import base64
import binascii
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # the modules that came in the archive, whatever else is installed

from toolchain.artifacts.model import open_model  # noqa: E402
from toolchain.errors import DataError  # noqa: E402
from toolchain.inference.predictor import Predictor  # noqa: E402
from toolchain.inference.preprocessing import Pictures  # noqa: E402

MOST_ROWS = 256  # of a request
BAD_REQUEST = 400


class Handler:
    """One worker: TorchServe calls ``initialize`` once, then ``handle`` with a batch of requests."""

    def initialize(self, context: Any) -> None:
        """Load the model in the archive, after a check that its files are those that were exported."""
        threads = (context.model_yaml_config.get("handler") or {}).get("threads", 1)
        self._predictor = Predictor(open_model(HERE / "model"), int(threads))
        self._identity = {
            "name": context.manifest["model"]["modelName"],
            "version": context.manifest["model"]["modelVersion"],
            "variant": self._predictor.model.variant,
            "digest": self._predictor.model.digest,
        }

    def handle(self, requests: list[dict[str, Any]], context: Any) -> list[dict[str, Any]]:
        """Return the answer to each of ``requests``; one that the model cannot take gets status 400 and the reason."""
        told: list[dict[str, Any]] = []
        for place, request in enumerate(requests):
            try:
                kind = str(context.get_request_header(place, "body") or "")
                told.append({"model": self._identity, "predictions": self._answers(request, "json" in kind)})
            except DataError as error:
                context.set_response_status(code=BAD_REQUEST, phrase="Bad Request", idx=place)
                told.append({"code": BAD_REQUEST, "type": "BadRequest", "message": str(error)})
        return told

    def _answers(self, request: dict[str, Any], is_json: bool) -> list[dict[str, Any]]:
        values = self._values(request["body"] if "body" in request else request.get("data"), is_json)
        rows = self._predictor.prepare(values)
        # Alone: a model whose activations are quantized by batch answers otherwise beside others.
        return [self._told(self._predictor.predict([row])[0]) for row in rows]

    def _told(self, scores: Any) -> dict[str, Any]:
        labels = self._predictor.model.signature.labels
        by_label = {label: float(score) for label, score in zip(labels, scores, strict=True)}
        best = labels[int(scores.argmax())]
        return {"label": best, "score": by_label[best], "scores": by_label}

    def _values(self, body: Any, is_json: bool) -> list[Any]:
        """Return the rows in a request's ``body``, which TorchServe has parsed if it ``is_json`` and is whole."""
        pictures = isinstance(self._predictor.preprocessor, Pictures)
        key = "images" if pictures else "texts"
        if is_json or isinstance(body, dict):
            return [_picture_in(row) if pictures else _text(row) for row in _rows(body, key)]
        if pictures:
            return [_picture(body)]
        return [_text(body.decode("utf-8", "replace") if isinstance(body, bytes | bytearray) else body)]


def _rows(body: Any, key: str) -> list[Any]:
    rows = body.get(key) if isinstance(body, dict) and len(body) == 1 else None
    if not isinstance(rows, list) or not 0 < len(rows) <= MOST_ROWS:
        raise DataError(f"the body must be a JSON object with the field {key}: a list of 1 to {MOST_ROWS} rows")
    return rows


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise DataError("a text must be a string that holds more than spaces")
    return value


def _picture(value: Any) -> dict[str, Any]:
    if not isinstance(value, bytes | bytearray):
        raise DataError("a picture must be its file, or JSON with its file in base64")
    return {"bytes": bytes(value), "path": "the picture"}


def _picture_in(value: Any) -> dict[str, Any]:
    try:
        return _picture(base64.b64decode(value, validate=True))
    except (binascii.Error, ValueError, TypeError) as error:
        raise DataError("a picture must be its file in base64") from error
