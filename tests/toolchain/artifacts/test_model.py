import json
from pathlib import Path

import pytest

from toolchain.artifacts.digest import digest_of_content
from toolchain.artifacts.model import Model, Signature, Tensor, new_model, open_model, require
from toolchain.artifacts.provenance import Work
from toolchain.errors import ArtifactError

SIGNATURE = Signature(
    task="text-classification",
    framework="onnx",
    variant="int8-dynamic",
    backend="onnxruntime",
    weights="model.onnx",
    origin="fp32",
    labels=("negative", "positive"),
    max_tokens=64,
    inputs=(Tensor("input_ids", "int64", ("batch", "tokens")),),
    outputs=(Tensor("logits", "float32", ("batch", 2)),),
)


def write(
    target: Path,
    signature: Signature = SIGNATURE,
    weights: bytes = b"weights",
    parent: Model | None = None,
    **files: bytes,
) -> Model:
    """Write a model; an underscore in a keyword is a dot in the file's name."""
    with new_model(target, signature, Work("export.onnx", None), parent) as writer:
        (writer.folder / signature.weights).write_bytes(weights)
        for name, content in files.items():
            (writer.folder / name.replace("_", ".")).write_bytes(content)
    return open_model(target)


def test_what_was_written_comes_back(tmp_path: Path):
    model = write(tmp_path / "model", tokenizer_json=b"{}")
    assert model.signature == SIGNATURE
    assert model.variant == "int8-dynamic"
    assert model.weights.read_bytes() == b"weights"
    assert set(model.files) == {"model.onnx", "tokenizer.json"}
    assert model.lineage[-1].kind == "model"
    assert model.lineage[-1].digest == model.digest


def test_a_model_that_was_recorded_before_texts_were_repaired_is_read(tmp_path: Path):
    write(tmp_path / "model")
    file = tmp_path / "model" / "model.json"
    description = json.loads(file.read_text())
    del description["text_repair"]
    described = {key: description[key] for key in Signature.__dataclass_fields__ if key in description}
    description["digest"] = digest_of_content(description["files"], described)  # as it was computed then
    file.write_text(json.dumps(description))
    assert open_model(tmp_path / "model").signature == SIGNATURE


def test_the_same_model_has_the_same_digest_wherever_it_is(tmp_path: Path):
    first, again = write(tmp_path / "a"), write(tmp_path / "deeper" / "b")
    assert first.digest == again.digest


@pytest.mark.parametrize("change", [{"weights": b"others"}, {"vocab_txt": b"word"}])
def test_other_files_make_another_digest(change: dict[str, bytes], tmp_path: Path):
    assert write(tmp_path / "a").digest != write(tmp_path / "b", **change).digest


def test_another_signature_makes_another_digest(tmp_path: Path):
    other = Signature(**{**SIGNATURE.__dict__, "labels": ("positive", "negative")})
    assert write(tmp_path / "a").digest != write(tmp_path / "b", other).digest


def test_the_size_is_that_of_the_weights_and_what_belongs_to_them(tmp_path: Path):
    external = write(tmp_path / "a", tokenizer_json=b"{}" * 99, model_onnx_data=b"d" * 100)
    assert external.size_bytes == len(b"weights") + 100
    split = Signature(**{**SIGNATURE.__dict__, "weights": "model.xml", "backend": "openvino"})
    assert write(tmp_path / "b", split, model_bin=b"b" * 50).size_bytes == len(b"weights") + 50


def test_notes_and_sparsity_are_inherited(tmp_path: Path):
    with new_model(tmp_path / "pruned", SIGNATURE, Work("optimize.prune", None)) as writer:
        (writer.folder / "model.onnx").write_bytes(b"pruned")
        writer.sparsity = 0.4
        writer.note({"heads": 6})
    child = write(tmp_path / "int8", parent=open_model(tmp_path / "pruned"))
    assert child.sparsity == 0.4
    assert child.notes == {"optimize.prune": {"heads": 6}}


def test_keeps_those_files_of_another_model_that_it_has(tmp_path: Path):
    source = write(tmp_path / "fp32", tokenizer_json=b"{}")
    with new_model(tmp_path / "int8", SIGNATURE, Work("optimize.quantize", None)) as writer:
        (writer.folder / "model.onnx").write_bytes(b"small")
        writer.keep(source, "tokenizer.json", "vocab.txt")
    assert set(open_model(tmp_path / "int8").files) == {"model.onnx", "tokenizer.json"}


def test_nothing_is_left_of_a_model_without_weights(tmp_path: Path):
    with (
        pytest.raises(ArtifactError, match=r"wrote no model\.onnx: the model has no weights"),
        new_model(tmp_path / "model", SIGNATURE, Work("export.onnx", None)),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_rejects_a_model_whose_file_was_changed(tmp_path: Path):
    (write(tmp_path / "model").path / "model.onnx").write_bytes(b"swapped")
    with pytest.raises(ArtifactError, match=r"was changed after it was written: model\.onnx; make the model again"):
        open_model(tmp_path / "model")


def test_rejects_a_description_that_was_changed(tmp_path: Path):
    file = write(tmp_path / "model").path / "model.json"
    file.write_text(file.read_text().replace('"negative"', '"hostile"'))
    with pytest.raises(ArtifactError, match=r"model\.json was changed after it was written"):
        open_model(tmp_path / "model")


def test_rejects_a_model_that_lacks_a_file(tmp_path: Path):
    (write(tmp_path / "model", tokenizer_json=b"{}").path / "tokenizer.json").unlink()
    with pytest.raises(ArtifactError, match=r"is incomplete: tokenizer\.json missing"):
        open_model(tmp_path / "model")


def test_rejects_a_folder_of_something_else(tmp_path: Path):
    (tmp_path / "model.json").write_text(json.dumps({"format": "toolchain.dataset"}))
    with pytest.raises(ArtifactError, match=r"describes 'toolchain\.dataset', not a toolchain\.model"):
        open_model(tmp_path)


def test_a_model_must_be_for_the_task_in_the_framework_and_bring_its_tokenizer(tmp_path: Path):
    model = write(tmp_path / "model")
    with pytest.raises(ArtifactError, match="is a model for text-classification, this step needs one for regression"):
        require(model, "regression", "onnx")
    with pytest.raises(ArtifactError, match="is in onnx format, this step needs pytorch"):
        require(model, "text-classification", "pytorch")
    with pytest.raises(ArtifactError, match=r"has no tokenizer\.json"):
        require(model, "text-classification", "onnx")
    require(write(tmp_path / "whole", tokenizer_json=b"{}"), "text-classification", "onnx")
