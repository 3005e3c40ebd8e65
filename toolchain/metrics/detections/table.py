"""Table: how the objects in images and the boxes that a model predicts are kept in files."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from toolchain.artifacts.columns import HEIGHT, ROW, WIDTH
from toolchain.errors import ArtifactError
from toolchain.metrics.detections import AnnotatedImage, Detections, Objects, detections_of

# Of a file of predictions: one row for each image and variant, with the expected objects and the predicted
# boxes, so that comparing variants needs no dataset.
BOXES = pa.list_(pa.list_(pa.float32(), 4))
SCHEMA = pa.schema(
    [
        (ROW, pa.int64()),  # the image's number in its source
        ("variant", pa.string()),
        (WIDTH, pa.int64()),
        (HEIGHT, pa.int64()),
        ("boxes", BOXES),  # predicted, the best first
        ("scores", pa.list_(pa.float32())),  # 0..1
        ("labels", pa.list_(pa.int64())),  # positions in the class names
        ("expected_boxes", BOXES),
        ("expected_labels", pa.list_(pa.int64())),
        ("expected_neutral", pa.list_(pa.bool_())),  # neither found nor missed counts
        ("expected_crowd", pa.list_(pa.bool_())),  # many objects in one box; neutral too
    ]
)


def table_of(variant: str, images: Sequence[AnnotatedImage], predictions: Sequence[Detections]) -> pa.Table:
    """Return what ``variant`` predicted for ``images``, and what was expected, in rows of ``SCHEMA``."""
    rows = [
        {
            ROW: image.row,
            "variant": variant,
            WIDTH: image.width,
            HEIGHT: image.height,
            "boxes": prediction.boxes.tolist(),
            "scores": prediction.scores.tolist(),
            "labels": prediction.labels.tolist(),
            "expected_boxes": image.objects.boxes.tolist(),
            "expected_labels": image.objects.labels.tolist(),
            "expected_neutral": image.objects.neutral.tolist(),
            "expected_crowd": image.objects.crowd.tolist(),
        }
        for image, prediction in zip(images, predictions, strict=True)
    ]
    return pa.Table.from_pylist(rows, SCHEMA)


def read_table(table: pa.Table) -> tuple[list[AnnotatedImage], list[Detections]]:
    """Return the images and predictions in rows of ``SCHEMA``, all of one variant.

    Raises:
        ArtifactError: columns are missing.
    """
    missing = set(SCHEMA.names) - set(table.schema.names)
    if missing:
        raise ArtifactError(f"the predictions lack {', '.join(sorted(missing))}; measure accuracy again")
    images, predictions = [], []
    for row in table.to_pylist():
        expected = Objects(
            np.array(row["expected_boxes"], np.float64).reshape(-1, 4),
            np.array(row["expected_labels"], np.int64),
            np.array(row["expected_neutral"], bool),
            np.array(row["expected_crowd"], bool),
        )
        images.append(AnnotatedImage(row[ROW], row[WIDTH], row[HEIGHT], expected))
        predictions.append(detections_of(row["boxes"], row["scores"], row["labels"]))
    return images, predictions
