import pyarrow as pa

from toolchain.inference.box_output import BoxOutput
from toolchain.metrics.detections.table import SCHEMA


def test_overlays_are_of_the_images_whose_numbers_of_boxes_and_objects_differ_most():
    rows = [
        image(row, boxes=[0.9] * found, objects=expected) for row, found, expected in ((1, 2, 2), (2, 3, 0), (3, 0, 1))
    ]
    chosen = BoxOutput.overlays(pa.Table.from_pylist(rows, SCHEMA), 0.5, 2)
    assert [row["row"] for row in chosen] == [2, 3]


def image(row: int, boxes: list[float], objects: int) -> dict[str, object]:
    """Return the stored predictions for one image: ``boxes`` are scores."""
    return {
        "row": row,
        "variant": "fp32",
        "width": 8,
        "height": 8,
        "boxes": [[0.0, 0.0, 4.0, 4.0]] * len(boxes),
        "scores": boxes,
        "labels": [0] * len(boxes),
        "expected_boxes": [[0.0, 0.0, 4.0, 4.0]] * objects,
        "expected_labels": [0] * objects,
        "expected_neutral": [False] * objects,
        "expected_crowd": [False] * objects,
    }
