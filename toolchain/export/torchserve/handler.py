"""Handler: the code that TorchServe runs for a model archive, in which it is stored next to the model's folder.

The body of a request is JSON as for our own server ({"texts": [...]} or {"images": [base64, ...]}), or one text or
image file.
"""

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # the modules in the archive take precedence over installed ones

from toolchain.artifacts.model import open_model  # noqa: E402
from toolchain.errors import DataError  # noqa: E402
from toolchain.inference.predictor import Predictor  # noqa: E402
from toolchain.inference.requests import Limits, RequestError  # noqa: E402

BAD_REQUEST = 400
LIMITS = Limits(rows=256)  # TorchServe limits the bytes of a request (max_request_size)


class Handler:
    """One worker: TorchServe calls ``initialize`` once, then ``handle`` with a batch of requests."""

    def initialize(self, context: Any) -> None:
        """Load the model in the archive, after verifying its digest."""
        threads = (context.model_yaml_config.get("handler") or {}).get("threads", 1)
        self._predictor = Predictor(open_model(HERE / "model"), int(threads))
        self._identity = {
            "name": context.manifest["model"]["modelName"],
            "version": context.manifest["model"]["modelVersion"],
            "variant": self._predictor.model.variant,
            "digest": self._predictor.model.digest,
        }

    def handle(self, requests: list[dict[str, Any]], context: Any) -> list[dict[str, Any]]:
        """Return a response to each of ``requests``; one that is not valid gets status 400 and the reason."""
        responses: list[dict[str, Any]] = []
        for index, request in enumerate(requests):
            try:
                content_type = str(context.get_request_header(index, "body") or "")
                responses.append(
                    {"model": self._identity, "predictions": self._predict(request, "json" in content_type)}
                )
            except DataError as error:
                context.set_response_status(code=BAD_REQUEST, phrase="Bad Request", idx=index)
                responses.append({"code": BAD_REQUEST, "type": "BadRequest", "message": _message(error)})
        return responses

    def _predict(self, request: dict[str, Any], is_json: bool) -> list[dict[str, Any]]:
        values = self._values(request["body"] if "body" in request else request.get("data"), is_json)
        output = self._predictor.task.output
        # One row at a time: the predictions of a dynamically quantized model depend on the other rows of the batch.
        return [output.response(self._predictor.predict([row])[0], row, 0.0) for row in self._predictor.prepare(values)]

    def _values(self, body: Any, is_json: bool) -> list[Any]:
        """Return the rows in a request's ``body``, which TorchServe has parsed where it ``is_json`` and is valid."""
        read = self._predictor.task.input
        if is_json or isinstance(body, dict):
            if not isinstance(body, dict) or body.keys() != {read.field}:
                raise DataError(f"the body must be a JSON object with the field {read.field}")
            return read.parse(body[read.field], LIMITS, f"/{read.field}")
        content = body.encode() if isinstance(body, str) else body
        if not isinstance(content, bytes | bytearray):
            raise DataError(f"the body must be a file, or a JSON object with the field {read.field}")
        return [read.parse_file(bytes(content), LIMITS)]


def _message(error: DataError) -> str:
    return f"{error.pointer}: {error}" if isinstance(error, RequestError) and error.pointer else str(error)
