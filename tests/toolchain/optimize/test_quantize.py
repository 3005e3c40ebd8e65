"""Quantize is tried on a small transformer that judges real reviews.

Naive Bayes' log odds are its word vectors along one direction, two layers with a huge channel in their normalization
(as BERT has) work on them, and a head reads the direction.
"""

import csv
import gzip
import json
import math
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer as Encoder
from tokenizers import models, normalizers, pre_tokenizers

from toolchain.artifacts.dataset import new_dataset, open_dataset
from toolchain.artifacts.model import Model, Signature, Tensor, open_model
from toolchain.artifacts.provenance import Work
from toolchain.artifacts.variants import Variants, new_variants, open_variants
from toolchain.errors import ArtifactError, ConfigError, DataError
from toolchain.frameworks.length_batches import pad
from toolchain.inference.batch_prediction import predict
from toolchain.inference.runtime import Logits, Tokenizer, open_session
from toolchain.inference.text_input import TextInput
from toolchain.optimize.quantize import Config, run
from toolchain.optimize.quantize.calibration import draw
from toolchain.optimize.quantize.embeddings import quantize_rows
from toolchain.optimize.quantize.graph import keep_residuals_apart, linear_layers
from toolchain.optimize.quantize.ranges import Extremes, measure
from toolchain.optimize.quantize.smoothing import factors, smooth
from toolchain.optimize.quantize.static import quantize_weight, scale_of

ROOT = Path(__file__).parents[3]
TRAINING, TESTED, WIDTH, HIDDEN, LAYERS = 1200, 200, 48, 96, 2
OUTLIER_RATIO = 15.0  # MiniLM's largest channel over its median one, after fine-tuning
LABELS = ("not good", "good")
SIGNATURE = Signature(
    task="text-classification",
    framework="onnx",
    variant="fp32",
    backend="onnxruntime",
    weights="model.onnx",
    labels=LABELS,
    max_tokens=64,
    inputs=(Tensor("input_ids", "int64", ("batch", "tokens")), Tensor("attention_mask", "int64", ("batch", "tokens"))),
    outputs=(Tensor("logits", "float32", ("batch", 2)),),
)
Rows = list[tuple[str, int]]


@pytest.fixture(scope="module")
def reviews() -> Rows:
    with gzip.open(ROOT / "samples" / "movie_reviews.csv.gz", "rt", encoding="utf-8") as file:
        rows = [(row["text"], int(row["label"] == "positive")) for row in csv.DictReader(file)]
    return [rows[i] for i in np.random.default_rng(0).permutation(len(rows))[: TRAINING + TESTED]]


@pytest.fixture(scope="module")
def log_odds(reviews: Rows) -> dict[str, float]:
    counts: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    for text, label in reviews[:TRAINING]:
        counts[label].update(set(re.findall(r"\w+", text.lower())))
    words = sorted(word for word in counts[0] | counts[1] if counts[0][word] + counts[1][word] > 1)
    return {"[PAD]": 0.0, "[UNK]": 0.0} | {w: math.log((counts[1][w] + 1) / (counts[0][w] + 1)) for w in words}


