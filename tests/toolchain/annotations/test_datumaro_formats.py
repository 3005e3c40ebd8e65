"""Formats that datumaro reads for us."""

from collections.abc import Callable
from pathlib import Path

import pytest

from toolchain.annotations import open_source
from toolchain.errors import ConfigError, DataError

Draw = Callable[..., Path]


def test_kitti_is_read_through_datumaro(tmp_path: Path, draw: Draw):
    draw(tmp_path / "training" / "image_2" / "a.png", 40, 30)
    label = tmp_path / "training" / "label_2" / "a.txt"
    label.parent.mkdir(parents=True)
    label.write_text("Car 0.0 0 -1.57 1.0 2.0 11.0 12.0 1 1 1 1 1 1 0\n")
    collection = open_source(tmp_path, "datumaro:kitti_detection")
    (image,) = collection.images()
    assert (image.file, image.width, image.height) == (tmp_path / "training" / "image_2" / "a.png", 40, 30)
    assert [(annotation.label.lower(), annotation.box) for annotation in image.annotations] == [("car", (1, 2, 11, 12))]


def test_unknown_datumaro_formats_and_folders_without_the_format(tmp_path: Path):
    with pytest.raises(ConfigError, match="datumaro has no format 'kity'; give one of its names"):
        open_source(tmp_path, "datumaro:kity")
    with pytest.raises(DataError, match="cannot be read as kitti by datumaro"):
        open_source(tmp_path, "datumaro:kitti")
