"""Pictures as a page shows them."""

import base64
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageDraw, ImageFont

from toolchain.artifacts.dataset import Dataset, new_dataset, open_dataset
from toolchain.artifacts.image import OBJECTS_TYPE
from toolchain.artifacts.provenance import Work
from toolchain.data.images import SCHEMA
from toolchain.image_decoding import encode
from toolchain.release.report import gallery
from toolchain.release.report.fonts import font_for
from toolchain.release.report.gallery import (
    PREDICTED,
    TRUE,
    contact_sheet,
    heatmap,
    predicted_boxes,
    rows_of,
    thumbnail,
    true_boxes,
)


def shades(path: Path, count: int = 100, classes: int = 4) -> Dataset:
    pixels = np.full((10, 20, 1), 0, np.uint8)
    rows = [
        {
            "row": 1000 + row,
            "image": {"bytes": encode(pixels + row), "path": f"{row}.png"},
            "width": 20,
            "height": 10,
            "label": row % classes,
        }
        for row in range(count)
    ]
    with new_dataset(path, SCHEMA, Work("data.split", None), tuple("abcdefgh"[:classes])) as writer:
        writer.write("train", pa.Table.from_pylist(rows, SCHEMA))
    return open_dataset(path)


def opened(uri: str) -> Image.Image:
    head, _, body = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(body)))


def test_a_contact_sheet_shows_each_class_equally_often(tmp_path: Path):
    jpeg, shown = contact_sheet(shades(tmp_path / "data"), "train")
    assert shown == 60
    sheet = Image.open(io.BytesIO(jpeg))
    assert sheet.width <= 1392
    few, _ = contact_sheet(shades(tmp_path / "few", count=3, classes=3), "train")
    assert Image.open(io.BytesIO(few)).width < sheet.width


def test_rows_are_found_by_their_number(tmp_path: Path):
    found = rows_of(shades(tmp_path / "data"), "train", {1003, 1090, 5})
    assert sorted(found) == [1003, 1090]
    assert found[1090]["image"]["path"] == "90.png"


def test_a_thumbnail_keeps_the_proportions_and_draws_boxes_at_scale(tmp_path: Path):
    row = rows_of(shades(tmp_path / "data"), "train", {1000})[1000]
    assert opened(thumbnail(row, 100)).size == (100, 50)
    marks = predicted_boxes(
        np.array([[2, 2, 18, 8], [0, 0, 20, 10]]), np.array([0.9, 0.1]), np.array([0, 0]), ["cat"], 0.5
    )
    assert [(mark.text, mark.colour) for mark in marks] == [("cat 0.90", PREDICTED)]
    drawn = np.asarray(opened(thumbnail(row, 400, marks)).convert("L"))
    assert drawn[100, 40] > 60, "the left side of the box, 2 of 20 pixels from the edge"
    assert drawn[100, 200] < 30, "nothing in its middle"


def test_what_is_there_is_marked_by_its_class(tmp_path: Path):
    entry = {"label": 1, "box": [0.0, 0.0, 5.0, 5.0]}
    (mark,) = true_boxes({"objects": [entry]}, ["cat", "dog"])
    assert (mark.text, mark.colour) == ("dog", TRUE)


@pytest.mark.parametrize(("place", "other"), [((0, 0), (-1, -1)), ((-1, -1), (0, 0))])
def test_heat_is_red_where_the_prediction_rests(tmp_path: Path, place: tuple[int, int], other: tuple[int, int]):
    parts = np.zeros((7, 7))
    parts[place] = 0.8
    parts[3, 3] = -0.9  # speaks against it: not shown
    row = rows_of(shades(tmp_path / "data"), "train", {1050})[1050]
    pixels = np.asarray(opened(heatmap(row, parts.tolist(), 140))).astype(int)
    redness = pixels[:, :, 0] - pixels[:, :, 2]
    assert redness[place] > 80
    assert redness[other] < 20
    assert redness[35, 70] < 20


def test_a_contact_sheet_of_scenes_has_their_boxes(tmp_path: Path):
    schema = pa.schema([*[field for field in SCHEMA if field.name != "label"], ("objects", OBJECTS_TYPE)])
    thing = {
        "label": 0,
        "box": [10.0, 10.0, 60.0, 60.0],
        "rotation": 0.0,
        "polygons": [],
        "mask": "",
        "attributes": "{}",
    }
    thing |= dict.fromkeys(("crowd", "difficult", "truncated", "occluded"), False)
    image = {"bytes": encode(np.zeros((100, 100, 3), np.uint8)), "path": "a.png"}
    rows = [{"row": row, "image": image, "width": 100, "height": 100, "objects": [thing] * row} for row in range(2)]
    with new_dataset(tmp_path / "data", schema, Work("data.split", None), ("cat",)) as writer:
        writer.write("train", pa.Table.from_pylist(rows, schema))
    jpeg, shown = contact_sheet(open_dataset(tmp_path / "data"), "train")
    sheet = np.asarray(Image.open(io.BytesIO(jpeg)).convert("L")).astype(int)
    assert shown == 2
    left, right = sheet[30:200, : sheet.shape[1] // 2], sheet[30:200, sheet.shape[1] // 2 :]
    assert right.max() > 120 > left[:, 10:-10].max(), "the second scene alone has a box"


def drawn(text: str, font: ImageFont.FreeTypeFont) -> bytes:
    picture = Image.new("L", (60, 60))
    ImageDraw.Draw(picture).text((5, 5), text, 255, font)
    return picture.tobytes()


@pytest.mark.parametrize("letter", ["é", "ß", "Ж", "Ω", "ع", "中", "한", "カ"])
def test_letters_of_many_scripts_are_drawn_and_not_the_box_of_a_missing_one(letter: str):
    if letter in "中한カ" and not has_font("NotoSansCJK-Regular.ttc"):
        pytest.skip("Debian's fonts-noto-cjk is not installed here")
    font = font_for(letter, 40)
    assert drawn(letter, font) not in (drawn("\u0378", font), drawn(" ", font)), "U+0378 is not assigned: the box"


def has_font(name: str) -> bool:
    try:
        return bool(ImageFont.truetype(name))
    except OSError:
        return False


def test_a_long_class_name_is_cut_to_the_width_of_its_cell():
    font = font_for("W", gallery.FONT_SIZE)
    for name in ("W" * 40, "illilli" * 9, "中文类别名称很长很长很长很长"):
        cut = gallery._shorten(name, 108)
        assert cut.endswith("…")
        assert font_for(cut, gallery.FONT_SIZE).getlength(cut) <= 108
    assert gallery._shorten("short", 108) == "short"
    assert font.getlength("short") < 108