def transformer(log_odds: dict[str, float], seed: int = 0) -> onnx.ModelProto:
    """Return the graph; products of activations (attention) and a Gemm (the head) are in it, besides linear layers."""
    generator = np.random.default_rng(seed)
    arrays: dict[str, Any] = {}
    nodes: list[Any] = []

    def value(name: str, array: Any, kind: type = np.float32) -> str:
        arrays[name] = np.asarray(array, kind)
        return name

    def add(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], name=f"make_{output}", **attributes))
        return output

    def normalize(x: str, name: str, outlier: bool) -> str:
        gamma = np.ones(WIDTH)
        gamma[7] = OUTLIER_RATIO if outlier else 1.0
        inputs = [x, value(f"{name}_gamma", gamma), value(f"{name}_beta", 0.1 * generator.standard_normal(WIDTH))]
        return add("LayerNormalization", inputs, name, axis=-1)

    def linear(x: str, name: str, width: int, outputs: int) -> str:
        weight = value(f"{name}_weight", generator.standard_normal((width, outputs)) / math.sqrt(width) * 0.15)
        bias = value(f"{name}_bias", 0.1 * generator.standard_normal(outputs))
        return add("Add", [bias, add("MatMul", [x, weight], f"{name}_product")], name)

    direction = generator.standard_normal(WIDTH)
    direction[7] = 0.0  # the huge channel has no information, as in BERT
    direction -= direction.mean()
    vectors = np.outer(list(log_odds.values()), direction) + 0.3 * generator.standard_normal((len(log_odds), WIDTH))
    x = normalize(add("Gather", [value("words", vectors), "input_ids"], "embedded"), "state", False)
    axes = value("axes", [2], np.int64)
    mask = add("Unsqueeze", [add("Cast", ["attention_mask"], "mask", to=TensorProto.FLOAT), axes], "mask_3d")
    for layer in range(LAYERS):
        x = add("Mul", [x, mask], f"masked_{layer}")
        turned = add("Transpose", [x], f"turned_{layer}", perm=[0, 2, 1])
        scores = add("Mul", [add("MatMul", [x, turned], f"scores_{layer}"), value("scale", 1 / WIDTH)], f"mild_{layer}")
        scores = add("Softmax", [scores], f"shares_{layer}", axis=-1)
        context = linear(add("MatMul", [scores, x], f"context_{layer}"), f"attended_{layer}", WIDTH, WIDTH)
        x = normalize(add("Add", [context, x], f"residual_{layer}"), f"between_{layer}", True)
        hidden = add("Relu", [linear(x, f"hidden_{layer}", WIDTH, HIDDEN)], f"active_{layer}")
        x = normalize(
            add("Add", [linear(hidden, f"out_{layer}", HIDDEN, WIDTH), x], f"sum_{layer}"), f"end_{layer}", False
        )
    total = add("ReduceSum", [add("Mul", [x, mask], "kept"), value("tokens", [1], np.int64)], "total", keepdims=0)
    head = np.stack([-direction, direction], axis=1) / (direction @ direction)
    add("Gemm", [total, value("head", head), value("head_bias", [0.0, 0.0])], "logits")
    graph = helper.make_graph(
        nodes,
        "reviews",
        [helper.make_tensor_value_info(t.name, TensorProto.INT64, list(t.shape)) for t in SIGNATURE.inputs],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"task": "text-classification", "variant": "fp32"})
    return model


def write_model(folder: Path, model: onnx.ModelProto, log_odds: dict[str, float]) -> None:
    onnx.save(model, folder / "model.onnx")
    encoder = Encoder(models.WordLevel({word: i for i, word in enumerate(log_odds)}, unk_token="[UNK]"))
    encoder.normalizer, encoder.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    encoder.save(str(folder / "tokenizer.json"))


Write = Callable[..., Path]


@pytest.fixture(scope="module")
def write_variants(log_odds: dict[str, float]) -> Write:
    def write(target: Path, *graphs: onnx.ModelProto, signature: Signature = SIGNATURE) -> Path:
        work = Work("export.onnx", None)
        with new_variants(target, work) as writer:
            for name, graph in zip(("fp32", "pruned"), graphs, strict=False):
                with writer.new(replace(signature, variant=name), work) as model:
                    write_model(model.folder, graph, log_odds)
        return target

    return write


def write_dataset(target: Path, train: Rows, test: Rows, augmented: int = 0) -> Path:
    """Write rows numbered from 0, the first ``augmented`` training rows marked as made from others."""
    kinds = [("text", pa.string()), ("label", pa.int64()), ("row", pa.int64()), ("augmented", pa.bool_())]
    schema = pa.schema(kinds)
    start = 0
    with new_dataset(target, schema, Work("data.split", None), labels=LABELS) as writer:
        for split, rows in (("train", train), ("test", test)):
            columns = {
                "text": [text for text, _ in rows],
                "label": [label for _, label in rows],
                "row": list(range(start, start + len(rows))),
                "augmented": [split == "train" and i < augmented for i in range(len(rows))],
            }
            writer.write(split, pa.table(columns, schema=schema))
            start += len(rows)
    return target


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, reviews: Rows) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "dataset", reviews[:TRAINING], reviews[TRAINING:], 400)


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory, write_variants: Write, log_odds: dict[str, float]) -> Path:
    graphs = transformer(log_odds), transformer(log_odds, seed=1)
    return write_variants(tmp_path_factory.mktemp("models") / "variants", *graphs)


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory, variants: Path, dataset: Path) -> Variants:
    target = tmp_path_factory.mktemp("quantized") / "variants"
    run(variants, dataset, target, Config(calibration_rows=64))
    return open_variants(target)


def logits_of(model: Model, reviews: Rows) -> Logits:
    return predict(open_session(model), TextInput(model), [text for text, _ in reviews[TRAINING:]])


