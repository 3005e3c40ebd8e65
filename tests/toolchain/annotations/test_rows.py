"""An annotated image survives a round trip through a row of a dataset."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from toolchain.annotations import AnnotatedImage, Annotation
from toolchain.annotations.masks import to_text
from toolchain.annotations.rows import SCHEMA, read, to_image, to_row
from toolchain.artifacts.dataset import new_dataset, open_dataset
from toolchain.artifacts.provenance import Work
from toolchain.errors import DataError

ANNOTATION = Annotation(
    label="dog",
    box=(1.0, 2.0, 3.0, 4.0),
    rotation=30.0,
    polygons=((1.0, 2.0, 3.0, 2.0, 3.0, 4.0),),
    mask=to_text([3, 2, 7]),
    keypoints=(1.0, 2.0, 2.0),
    crowd=True,
    occluded=True,
    attributes={"colour": "red", "@coco": {"id": 5}},
)
IMAGE = AnnotatedImage(
    name="a.png", file=None, width=4, height=3, split="train", annotations=(ANNOTATION,), metadata={"weather": "rain"}
)


def test_a_row_represents_all_fields():
    row = to_row(IMAGE, "big.png", b"file", 7, {"cat": 0, "dog": 1})
    (stored,) = pa.Table.from_pylist([row], SCHEMA).to_pylist()
    assert (stored["row"], stored["source_image"]) == (7, "big.png")
    assert to_image(stored, "train", ("cat", "dog")) == replace(IMAGE, embedded=b"file")


def test_an_unknown_label_is_rejected():
    with pytest.raises(DataError, match="'dog'"):
        to_row(IMAGE, "a.png", b"", 0, {"cat": 0})


def test_a_dataset_is_read_with_its_splits_and_the_metadata_of_its_source(tmp_path: Path):
    with new_dataset(tmp_path / "dataset", SCHEMA, Work("data.annotations", None), ("cat", "dog")) as writer:
        writer.write("train", pa.Table.from_pylist([to_row(IMAGE, "a.png", b"file", 0, {"dog": 1})], SCHEMA))
        writer.note({"source": {"metadata": {"task": "detect"}}})
    collection = read(open_dataset(tmp_path / "dataset"))
    assert (collection.labels, collection.metadata) == (("cat", "dog"), {"task": "detect"})
    assert list(collection.images()) == [replace(IMAGE, embedded=b"file")]
