"""``toolchain convert``: annotations of images, in another format."""

import argparse
from pathlib import Path

from cli.commands.options import add_json
from cli.exit_status import SUCCESS

SUMMARY = "Convert annotations of images to another format."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", metavar="SOURCE", help="Folder, archive, or one file of COCO, CVAT, VIA or Create ML."
    )
    parser.add_argument("target", type=Path, metavar="TARGET", help="New folder.")
    parser.add_argument(
        "--to",
        dest="target_format",
        required=True,
        choices=["coco", "yolo", "voc", "cvat", "createml"],
        help="Format to write.",
    )
    parser.add_argument(
        "--from",
        dest="source_format",
        default="",
        metavar="FORMAT",
        help="coco, yolo, voc, cvat, labelme, via, createml or datumaro:NAME. Default: detected from the files.",
    )
    parser.add_argument(
        "--images", default="", metavar="FOLDER", help="Location of the images, if they are not with the annotations."
    )
    parser.add_argument(
        "--task",
        default="",
        choices=["", "detect", "segment", "obb", "pose"],
        help="Task of YOLO's lines. Default: detected.",
    )
    parser.add_argument(
        "--origin",
        default="",
        choices=["", "zero_based", "one_based", "shifted"],
        help="Coordinate convention of Pascal VOC boxes. Default: detected from the files.",
    )
    parser.add_argument("--fix", action="store_true", help="Fix boxes that look wrong instead of keeping them.")
    parser.add_argument(
        "--invalid-shape",
        default="fix",
        choices=["fix", "drop", "fail"],
        help="Unreadable polygon, mask or box: keep its valid parts, drop it, or fail. Default: %(default)s.",
    )
    add_json(parser)


def run(
    source: str,
    target: Path,
    target_format: str,
    source_format: str,
    images: str,
    task: str,
    origin: str,
    fix: bool,
    invalid_shape: str,
    as_json: bool,
) -> int:
    from cli.convert import convert, to_json
    from cli.output.machine import print_json, text_output

    with text_output(as_json):
        result = convert(
            source,
            target,
            target_format,
            source_format=source_format,
            images=images,
            origin=origin,
            task=task,
            fix=fix,
            invalid_shape=invalid_shape,
        )
    if as_json:
        print_json(to_json(result, target))
    return SUCCESS