def agreement(model: Model, other: Model, reviews: Rows) -> float:
    return float(np.mean(logits_of(model, reviews).argmax(1) == logits_of(other, reviews).argmax(1)))


# The huge channel is hard on a model this narrow: methods that do not smooth it, or compute attention's scores in INT8
# too, fall short of what they reach on BERT (98 to 99 %).
LEAST_AGREEMENT = {"int8-dynamic": 0.92, "int8-static": 0.98, "openvino": 1.0, "int8-openvino": 0.9}
METHODS = list(LEAST_AGREEMENT)


def test_the_float_model_distinguishes_reviews(quantized: Variants, reviews: Rows):
    labels = np.array([label for _, label in reviews[TRAINING:]])
    assert np.mean(logits_of(quantized.reference, reviews).argmax(1) == labels) > 0.6


@pytest.mark.parametrize("base", ["fp32", "pruned"])
@pytest.mark.parametrize(("method", "least"), LEAST_AGREEMENT.items())
def test_every_method_predicts_as_its_float_variant_does(
    quantized: Variants, reviews: Rows, method: str, least: float, base: str
):
    model = quantized.models[method if base == "fp32" else f"{base}-{method}"]
    assert model.signature.origin == base
    assert agreement(model, quantized.models[base], reviews) >= least


def test_openvino_in_float_gives_the_same_numbers(quantized: Variants, reviews: Rows):
    expected = logits_of(quantized.reference, reviews)
    np.testing.assert_allclose(logits_of(quantized.models["openvino"], reviews), expected, rtol=1e-3, atol=1e-3)


def test_what_was_there_stays_as_it_was(quantized: Variants, variants: Path):
    before = open_variants(variants).models
    assert list(quantized.models)[:2] == ["fp32", "pruned"]
    assert len(quantized.models) == 2 + 2 * len(METHODS)
    assert all(quantized.models[name].digest == model.digest for name, model in before.items())


def test_int8_files_are_smaller_and_one_file_each(quantized: Variants):
    for method in ("int8-dynamic", "int8-static", "int8-openvino"):
        assert quantized.models[method].size_bytes < 0.6 * quantized.reference.size_bytes
    for model in quantized.models.values():
        weights = sorted(path.suffix for path in model.path.glob("model.*") if path.suffix != ".json")
        assert weights == ([".bin", ".xml"] if model.signature.backend == "openvino" else [".onnx"])


@pytest.mark.parametrize("method", ["int8-dynamic", "int8-static"])
def test_labels_stay_in_the_onnx_file_and_the_variant_is_named(quantized: Variants, method: str):
    properties = {p.key: p.value for p in onnx.load(quantized.models[method].weights).metadata_props}
    assert json.loads(properties["labels"]) == list(LABELS)
    assert (properties["variant"], properties["origin"]) == (method, "fp32")
    assert properties["task"] == "text-classification"


def test_labels_stay_in_openvinos_file(quantized: Variants):
    import openvino

    model = openvino.Core().read_model(quantized.models["int8-openvino"].weights)
    assert json.loads(model.get_rt_info(["model_info", "labels"]).astype(str)) == list(LABELS)


def test_the_same_work_gives_the_same_digests(quantized: Variants, variants: Path, dataset: Path, tmp_path: Path):
    run(variants, dataset, tmp_path / "again", Config(calibration_rows=64))
    again = open_variants(tmp_path / "again").models
    assert {name: model.digest for name, model in again.items()} == {
        name: model.digest for name, model in quantized.models.items()
    }


def test_calibration_rows_are_recorded_and_are_training_rows_not_generated(quantized: Variants, reviews: Rows):
    rows = quantized.models["int8-static"].notes["optimize.quantize"]["calibration_rows"]
    assert len(rows) == len(set(rows)) == 64
    assert all(400 <= row < TRAINING for row in rows)  # 0 to 399 are augmented, the test split begins at TRAINING


def test_calibration_feeds_are_the_drawn_texts_unpadded(dataset: Path, variants: Path, reviews: Rows):
    model = open_variants(variants).reference
    drawn = draw(open_dataset(dataset), model, rows=20, seed=3)
    expected = Tokenizer(model).ids([reviews[row][0] for row in drawn.rows])
    assert [feed["input_ids"].tolist() for feed in drawn.feeds] == [[ids] for ids in expected]


def test_another_seed_draws_other_rows_and_the_same_seed_the_same(dataset: Path, variants: Path):
    opened, model = open_dataset(dataset), open_variants(variants).reference
    assert draw(opened, model, 50, seed=1).rows == draw(opened, model, 50, seed=1).rows
    assert draw(opened, model, 50, seed=1).rows != draw(opened, model, 50, seed=2).rows


