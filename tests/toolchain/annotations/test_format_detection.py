"""The format of a source is detected from its files, or given."""

from pathlib import Path

import pytest

from toolchain.annotations import open_source
from toolchain.annotations.format_detection import detect
from toolchain.errors import ConfigError, DataError

FILES = {
    "voc": ("a.xml", "<annotation></annotation>"),
    "cvat": ("annotations.xml", "<annotations></annotations>"),
    "coco": ("x.json", '{"images": [], "annotations": [], "categories": []}'),
    "labelme": ("y.json", '{"shapes": [], "imagePath": "a.png"}'),
    "yolo": ("data.yaml", "names: [a]"),
}


@pytest.mark.parametrize("format_", FILES)
def test_each_format_is_detected_from_its_files(tmp_path: Path, format_: str):
    name, text = FILES[format_]
    (tmp_path / name).write_text(text)
    (tmp_path / "notes.txt").write_text("bought two dogs and five cats")
    (tmp_path / "package.json").write_text('{"name": "x"}')
    assert detect(tmp_path) == format_


@pytest.mark.parametrize("name", ["classes.txt", "obj.names"])
def test_yolo_without_a_yaml(tmp_path: Path, name: str):
    (tmp_path / name).write_text("dog\n")
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    assert detect(tmp_path) == "yolo"


def test_several_formats_are_an_error(tmp_path: Path):
    for format_ in ("voc", "coco"):
        (tmp_path / FILES[format_][0]).write_text(FILES[format_][1])
    with pytest.raises(DataError, match=r"several formats: coco \(x\.json\), voc \(a\.xml\)"):
        detect(tmp_path)
    assert open_source(tmp_path, "voc").format == "voc"


def test_a_single_file_can_be_a_source(tmp_path: Path):
    for format_ in ("coco", "cvat"):
        path = tmp_path / FILES[format_][0]
        path.write_text(FILES[format_][1])
        assert open_source(path).format == format_
    voc = tmp_path / "a.xml"
    voc.write_text(FILES["voc"][1])
    with pytest.raises(DataError, match="single image; give its folder"):
        open_source(voc)


def test_unknown_formats_and_missing_sources(tmp_path: Path):
    with pytest.raises(DataError, match="has no annotations in a known format"):
        detect(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        open_source(tmp_path / "gone")
    with pytest.raises(ConfigError, match="format 'kitti' is not known"):
        open_source(tmp_path, "kitti")


def test_dataset_json_of_another_program_is_not_a_dataset(tmp_path: Path):
    (tmp_path / "dataset.json").write_text('{"name": "my photos"}')
    (tmp_path / "a.xml").write_text(FILES["voc"][1])
    assert detect(tmp_path) == "voc"


def test_the_missing_list_of_incomplete_coco_is_named(tmp_path: Path):
    (tmp_path / "c.json").write_text('{"images": [], "annotations": []}')
    with pytest.raises(DataError, match="has no list of categories"):
        detect(tmp_path)


def test_yolo_in_a_folder_below_is_found(tmp_path: Path):
    (tmp_path / "set" / "v1").mkdir(parents=True)
    (tmp_path / "set" / "v1" / "data.yaml").write_text("names: [a]\ntrain: images")
    assert detect(tmp_path) == "yolo"


def test_a_damaged_data_yaml_is_named(tmp_path: Path):
    (tmp_path / "data.yaml").write_text("names: [a")
    with pytest.raises(DataError, match=r"data\.yaml is not YAML"):
        detect(tmp_path)
