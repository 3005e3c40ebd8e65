"""The same model behind LitServe as its documentation shows: a worker for each core. Runs in an environment of its own.

Usage: python benchmarks/_litserve_server.py MODEL PORT
"""

import sys
from pathlib import Path
from typing import Any

import litserve

from toolchain.artifacts.model import open_model
from toolchain.hardware.cpu import usable_cores
from toolchain.inference.predictor import Predictor


class Reviews(litserve.LitAPI):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def setup(self, device: str) -> None:
        self._predictor = Predictor(open_model(self._folder))

    def decode_request(self, request: dict[str, Any]) -> list[str]:
        return list(request["texts"])

    def predict(self, texts: list[str]) -> list[dict[str, float]]:
        labels = self._predictor.model.signature.labels
        rows = self._predictor.prepare(texts)
        return [dict(zip(labels, self._predictor.predict([row])[0].tolist(), strict=True)) for row in rows]

    def encode_response(self, answers: list[dict[str, float]]) -> dict[str, Any]:
        return {"predictions": answers}


if __name__ == "__main__":
    server = litserve.LitServer(Reviews(Path(sys.argv[1])), accelerator="cpu", workers_per_device=usable_cores())
    server.run(host="127.0.0.1", port=int(sys.argv[2]), log_level="error", generate_client_file=False)