def test_fewer_rows_than_requested_are_all_taken(tmp_path: Path, variants: Path, reviews: Rows):
    few = write_dataset(tmp_path / "few", reviews[:10], reviews[TRAINING:], augmented=3)
    assert draw(open_dataset(few), open_variants(variants).reference, rows=64, seed=0).rows == tuple(range(3, 10))


def test_does_not_calibrate_on_nothing(tmp_path: Path, variants: Path, reviews: Rows):
    empty = write_dataset(tmp_path / "empty", reviews[:5], reviews[TRAINING:], augmented=5)
    with pytest.raises(DataError, match="no training rows to calibrate with"):
        run(variants, empty, tmp_path / "out", Config())
    assert not (tmp_path / "out").exists()


def test_dynamic_needs_no_calibration_rows(tmp_path: Path, variants: Path, reviews: Rows):
    empty = write_dataset(tmp_path / "empty", reviews[:5], reviews[TRAINING:], augmented=5)
    result = run(variants, empty, tmp_path / "out", Config(methods=["int8-dynamic"]))
    assert (result.made, result.calibration_rows) == (2, 0)


def test_weights_use_seven_bits_so_that_sixteen_bit_sums_hold(quantized: Variants, log_odds: dict[str, float]):
    graph = onnx.load(quantized.models["int8-static"].weights).graph
    integers = {t.name: numpy_helper.to_array(t) for t in graph.initializer if t.name.endswith("weight_int8")}
    assert len(integers) == 3 * LAYERS
    assert all(np.abs(values.astype(int)).max() == 63 for values in integers.values())
    assert 2 * 255 * 63 < 2**15  # two products of an unsigned 8-bit and such a weight


def test_only_linear_layers_become_int8(quantized: Variants):
    for name in ("int8-static", "int8-dynamic"):
        kinds = Counter(node.op_type for node in onnx.load(quantized.models[name].weights).graph.node)
        assert kinds["MatMul"] == 2 * LAYERS  # attention's products of activations
        assert kinds["LayerNormalization"] >= 1 + 2 * LAYERS
    assert Counter(node.op_type for node in onnx.load(quantized.models["int8-static"].weights).graph.node)["Gemm"] == 1


def test_onnx_runtime_finds_no_slow_skip_normalization(quantized: Variants, tmp_path: Path):
    for name in ("int8-static", "int8-dynamic"):
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath, options.log_severity_level = str(tmp_path / f"{name}.onnx"), 3
        onnxruntime.InferenceSession(str(quantized.models[name].weights), options, providers=["CPUExecutionProvider"])
        kinds = {node.op_type for node in onnx.load(tmp_path / f"{name}.onnx").graph.node}
        assert "LayerNormalization" in kinds
        assert "SkipLayerNormalization" not in kinds


def test_reads_the_plain_graph_where_the_measured_one_has_custom_operators(
    tmp_path: Path, dataset: Path, log_odds: dict[str, float]
):
    fused = transformer(log_odds)
    fused.graph.node[0].op_type, fused.graph.node[0].domain = "EmbeddingOfMine", "com.example"
    work = Work("export.onnx", None)
    with new_variants(tmp_path / "variants", work) as writer, writer.new(SIGNATURE, work) as model:
        write_model(model.folder, fused, log_odds)
        onnx.save(transformer(log_odds), model.folder / "plain.onnx")
    result = run(tmp_path / "variants", dataset, tmp_path / "out", Config(methods=["int8-static", "openvino"]))
    assert result.made == 2


def run_float(model: onnx.ModelProto, feed: dict[str, Any]) -> Logits:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = {value.name for value in session.get_inputs()}
    return np.asarray(session.run(None, {k: v for k, v in feed.items() if k in names})[0], np.float32)


@pytest.fixture(scope="module")
def feed(log_odds: dict[str, float]) -> dict[str, Any]:
    generator = np.random.default_rng(5)
    return pad([generator.integers(2, len(log_odds), length).tolist() for length in (3, 30, 17)])


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_smoothing_changes_no_prediction(log_odds: dict[str, float], feed: dict[str, Any], alpha: float):
    model = transformer(log_odds)
    expected = run_float(model, feed)
    extremes = measure(model, Path("model.onnx"), [feed])
    smoothed = smooth(model, extremes, alpha)
    assert len(smoothed) == len(extremes) + LAYERS
    np.testing.assert_allclose(run_float(model, feed), expected, rtol=1e-4, atol=1e-4)


