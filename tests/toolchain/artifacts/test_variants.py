import json
import shutil
from pathlib import Path

import pytest

from toolchain.artifacts.model import Model, Signature, new_model, open_model
from toolchain.artifacts.provenance import Work
from toolchain.artifacts.variants import new_variants, open_variants
from toolchain.errors import ArtifactError


def signature(variant: str) -> Signature:
    return Signature(task="text-classification", framework="onnx", variant=variant, backend="x", weights="model.onnx")


def single(target: Path, variant: str, weights: bytes = b"weights") -> Model:
    with new_model(target, signature(variant), Work("export.onnx", None)) as writer:
        (writer.folder / "model.onnx").write_bytes(weights)
    return open_model(target)


def gather(target: Path, *models: Model) -> None:
    with new_variants(target, Work("optimize.quantize", None)) as writer:
        for model in models:
            writer.keep(model)


def test_variants_come_back_in_order_with_the_reference_among_them(tmp_path: Path):
    fp32, pruned = single(tmp_path / "a", "fp32"), single(tmp_path / "b", "pruned", b"less")
    gather(tmp_path / "variants", pruned, fp32)
    found = open_variants(tmp_path / "variants")
    assert list(found.models) == ["pruned", "fp32"]
    assert found.reference.digest == fp32.digest
    assert found.models["pruned"].weights.read_bytes() == b"less"


def test_kept_models_share_their_bytes(tmp_path: Path):
    fp32 = single(tmp_path / "a", "fp32")
    gather(tmp_path / "variants", fp32)
    assert open_variants(tmp_path / "variants").reference.weights.samefile(fp32.weights)


def test_a_new_variant_is_written_in_place(tmp_path: Path):
    fp32 = single(tmp_path / "a", "fp32")
    work = Work("optimize.quantize", None, fp32=fp32)
    with new_variants(tmp_path / "variants", work) as writer:
        writer.keep(fp32)
        with writer.new(signature("int8"), work, parent=fp32) as model:
            (model.folder / "model.onnx").write_bytes(b"small")
    found = open_variants(tmp_path / "variants")
    assert found.models["int8"].lineage[-1].parents == {"fp32": fp32.digest}
    assert [entry.kind for entry in found.lineage] == ["model", "model", "variants"]


def test_the_digest_is_that_of_the_models(tmp_path: Path):
    fp32 = single(tmp_path / "a", "fp32")
    for name in ("one", "two"):
        gather(tmp_path / name, fp32)
    gather(tmp_path / "other", single(tmp_path / "b", "fp32", b"other"))
    one, two, other = (open_variants(tmp_path / name).digest for name in ("one", "two", "other"))
    assert one == two != other


def test_nothing_is_left_without_the_reference(tmp_path: Path):
    pruned = single(tmp_path / "b", "pruned")
    with pytest.raises(ArtifactError, match="has no fp32 variant"):
        gather(tmp_path / "variants", pruned)
    assert not (tmp_path / "variants").exists()


def test_rejects_two_variants_of_one_name(tmp_path: Path):
    with pytest.raises(ArtifactError, match="there is a variant 'fp32' already"):
        gather(tmp_path / "variants", single(tmp_path / "a", "fp32"), single(tmp_path / "b", "fp32", b"other"))


def test_rejects_whole_models_that_were_swapped(tmp_path: Path):
    gather(tmp_path / "variants", single(tmp_path / "a", "fp32"), single(tmp_path / "b", "int8"))
    shutil.rmtree(tmp_path / "variants" / "int8")
    single(tmp_path / "variants" / "int8", "int8", b"of another model")  # a whole model, but not the one
    with pytest.raises(ArtifactError, match="is not the int8 that was written"):
        open_variants(tmp_path / "variants")


def test_rejects_a_description_that_was_changed(tmp_path: Path):
    gather(tmp_path / "variants", single(tmp_path / "a", "fp32"), single(tmp_path / "b", "int8"))
    file = tmp_path / "variants" / "variants.json"
    description = json.loads(file.read_text())
    del description["variants"]["int8"]
    file.write_text(json.dumps(description))
    with pytest.raises(ArtifactError, match=r"variants\.json was changed after it was written"):
        open_variants(tmp_path / "variants")


def test_rejects_a_variant_that_is_missing(tmp_path: Path):
    gather(tmp_path / "variants", single(tmp_path / "a", "fp32"), single(tmp_path / "b", "int8"))
    shutil.rmtree(tmp_path / "variants" / "int8")
    with pytest.raises(ArtifactError, match=r"is not a toolchain\.model folder"):
        open_variants(tmp_path / "variants")


def test_rejects_a_folder_of_something_else(tmp_path: Path):
    (tmp_path / "variants.json").write_text(json.dumps({"format": "else"}))
    with pytest.raises(ArtifactError, match=r"describes 'else', not a toolchain\.variants"):
        open_variants(tmp_path)
