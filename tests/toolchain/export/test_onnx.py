import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from toolchain.artifacts.dataset import new_dataset, open_dataset
from toolchain.artifacts.model import Model, open_model
from toolchain.artifacts.provenance import Work
from toolchain.artifacts.variants import Variants, open_variants
from toolchain.errors import ArtifactError, ConfigError, DataError
from toolchain.export import onnx as step
from toolchain.export.onnx import Config, form_of, run
from toolchain.frameworks.length_batches import pad
from toolchain.frameworks.torch.text_classifier import load_classifier
from toolchain.inference.batch_prediction import predict
from toolchain.inference.runtime import OnnxRuntimeSession
from toolchain.inference.text_input import TextInput
from toolchain.optimize.prune.structured import remove


@pytest.fixture(scope="module")
def small(make_classifier: Callable[..., Path]) -> Path:
    """Return a classifier with 2 of 4 heads and 64 of 128 neurons."""

    def halve(module: Any) -> None:
        from toolchain.optimize.prune.importance import Importance

        ranks = [Importance(torch.tensor([4.0, 1, 3, 2]), torch.arange(128.0)) for _ in range(2)]
        remove(module, ranks, 0.5, 0.5)

    return make_classifier(change=halve, variant="pruned")


@pytest.fixture(scope="module")
def exported(classifier: Path, small: Path, reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> Variants:
    target = tmp_path_factory.mktemp("exported") / "variants"
    run([small, classifier], reviews, target, Config())
    return open_variants(target)


def operators(model: Model) -> set[tuple[str, str]]:
    return {(node.domain, node.op_type) for node in onnx.load(model.weights).graph.node}


def in_pytorch(model: Path, feeds: dict[str, np.ndarray]) -> np.ndarray:
    with torch.inference_mode():
        inputs = {name: torch.from_numpy(feeds[name]) for name in ("input_ids", "attention_mask")}
        return load_classifier(open_model(model))(**inputs).logits.numpy()


def test_the_reference_comes_first_and_each_keeps_its_name(exported: Variants):
    assert list(exported.models) == ["fp32", "pruned"]
    assert {model.signature.origin for model in exported.models.values()} == {""}


@settings(max_examples=15, deadline=None)
@given(rows=st.lists(st.lists(st.integers(5, 200), min_size=1, max_size=30), min_size=1, max_size=5))
def test_any_batch_of_any_length_is_served_as_pytorch_does(exported: Variants, classifier: Path, rows):
    feeds = pad([[2, *row, 3] for row in rows], pad_id=1)
    found = OnnxRuntimeSession(exported.reference.weights, threads=1).run(feeds)
    np.testing.assert_allclose(found, in_pytorch(classifier, feeds), atol=1e-4)


def test_what_was_removed_stays_removed(exported: Variants, small: Path):
    feeds = pad([[2, 7, 8, 9, 3], [2, 3]], pad_id=1)
    found = OnnxRuntimeSession(exported.models["pruned"].weights, threads=1).run(feeds)
    np.testing.assert_allclose(found, in_pytorch(small, feeds), atol=1e-4)
    assert exported.models["pruned"].size_bytes < exported.reference.size_bytes


def test_padding_changes_no_prediction(exported: Variants):
    session = OnnxRuntimeSession(exported.reference.weights, threads=1)
    row = [[2, 7, 8, 3]]
    np.testing.assert_allclose(session.run(pad(row, 1, tokens=40)), session.run(pad(row, 1)), atol=1e-5)


@pytest.mark.parametrize("kind", ["distilbert", "roberta"])
def test_other_kinds_are_exported_too(kind: str, make_classifier: Callable[..., Path], reviews: Path, tmp_path: Path):
    result = run([make_classifier(kind)], reviews, tmp_path / "out", Config(parity_rows=10))
    assert result.max_difference < 1e-4
    assert result.rows == 10


def test_the_graph_is_plain_onnx_of_the_opset_requested(exported: Variants):
    assert {domain for domain, _ in operators(exported.reference)} == {""}
    assert [entry.version for entry in onnx.load(exported.reference.weights).opset_import if not entry.domain] == [17]


def test_no_number_is_too_large_for_int8_to_scale(exported: Variants):
    graph = onnx.load(exported.reference.weights).graph
    constants = [attribute.t for node in graph.node for attribute in node.attribute if attribute.name == "value"]
    values = [numpy_helper.to_array(tensor) for tensor in (*graph.initializer, *constants)]
    assert max(np.abs(value).max() for value in values if value.dtype == np.float32 and value.size) < 1000


def test_the_file_shows_what_it_is(exported: Variants, small: Path):
    model = onnx.load(exported.models["pruned"].weights)
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(about["labels"]) == ["negative", "positive"]
    assert json.loads(about["inputs"])["input_ids"] == ["int64", "batch", "tokens"]
    assert json.loads(about["outputs"]) == {"logits": ["float32", "batch", 2]}
    assert (about["variant"], about["max_tokens"]) == ("pruned", "32")
    assert about["source_digest"] == open_model(small).digest


def test_the_folder_has_all_that_inference_needs(exported: Variants):
    texts = ["a gorgeous film", "dull"]
    model = exported.reference
    logits = predict(OnnxRuntimeSession(model.weights, 1), TextInput(model), texts)
    assert logits.shape == (2, len(model.signature.labels))


def test_fused_attention_predicts_equally_and_a_plain_graph_is_kept(classifier: Path, reviews: Path, tmp_path: Path):
    result = run([classifier], reviews, tmp_path / "out", Config(fuse_attention=True))
    model = open_variants(tmp_path / "out").reference
    assert ("com.microsoft", "Attention") in operators(model)
    assert result.max_difference < 1e-4
    assert (model.path / "plain.onnx").is_file()


def test_the_same_model_twice_is_one_variant(classifier: Path, reviews: Path, tmp_path: Path):
    assert run([classifier, classifier], reviews, tmp_path / "out", Config()).variants == ("fp32",)


def test_the_same_model_gives_the_same_file(exported: Variants, classifier: Path, reviews: Path, tmp_path: Path):
    run([classifier], reviews, tmp_path / "out", Config())
    assert open_variants(tmp_path / "out").reference.files == exported.reference.files


def test_lineage_leads_to_the_model_and_the_rows(exported: Variants, classifier: Path, reviews: Path):
    made = exported.reference.lineage[-1]
    assert made.parents == {"dataset": open_dataset(reviews).digest, "model": open_model(classifier).digest}


def test_a_graph_that_predicts_differently_is_rejected(
    classifier: Path, make_classifier: Callable[..., Path], reviews: Path, tmp_path: Path, monkeypatch
):
    other = open_model(
        make_classifier(change=lambda module: module.bert.encoder.layer[0].output.dense.reset_parameters())
    )
    real = step.export
    monkeypatch.setattr(step, "export", lambda form, target, opset: real(form_of(other), target, opset))
    with pytest.raises(ArtifactError, match="differs from PyTorch: logits differ by up to"):
        run([classifier], reviews, tmp_path / "out", Config())
    assert list(tmp_path.iterdir()) == []


def test_rejects_variants_without_the_reference(small: Path, reviews: Path, tmp_path: Path):
    with pytest.raises(ArtifactError, match="no fp32 variant"):
        run([small], reviews, tmp_path / "out", Config())


def test_rejects_two_models_of_one_name(classifier: Path, make_classifier, reviews: Path, tmp_path: Path):
    with pytest.raises(ArtifactError, match="there is a variant 'fp32' already"):
        run([classifier, make_classifier("distilbert")], reviews, tmp_path / "out", Config())


def test_rejects_a_model_of_another_task(make_classifier: Callable[..., Path], reviews: Path, tmp_path: Path):
    with pytest.raises(ArtifactError, match="is a model for summarization"):
        run([make_classifier(task="summarization")], reviews, tmp_path / "out", Config())


def test_rejects_a_model_that_is_onnx_already(exported: Variants, reviews: Path, tmp_path: Path):
    with pytest.raises(ArtifactError, match="is in onnx format, this step needs pytorch"):
        run([exported.reference.path], reviews, tmp_path / "out", Config())


def test_rejects_a_dataset_without_rows(classifier: Path, tmp_path: Path):
    schema = pa.schema({"text": pa.string()})
    with new_dataset(tmp_path / "empty", schema, Work("data.split", None)) as writer:
        writer.write("train", pa.table({"text": []}, schema))
    with pytest.raises(DataError, match="has no rows"):
        run([classifier], tmp_path / "empty", tmp_path / "out", Config())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"opset": 16}, "opset is 16; it must be from 17 to 20"),
        ({"parity_rows": 0}, "parity_rows is 0; compare at least 1 row"),
        ({"tolerance": float("nan")}, "tolerance is nan; it must be above 0"),
    ],
)
def test_rejects_settings_that_cannot_work(setting: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        Config(**setting)