def test_smoothed_ranges_are_those_of_the_smoothed_tensors(log_odds: dict[str, float], feed: dict[str, Any]):
    model = transformer(log_odds)
    smoothed = smooth(model, measure(model, Path("model.onnx"), [feed]), 0.5)
    for name, found in measure(model, Path("model.onnx"), [feed]).items():
        np.testing.assert_allclose(found.by_channel(), smoothed[name].by_channel(), rtol=1e-4, atol=1e-5)


def test_smoothing_evens_out_the_channels(log_odds: dict[str, float], feed: dict[str, Any]):
    model = transformer(log_odds)
    before = measure(model, Path("model.onnx"), [feed])
    after = smooth(model, before, 0.5)
    channels, even = before["between_0"].by_channel(), after["between_0_smoothed"].by_channel()
    assert even.max() / np.median(even) < 0.5 * channels.max() / np.median(channels)


def test_weights_that_two_inputs_share_are_not_smoothed(log_odds: dict[str, float], feed: dict[str, Any]):
    model = transformer(log_odds)
    for node in model.graph.node:
        if node.output[0] == "hidden_1_product":
            node.input[1] = "hidden_0_weight"
    expected = run_float(model, feed)
    smooth(model, measure(model, Path("model.onnx"), [feed]), 0.5)
    np.testing.assert_allclose(run_float(model, feed), expected, rtol=1e-4, atol=1e-4)


def test_factors_follow_the_paper():
    """Equation 4 of arXiv 2211.10438, by hand: sqrt(8 / 2) = 2 and sqrt(1 / 2), then both over their geometric mean."""
    found = factors(np.array([8, 1], np.float32), [np.array([[1, -2], [0.5, 2]], np.float32)], 0.5)
    np.testing.assert_allclose(found, np.array([2, math.sqrt(0.5)]) / math.sqrt(2 * math.sqrt(0.5)), rtol=1e-6)


def test_a_usual_range_is_the_average_of_the_rows_ranges():
    extremes = Extremes(np.array([[-1, 0], [-5, 0]], np.float32), np.array([[2, 3], [1, 9]], np.float32))
    assert extremes.usual() == (-3.0, 6.0)
    assert extremes.by_channel().tolist() == [5.0, 9.0]


def test_measures_the_ranges_that_numpy_finds(log_odds: dict[str, float], feed: dict[str, Any]):
    found = measure(transformer(log_odds), Path("model.onnx"), [feed])["between_0"]
    shown = transformer(log_odds)
    del shown.graph.output[:]
    shown.graph.output.append(helper.make_tensor_value_info("between_0", TensorProto.FLOAT, None))
    values = run_float(shown, feed)
    np.testing.assert_array_equal(found.high[0], values.max(axis=(0, 1)))
    np.testing.assert_array_equal(found.low[0], values.min(axis=(0, 1)))


def test_a_sum_kept_apart_gives_the_same_numbers(log_odds: dict[str, float], feed: dict[str, Any]):
    model = transformer(log_odds)
    expected = run_float(model, feed)
    keep_residuals_apart(model)
    assert [node.op_type for node in model.graph.node].count("Sum") == 2 * LAYERS
    np.testing.assert_allclose(run_float(model, feed), expected, rtol=1e-5, atol=1e-5)


def test_linear_layers_are_found_with_their_biases(log_odds: dict[str, float]):
    found = {linear.weight: linear for linear in linear_layers(transformer(log_odds))}
    assert list(found) == [f"{part}_{i}_weight" for i in range(LAYERS) for part in ("attended", "hidden", "out")]
    assert (found["hidden_0_weight"].bias, found["hidden_0_weight"].output) == ("hidden_0_bias", "hidden_0")


finite = st.floats(-100, 100, width=32)


@given(
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8), elements=finite),
    st.sampled_from([7, 8]),
)
def test_a_quantized_weight_is_off_by_half_a_step_at_most(weight: Any, bits: int):
    integers, scale = quantize_weight(weight, bits)
    assert np.abs(integers.astype(int)).max() <= 2 ** (bits - 1) - 1
    assert np.all(np.abs(integers * scale - weight) <= scale * 0.501)


@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8), elements=finite))
def test_a_quantized_word_is_off_by_half_a_step_at_most(table: Any):
    integers, scale = quantize_rows(table)
    assert np.all(np.abs(integers * scale - table) <= scale * 0.501)


