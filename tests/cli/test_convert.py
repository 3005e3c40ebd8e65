"""toolchain convert."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from cli.__main__ import main

ROOT = Path(__file__).parents[2]
HEAVY = {"datumaro", "PIL", "numpy", "pyarrow", "defusedxml"}


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Two images of COCO, one of them with a polygon and an attribute."""
    folder = tmp_path / "coco"
    folder.mkdir()
    images = [{"id": n, "file_name": f"{n}.png", "width": 40, "height": 30} for n in (1, 2)]
    for image in images:
        Image.new("RGB", (40, 30)).save(folder / str(image["file_name"]))
    polygon = {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "bbox": [0, 0, 9, 9],
        "segmentation": [[0, 0, 9, 0, 9, 9]],
        "attributes": {"[colour]": "red"},
    }
    value = {"images": images, "annotations": [polygon], "categories": [{"id": 1, "name": "dog"}]}
    (folder / "a.json").write_text(json.dumps(value))
    return folder


def test_convert_prints_what_the_target_does_not_support(
    coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    target = tmp_path / "voc"
    assert main(["convert", str(coco), str(target), "--to", "voc"]) == 0
    output = capsys.readouterr().out
    assert "coco to voc: 2 images, 1 objects" in output
    assert "not supported by voc" in output
    assert "polygon (its box is kept)" in output
    assert f"report:  {target}.conversion.json" in output
    assert (target / "Annotations" / "1.xml").is_file()
    assert (target / "JPEGImages" / "2.png").is_file()


def test_a_lossless_conversion_is_reported(coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["convert", str(coco / "a.json"), str(tmp_path / "out"), "--to", "coco", "--from", "coco"]) == 0
    assert "coco represents everything" in capsys.readouterr().out


def test_dropped_objects_are_counted_with_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source = tmp_path / "yolo"
    source.mkdir()
    Image.new("RGB", (40, 30)).save(source / "a.png")
    (source / "classes.txt").write_text("dog\ncat\n")
    lines = [f"{number} 0.5 0.5 0.{size} 0.2" for number, size in ((0, 2), (1, 2), (1, 3), (5, 2))]
    (source / "a.txt").write_text("\n".join(lines))
    assert main(["convert", str(source), str(tmp_path / "out"), "--to", "coco"]) == 0
    output = capsys.readouterr().out
    assert "yolo to coco: 1 images, 3 objects" in output
    assert "1 of 4 objects was dropped: label is not in the list (1)" in output
    assert "label is not in the list (dropped)" in output
    assert "class 5 has no name (2 classes have names)" in " ".join(output.split())
    assert "represents everything that was converted" not in output


def test_text_in_brackets_is_not_markup(coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["convert", str(coco), str(tmp_path / "out"), "--to", "yolo", "--task", "detect"]) == 0
    assert "attribute: [colour]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["SOURCE", "TARGET", "--to", "voc", "--from", "yolo"], "has no list of classes"),
        (["SOURCE", "TARGET", "--to", "voc", "--from", "vocc"], "format 'vocc' is not known"),
        (["SOURCE/gone", "TARGET", "--to", "voc"], "gone"),
        (["SOURCE", "SOURCE", "--to", "voc"], "choose another folder, or remove it"),
    ],
)
def test_a_user_error_is_one_line_and_exits_with_2(
    coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], argv: list[str], message: str
):
    given = [word.replace("SOURCE", str(coco)).replace("TARGET", str(tmp_path / "out")) for word in argv]
    assert main(["convert", *given]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("action", "status", "objects"), [("fix", 0, 2), ("drop", 0, 1), ("fail", 2, 0)])
def test_a_invalid_shape_does_not_end_the_conversion_unless_it_is_to(
    coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], action: str, status: int, objects: int
):
    value = json.loads((coco / "a.json").read_text())
    error = {"id": 2, "image_id": 2, "category_id": 1, "bbox": [1, 1, 5, 5], "segmentation": [[1, 1, 6, 6]]}
    (coco / "a.json").write_text(json.dumps({**value, "annotations": [*value["annotations"], error]}))
    target = tmp_path / "out"
    assert main(["convert", str(coco), str(target), "--to", "coco", "--invalid-shape", action]) == status
    printed = capsys.readouterr()
    if status:
        assert "invalid_shape=fix|drop" in printed.err
        assert not target.exists()
    else:
        assert f"2 images, {objects} objects" in printed.out
        assert "annotation 2" in printed.out


def test_an_unknown_target_format_is_a_usage_error(coco: Path, tmp_path: Path):
    with pytest.raises(SystemExit) as raised:
        main(["convert", str(coco), str(tmp_path / "out"), "--to", "word"])
    assert raised.value.code == 2


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from cli.__main__ import main\n"
        "try: main(['convert', '--help'])\n"
        f"except SystemExit: found = {HEAVY!r} & sys.modules.keys(); assert not found, found"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
