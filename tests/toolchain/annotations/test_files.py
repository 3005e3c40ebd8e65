"""Files of annotations in any encoding, and files of another purpose beside them."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from toolchain.annotations import convert, open_source
from toolchain.annotations.files import parse_json, parse_xml, read_text, root_name
from toolchain.errors import DataError

Draw = Callable[..., Path]
NAMES = {
    "gb2312": "汽车",
    "gbk": "汽車",
    "shift_jis": "①車",  # of Windows' own code page 932
    "euc-kr": "자동차",
    "big5": "汽車",
    "windows-1252": "Größe €",
    "iso-8859-15": "café €",
    "koi8-r": "машина",
    "utf-16": "車 é",
    "utf-8": "車 é",
}


@pytest.mark.parametrize("encoding", NAMES)
def test_xml_is_read_in_the_encoding_that_it_declares(tmp_path: Path, draw: Draw, encoding: str):
    text = f'<?xml version="1.0" encoding="{encoding}"?><annotation><object><name>{NAMES[encoding]}</name>'
    text += "<bndbox><xmin>0</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax></bndbox></object></annotation>"
    written = {"gb2312": "gb18030", "shift_jis": "cp932"}.get(encoding, encoding)
    (tmp_path / "a.xml").write_bytes(text.encode(written))
    draw(tmp_path / "a.png", 40, 30)
    collection = open_source(tmp_path)
    (image,) = collection.images()
    assert (image.annotations[0].label, image.annotations[0].box) == (NAMES[encoding], (0, 2, 9, 8))


@pytest.mark.parametrize("declared", ["no-such-encoding", "gb2312"])
def test_xml_in_an_unknown_or_another_encoding_is_rejected_by_name(tmp_path: Path, declared: str):
    (tmp_path / "a.xml").write_bytes(f'<?xml version="1.0" encoding="{declared}"?><annotation>'.encode() + b"\xff\xff")
    with pytest.raises(DataError, match=r"a\.xml is not XML"):
        parse_xml(tmp_path / "a.xml")


def test_entities_are_rejected_in_every_encoding(tmp_path: Path):
    bomb = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>'
    for encoding in ("utf-8", "gb2312", "utf-16"):
        (tmp_path / "a.xml").write_bytes(f'<?xml version="1.0" encoding="{encoding}"?>{bomb}'.encode(encoding))
        with pytest.raises(DataError, match="declares XML entities"):
            parse_xml(tmp_path / "a.xml")


@pytest.mark.parametrize(
    ("content", "root"),
    [
        (b"<?xml version='1.0'?><!-- <annotations> --><annotation><obj", "annotation"),
        ("<annotation/>".encode("utf-16"), "annotation"),
        (b"", ""),
        (b"no markup", ""),
    ],
)
def test_the_first_element_is_found_in_a_damaged_file(tmp_path: Path, content: bytes, root: str):
    (tmp_path / "a.xml").write_bytes(content)
    assert root_name(tmp_path / "a.xml") == root


def test_text_can_be_utf_16_as_windows_tools_write_it(tmp_path: Path):
    (tmp_path / "classes.txt").write_text("dog\ncafé\n", encoding="utf-16")
    assert read_text(tmp_path / "classes.txt") == "dog\ncafé\n"
    (tmp_path / "classes.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match="is not UTF-8 text"):
        read_text(tmp_path / "classes.txt")


def test_names_that_are_not_utf_8_become_text(tmp_path: Path, draw: Draw):
    source = tmp_path / "source"
    latin = os.fsdecode("café".encode("latin-1"))
    draw(source / latin / f"{latin}.png", 40, 30)
    (source / latin / f"{latin}.xml").write_text("<annotation><filename>café.png</filename></annotation>")
    (source / latin / "b.xml").write_text("<annotation><filename>CAFÉ.PNG</filename></annotation>")
    assert {image.name for image in open_source(source).images()} == {"café/café.png"}
    done = convert(str(source), tmp_path / "out", "coco")
    assert done.images == 2
    assert (tmp_path / "out/images/default/café/café.png").is_file()


BOX = "<object><name>cat</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax></bndbox></object>"
STRAYS = {
    "policy.yaml": b"- HorizontalFlip: {p: 0.5}",
    "chart.yml": b"a: {{ .Values.x }}\n\t- [",
    "x.data": b"\x80\x04\x95binary",
    "notes.xml": b"<resources><string></resources>",
    "empty.xml": b"",
    "layout.xml": b"<LinearLayout/>",
    "error.json": b"{",
    "package.json": b'{"name": "x", "images": 3}',
    "latin.json": b'{"name": "caf\xe9"}',
    "README.txt": b"caf\xe9 photos",
    "._a.xml": b"\x00\x05\x16\x07",
    "._data.yaml": b"\x00\x05\x16\x07\xff",
    ".ipynb_checkpoints/a.json": b"{",
    "CMakeLists.txt": b"add_executable(x)",
}


@pytest.fixture(params=["voc", "coco", "labelme", "cvat", "yolo", "labelimg"])
def annotated(request: pytest.FixtureRequest, tmp_path: Path, draw: Draw) -> Path:
    """A source of one image in each format, with one box of a cat."""
    source = tmp_path / "source"
    draw(source / "images" / "a.png", 40, 30)
    texts = {
        "voc": {"a.xml": f"<annotation>{BOX}</annotation>"},
        "coco": {
            "c.json": '{"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1, "name": "cat"}],'
            '"annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 8, 6]}]}'
        },
        "labelme": {
            "a.json": '{"imagePath": "a.png", "shapes": [{"label": "cat", "shape_type": "rectangle", '
            '"points": [[1, 2], [9, 8]]}]}'
        },
        "cvat": {
            "annotations.xml": '<annotations><image name="a.png" width="40" height="30">'
            '<box label="cat" xtl="1" ytl="2" xbr="9" ybr="8"/></image></annotations>'
        },
        "yolo": {"data.yaml": "train: images\nnames: [cat]", "labels/a.txt": "0 0.125 0.16666667 0.2 0.2"},
        "labelimg": {"labels/classes.txt": "cat", "labels/a.txt": "0 0.125 0.16666667 0.2 0.2"},
    }[request.param]
    for name, text in texts.items():
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text(text)
    return source


def test_unrelated_files_are_ignored(annotated: Path):
    for name, content in STRAYS.items():
        (annotated / name).parent.mkdir(exist_ok=True)
        (annotated / name).write_bytes(content)
    collection = open_source(annotated)
    (image,) = collection.images()
    assert (collection.labels, image.file) == (("cat",), annotated / "images" / "a.png")
    assert image.annotations[0].box == pytest.approx((1, 2, 9, 8))


def test_a_damaged_annotation_file_is_not_ignored(tmp_path: Path, draw: Draw):
    draw(tmp_path / "a.png", 40, 30)
    (tmp_path / "b.xml").write_text("<annotation/>")
    for content in ("<annotation><object>", ""):
        (tmp_path / "a.xml").write_text(content)
        with pytest.raises(DataError, match=r"a\.xml is not XML"):
            open_source(tmp_path)


def test_broken_links_are_counted(annotated: Path):
    (annotated / "more").symlink_to("gone")
    (finding,) = open_source(annotated).findings
    assert (finding.rule, finding.examples) == (
        "broken link (left out)",
        (str(annotated / "more"),),
    )


def test_names_are_case_insensitive(annotated: Path):
    for path in sorted(annotated.rglob("*"), reverse=True):
        path.rename(path.with_name(path.name.upper()))
    collection = open_source(annotated)
    (image,) = collection.images()
    assert (collection.labels, image.file) == (("cat",), annotated / "IMAGES" / "A.PNG")
    assert image.annotations[0].box == pytest.approx((1, 2, 9, 8))


def test_linked_folders_are_followed(annotated: Path):
    for path in list(annotated.iterdir()):
        target = annotated.parent / f"real-{path.name}"
        path.rename(target)
        path.symlink_to(target)
    (image,) = open_source(annotated).images()
    assert (image.file, len(image.annotations)) == (annotated / "images" / "a.png", 1)


def test_half_of_a_surrogate_pair_in_json_becomes_the_replacement_character(tmp_path: Path):
    (tmp_path / "a.json").write_text(r'{"categories": [{"id": 1, "name": "cat \ud83d"}]}', "utf-8")
    assert parse_json(tmp_path / "a.json")["categories"][0]["name"] == "cat \ufffd"