@given(finite, finite)
def test_an_activations_scale_covers_its_range_and_holds_zero(one: float, other: float):
    low, high = min(one, other, 0.0), max(one, other, 0.0)
    scale, zero = scale_of(min(one, other), max(one, other))
    assert (0 - int(zero)) * scale <= low + scale
    assert (255 - int(zero)) * scale >= high - scale


def test_kept_lean_for_the_submitter():
    heavy = "{'torch', 'onnx', 'onnxruntime', 'openvino', 'nncf', 'transformers'}"
    code = f"import sys, toolchain.optimize.quantize; assert not {heavy} & sys.modules.keys(), sys.modules.keys()"
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"methods": ["int4"]}, "methods is.*int4.*out of int8-dynamic"),
        ({"methods": ["openvino", "openvino"]}, "at most once"),
        ({"calibration_rows": 0}, "calibration_rows is 0"),
        ({"weight_bits": 4}, "weight_bits is 4: give 7"),
        ({"smoothquant_alpha": 1.5}, "smoothquant_alpha is 1.5"),
    ],
)
def test_rejects_settings_that_cannot_work(settings: dict[str, Any], words: str):
    with pytest.raises(ConfigError, match=words):
        Config(**settings)


def test_rejects_a_model_without_a_tokenizer(tmp_path: Path, dataset: Path, log_odds: dict[str, float]):
    work = Work("export.onnx", None)
    with new_variants(tmp_path / "bare", work) as writer, writer.new(SIGNATURE, work) as model:
        onnx.save(transformer(log_odds), model.folder / "model.onnx")
    with pytest.raises(ArtifactError, match=r"no tokenizer\.json"):
        run(tmp_path / "bare", dataset, tmp_path / "out", Config())


def test_rejects_another_task(tmp_path: Path, dataset: Path, write_variants: Write, log_odds: dict[str, float]):
    signature = replace(SIGNATURE, task="image-classification")
    other = write_variants(tmp_path / "other", transformer(log_odds), signature=signature)
    with pytest.raises(ConfigError, match="int8-dynamic is not for image-classification"):
        run(other, dataset, tmp_path / "out", Config(methods=["int8-dynamic"]))
    signature = replace(SIGNATURE, task="summarization")
    unknown = write_variants(tmp_path / "unknown", transformer(log_odds), signature=signature)
    with pytest.raises(ArtifactError, match="is a model for summarization"):
        run(unknown, dataset, tmp_path / "out", Config(methods=["openvino"]))


@pytest.mark.parametrize("method", METHODS)
def test_an_operator_that_a_method_does_not_know_is_one_line_and_leaves_nothing(
    method: str, tmp_path: Path, dataset: Path, write_variants: Write, log_odds: dict[str, float]
):
    model = transformer(log_odds)
    model.graph.node[-1].domain, model.graph.node[-1].op_type = "com.example", "Mystery"
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    strange = write_variants(tmp_path / "strange", model)
    with pytest.raises(ArtifactError) as error:
        run(strange, dataset, tmp_path / "out", Config(methods=[method], calibration_rows=2))
    assert "\n" not in str(error.value)
    assert "Mystery" in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", ["int8-dynamic", "int8-static"])
def test_a_graph_without_linear_layers_is_rejected(
    method: str, tmp_path: Path, dataset: Path, write_variants: Write, log_odds: dict[str, float]
):
    model = transformer(log_odds)
    weights = {linear.weight for linear in linear_layers(model)}
    turned = [tensor for tensor in model.graph.initializer if tensor.name in weights]
    for tensor in turned:  # no constants any more: made by the graph itself
        model.graph.initializer.remove(tensor)
        model.graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=tensor))
    made = write_variants(tmp_path / "made", model)
    with pytest.raises(ArtifactError, match="no linear layer"):
        run(made, dataset, tmp_path / "out", Config(methods=[method]))


def test_a_file_that_is_no_graph_is_rejected(tmp_path: Path, dataset: Path, log_odds: dict[str, float]):
    work = Work("export.onnx", None)
    with new_variants(tmp_path / "broken", work) as writer, writer.new(SIGNATURE, work) as model:
        write_model(model.folder, transformer(log_odds), log_odds)
        (model.folder / "model.onnx").write_bytes(b"not a graph")
    assert open_model(tmp_path / "broken" / "fp32").signature.variant == "fp32"
    for method in METHODS:
        with pytest.raises(ArtifactError, match=r"model\.onnx"):
            run(tmp_path / "broken", dataset, tmp_path / "out", Config(methods=[method]))
