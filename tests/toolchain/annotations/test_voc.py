"""Pascal VOC XML as LabelImg, CVAT and VOC write it."""

from collections.abc import Callable
from pathlib import Path
from xml.etree.ElementTree import parse

import pytest

from toolchain.annotations import AnnotatedImage, convert, open_source, write
from toolchain.errors import DataError

Draw = Callable[..., Path]
BOX = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"


def xml(folder: Path, stem: str, *boxes: tuple[float, ...], head: str = "", inner: str = "") -> Path:
    """Write the file of an image of 40 x 30 pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    objects = "".join(f"<object><name>car</name>{inner}{BOX.format(*box)}</object>" for box in boxes)
    size = "<size><width>40</width><height>30</height><depth>3</depth></size>"
    path = folder / f"{stem}.xml"
    path.write_text(f"<annotation><filename>{stem}.png</filename>{head}{size}{objects}</annotation>", encoding="utf-8")
    return path


def only(folder: Path, **settings: str) -> AnnotatedImage:
    (image,) = open_source(folder, **settings).images()  # type: ignore[arg-type]
    return image


def test_all_fields_of_an_object_are_kept(tmp_path: Path, draw: Draw):
    draw(tmp_path / "a b.png", 40, 30)
    inner = (
        "<pose>Left</pose><truncated>1</truncated><difficult>0</difficult><occluded>1</occluded>"
        "<attributes><attribute><name>colour</name><value>red</value></attribute></attributes>"
        "<part><name>wheel</name></part>"
    )
    xml(tmp_path, "a b", (0, 1, 39, 30), head="<folder>my images</folder>", inner=inner)
    image = only(tmp_path)
    (annotation,) = image.annotations
    assert (image.name, image.file, image.width, image.height) == ("a b.png", tmp_path / "a b.png", 40, 30)
    assert (annotation.label, annotation.box) == ("car", (0, 1, 39, 30))
    assert (annotation.truncated, annotation.difficult, annotation.occluded) == (True, False, True)
    assert annotation.attributes == {
        "colour": "red",
        "@voc": {"pose": "Left", "xml": ["<part><name>wheel</name></part>"]},
    }
    assert image.metadata == {"@voc": {"depth": "3", "xml": ["<folder>my images</folder>"]}}


@pytest.mark.parametrize(
    ("boxes", "head", "origin", "box"),
    [
        ([(0, 5, 10, 10)], "", "zero_based", (0, 5, 10, 10)),
        ([(1, 5, 10, 10)], "", "zero_based", (1, 5, 10, 10)),  # what LabelImg writes for 0, too: nothing tells
        ([(1, 5, 41, 10)], "", "shifted", (0, 4, 40, 9)),
        ([(0, 5, 10, 10), (2, 2, 41, 10)], "", "zero_based", (0, 5, 10, 10)),  # one box is outside: the check's affair
        ([(1, 5, 40, 30)], "<source><database>The VOC2007 Database</database></source>", "one_based", (0, 4, 40, 30)),
    ],
)
def test_the_origin_is_detected(
    tmp_path: Path, boxes: list[tuple[int, ...]], head: str, origin: str, box: tuple[int, ...]
):
    xml(tmp_path, "a", *boxes, head=head)
    collection = open_source(tmp_path)
    assert collection.metadata["origin"] == origin
    assert next(iter(collection.images())).annotations[0].box == box


def test_the_origin_can_be_set_and_is_written_again(tmp_path: Path):
    xml(tmp_path / "one", "a", (1, 5, 10, 10))
    collection = open_source(tmp_path / "one", origin="one_based")
    assert next(iter(collection.images())).annotations[0].box == (0, 4, 10, 10)
    write(tmp_path / "two", collection, collection.images(), "voc")
    root = parse(tmp_path / "two" / "Annotations" / "a.xml")
    edges = [root.findtext(f"object/bndbox/{edge}") for edge in ("xmin", "ymin", "xmax", "ymax")]
    assert edges == ["1", "5", "10", "10"]


def test_images_are_found_by_name_by_stem_and_in_folders(tmp_path: Path, draw: Draw):
    draw(tmp_path / "JPEGImages" / "day 1" / "a.JPG", 40, 30, "JPEG")
    draw(tmp_path / "JPEGImages" / "b.png", 40, 30)
    xml(tmp_path / "Annotations" / "day 1", "a")
    xml(tmp_path / "Annotations", "b")
    found = {image.name: image.file for image in open_source(tmp_path).images()}
    assert found == {
        "day 1/a.JPG": tmp_path / "JPEGImages" / "day 1" / "a.JPG",
        "b.png": tmp_path / "JPEGImages" / "b.png",
    }


def test_images_dir_and_paths_of_another_machine(tmp_path: Path, draw: Draw):
    draw(tmp_path / "apart" / "a.png", 40, 30)
    xml(tmp_path / "labels", "a", head="<path>C:\\Users\\me\\a.png</path>")
    (image,) = open_source(tmp_path / "labels", images_dir=tmp_path / "apart").images()
    assert image.file == tmp_path / "apart" / "a.png"


def test_a_name_cannot_lead_out_of_the_folder(tmp_path: Path, draw: Draw):
    draw(tmp_path / "secret.png", 4, 4)
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a.xml").write_text("<annotation><filename>../secret.png</filename></annotation>")
    image = only(folder)
    assert image.file is None
    assert image.name == "secret.png"


def test_images_without_an_annotation_file_are_reported(tmp_path: Path, draw: Draw):
    draw(tmp_path / "a.png", 40, 30)
    draw(tmp_path / "b.png", 40, 30)
    xml(tmp_path, "a")
    (finding,) = open_source(tmp_path).findings
    assert (finding.count, finding.examples) == (1, ("b.png",))


def test_splits_come_from_voc_lists_and_not_from_those_of_classes(tmp_path: Path):
    for stem in "abc":
        xml(tmp_path / "Annotations", stem)
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\n")
    (lists / "val.txt").write_text("b\n")
    (lists / "trainval.txt").write_text("a\nb\n")
    (lists / "car_test.txt").write_text("c  1\na -1\n")
    assert {p.name: p.split for p in open_source(tmp_path).images()} == {
        "a.png": "train",
        "b.png": "validation",
        "c.png": "all",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('<!DOCTYPE a [<!ENTITY x "y">]><annotation>&x;</annotation>', "declares XML entities"),
        ('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>', "declares XML entities"),
        ("<annotation><object>", "is not XML"),
    ],
)
def test_bad_xml_is_rejected_by_its_name(tmp_path: Path, text: str, message: str):
    (tmp_path / "bad.xml").write_text(text)
    with pytest.raises(DataError, match=message) as raised:
        list(open_source(tmp_path, "voc").images())
    assert "bad.xml" in str(raised.value)


def test_a_billion_laughs_are_rejected_at_once(tmp_path: Path):
    lines = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    (tmp_path / "a.xml").write_text(f'<!DOCTYPE a [<!ENTITY l0 "ha">{lines}]><annotation>&l9;</annotation>')
    with pytest.raises(DataError, match="declares XML entities"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        ("<name>a</name>", "no complete bndbox"),
        (f"<name>a</name>{BOX.format('one', 2, 3, 4)}", "'one' is not a number"),
        (f"<name>a</name>{BOX.format('nan', 2, 3, 4)}", "'nan' is not a finite number"),
        ("<name>a</name><bndbox><xmin>1</xmin></bndbox>", "no complete bndbox"),
    ],
)
def test_an_invalid_box_does_not_stop_reading(tmp_path: Path, inner: str, message: str):
    whole = f"<object><name>b</name>{BOX.format(1, 2, 3, 4)}</object>"
    (tmp_path / "a.xml").write_text(f"<annotation><object>{inner}</object>{whole}</annotation>")
    ((error, other),) = [image.annotations for image in open_source(tmp_path).images()]
    assert message in error.error
    assert (other.error, other.box) == ("", (1, 2, 3, 4))


@pytest.mark.parametrize("box", ["", BOX.format(2, 3, 6, 8)])
@pytest.mark.parametrize(
    "points",
    [
        "<x1>2</x1><y1>3</y1><x2>6</x2><y2>3</y2><x3>6</x3><y3>8</y3>",  # Roboflow, Labelbox
        "<pt><x>2</x><y>3</y></pt><pt><x>6</x><y>3</y></pt><pt><x>6</x><y>8</y></pt>",  # LabelMe's XML
    ],
)
def test_a_polygon_is_read_with_its_bounding_box(tmp_path: Path, box: str, points: str):
    body = f"<object><name>a</name>{box}<polygon>{points}</polygon></object>"
    (tmp_path / "a.xml").write_text(f"<annotation>{body}</annotation>")
    ((found,),) = [image.annotations for image in open_source(tmp_path).images()]
    assert (found.box, found.polygons, found.error) == ((2, 3, 6, 8), ((2, 3, 6, 3, 6, 8),), "")


def test_attributes_of_elements_are_written_again(tmp_path: Path, draw: Draw):
    draw(tmp_path / "one" / "a.png", 9, 9)
    size = "<size><width>9</width><height>9</height></size>"
    annotation = f'<object id="7"><name>a</name>{BOX.format(1, 2, 3, 4)}</object>'
    (tmp_path / "one" / "a.xml").write_text(f'<annotation verified="yes">{size}{annotation}</annotation>')
    assert convert(str(tmp_path / "one"), tmp_path / "two", "voc").unsupported == ()
    text = (tmp_path / "two" / "Annotations" / "a.xml").read_text()
    assert '<annotation verified="yes">' in text
    assert '<object id="7">' in text
    lost = {feature.rule for feature in convert(str(tmp_path / "one"), tmp_path / "three", "coco").unsupported}
    assert lost == {
        "VOC's own attributes of its element of an image",
        "VOC's own attributes of its element of an object",
    }


def test_an_object_without_a_name_has_no_class(tmp_path: Path, draw: Draw):
    draw(tmp_path / "a.png", 40, 30)
    path = xml(tmp_path, "a", (1, 2, 3, 4), (5, 6, 7, 8))
    path.write_text(path.read_text().replace("<name>car</name>", "<name/>", 1))
    assert open_source(tmp_path).labels == ("car",)
    result = convert(str(tmp_path), tmp_path.parent / f"{tmp_path.name}-coco", "coco")
    assert [(each.rule, each.count) for each in result.findings] == [("label is not in the list (dropped)", 1)]


def test_xml_namespaces_are_ignored(tmp_path: Path, draw: Draw):
    draw(tmp_path / "a.png", 40, 30)
    path = xml(tmp_path, "a", (1, 2, 3, 4))
    path.write_text(path.read_text().replace("<annotation>", "<annotation xmlns='http://example.com/voc'>"))
    assert [annotation.box for annotation in only(tmp_path).annotations] == [(1, 2, 3, 4)]
