"""Create ML's JSON."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from toolchain.annotations import convert, open_source
from toolchain.errors import DataError

Draw = Callable[..., Path]
# as in Apple's "Building an object detector data source": x and y are the middle of the box, in pixels
BOX = {"label": "cat", "coordinates": {"x": 10, "y": 8, "width": 4, "height": 6}}


def written(folder: Path, *annotations: dict[str, Any], key: str = "image", **parts: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "_annotations.createml.json"
    path.write_text(json.dumps([{key: "a.png", "annotations": list(annotations), **parts}]))
    return folder


@pytest.mark.parametrize("key", ["image", "imagefilename"])
def test_boxes_are_given_by_their_center(tmp_path: Path, draw: Draw, key: str):
    draw(tmp_path / "train" / "a.png", 40, 30)
    draw(tmp_path / "valid" / "a.png", 40, 30)
    written(tmp_path / "train", BOX, key=key)
    written(tmp_path / "valid", key=key)
    collection = open_source(tmp_path)
    first, second = collection.images()
    assert (collection.format, collection.labels) == ("createml", ("cat",))
    assert [annotation.box for annotation in first.annotations] == [(8, 5, 12, 11)]
    assert [(p.split, p.file) for p in (first, second)] == [
        ("train", tmp_path / "train" / "a.png"),
        ("validation", tmp_path / "valid" / "a.png"),
    ]


def test_round_trip(tmp_path: Path, draw: Draw):
    draw(tmp_path / "one" / "train" / "a.png", 40, 30)
    draw(tmp_path / "one" / "test" / "a.png", 40, 30)
    written(tmp_path / "one" / "train", BOX, verified=True)
    written(tmp_path / "one" / "test", {**BOX, "confidence": 0.5})
    done = convert(str(tmp_path / "one"), tmp_path / "two", "createml")
    assert done.unsupported == ()
    assert json.loads((tmp_path / "two/train/annotations.json").read_text()) == [
        {"image": "a.png", "verified": True, "annotations": [BOX]}
    ]
    assert json.loads((tmp_path / "two/test/annotations.json").read_text())[0]["annotations"][0]["confidence"] == 0.5
    one, two = (
        {(p.split, p.name): (p.annotations, p.metadata) for p in open_source(tmp_path / each).images()}
        for each in ("one", "two")
    )
    assert one == two


def test_an_invalid_box_does_not_stop_reading(tmp_path: Path):
    bad = [{"label": "cat", "coordinates": value} for value in (None, {"x": 1}, {**BOX["coordinates"], "x": None})]
    (image,) = open_source(written(tmp_path, *bad, BOX)).images()
    assert [bool(annotation.error) for annotation in image.annotations] == [True, True, True, False]


def test_json_without_a_list_of_images_is_rejected(tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"annotations": [BOX]}))
    with pytest.raises(DataError, match="not Create ML JSON"):
        open_source(path, "createml")
