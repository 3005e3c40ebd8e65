"""Compare the descriptors of the measured rows with those computed from the rows."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from toolchain.artifacts import expected
from toolchain.artifacts.dataset import new_dataset
from toolchain.artifacts.profile import read_profile
from toolchain.artifacts.provenance import Work
from toolchain.artifacts.variants import open_variants
from toolchain.evaluate.accuracy import Config, profiling, run
from toolchain.inference.predictor import Predictor


@pytest.fixture(scope="module")
def variants(new_toys: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("profiling") / "variants"
    with new_toys(folder) as toys:
        toys.add("fp32", width=32)
        toys.add("pruned", width=8, seed=5)
    return folder


def profile_of(variants: Path, dataset: Path, target: Path, name: str = "fp32"):
    run(variants, dataset, target, Config(threads=1, resamples=100))
    assert (target / profiling.FOLDER / name / expected.FILE).is_file(), "registration takes both to the model"
    return read_profile(target / profiling.FOLDER / name)


def test_each_variant_has_a_profile_of_the_measured_rows(variants: Path, dataset: Path, reviews, tmp_path: Path):
    texts = reviews.part(1500, 1900).texts
    for name, model in open_variants(variants).models.items():
        target = tmp_path / f"accuracy-{name}"
        profile = profile_of(variants, dataset, target, name)
        predictor = Predictor(model)
        scores = [predictor.predict(predictor.prepare([text]))[0] for text in texts[:20]]
        assert (profile.model, profile.split, len(profile.labels)) == (model.digest, "test", 400)
        assert list(profile.labels[:20]) == [model.signature.labels[int(np.argmax(one))] for one in scores]
        assert profile.numbers["confidence"][:20] == pytest.approx([one.max() for one in scores], abs=1e-3)
        assert list(profile.numbers["characters"]) == [len(text) for text in texts]


def test_tokens_are_counted_in_rows_that_are_not_described(variants: Path, dataset: Path, reviews, tmp_path: Path):
    profile = profile_of(variants, dataset, tmp_path / "accuracy")
    predictor = Predictor(open_variants(variants).reference)
    assert sum(profile.tokens) == sum(row.length for row in predictor.prepare(reviews.part(0, 1500).texts))
    assert np.median(profile.numbers["surprise"]) > 5  # bits: a random word of thousands


def test_without_rows_for_training_the_first_half_is_counted_and_the_rest_described(
    variants: Path, reviews, tmp_path: Path
):
    schema = pa.schema([("row", pa.int64()), ("text", pa.string()), ("label", pa.int64())])
    part = reviews.part(0, 101)
    with new_dataset(tmp_path / "data", schema, Work("release.fetch", None), ("negative", "positive")) as writer:
        columns = {"row": range(101), "text": part.texts, "label": part.labels}
        writer.write("test", pa.table({name: list(values) for name, values in columns.items()}, schema=schema))
    profile = profile_of(variants, tmp_path / "data", tmp_path / "accuracy")
    predictor = Predictor(open_variants(variants).reference)
    assert sum(profile.tokens) == sum(row.length for row in predictor.prepare(part.texts[:50]))
    assert list(profile.numbers["characters"]) == [len(text) for text in part.texts[50:]]


def test_of_many_rows_some_are_described_evenly(
    variants: Path, dataset: Path, reviews, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(profiling, "MAX_ROWS", 3)
    profile = profile_of(variants, dataset, tmp_path / "accuracy")
    texts = reviews.part(1500, 1900).texts
    assert list(profile.numbers["characters"]) == [len(texts[index]) for index in (0, 133, 266)]


def test_images_have_a_profile_without_tokens(digits: Path, digit_network: Path, tmp_path: Path):
    from toolchain.export import onnx

    onnx.run([digit_network], digits, tmp_path / "exported", onnx.Config())
    profile = profile_of(tmp_path / "exported", digits, tmp_path / "accuracy")
    assert profile.tokens == ()
    assert set(profile.labels) == {"0", "1"}
    assert set(profile.numbers["megapixels"]) == {round(28 * 28 / 1e6, 5)}
    assert set(profile.numbers["aspect"]) == {1.0}
    assert 0.05 < np.mean(profile.numbers["brightness"]) < 0.3  # white strokes on black
