"""FastAPI written the plain way: a pydantic model in, a synchronous function, one row after the other.

Usage: python benchmarks/_plain_server.py MODEL PORT
"""

import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from toolchain.artifacts.model import open_model
from toolchain.inference.predictor import Predictor


class Request(BaseModel):
    texts: list[str]


class Answer(BaseModel):
    label: str
    score: float
    scores: dict[str, float]


def build(folder: Path) -> FastAPI:
    predictor = Predictor(open_model(folder))
    labels = predictor.model.signature.labels
    app = FastAPI()

    @app.post("/predict")
    def predict(request: Request) -> list[Answer]:
        found = []
        for row in predictor.prepare(request.texts):
            scores = dict(zip(labels, predictor.predict([row])[0].tolist(), strict=True))
            best = max(scores, key=lambda label: scores[label])
            found.append(Answer(label=best, score=scores[best], scores=scores))
        return found

    return app


if __name__ == "__main__":
    uvicorn.run(
        build(Path(sys.argv[1])), port=int(sys.argv[2]), timeout_keep_alive=75, log_level="error", access_log=False
    )
