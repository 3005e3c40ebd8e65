"""Table: how the objects in pictures and the boxes that a model answers are kept in files."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from toolchain.artifacts.columns import HEIGHT, ROW, WIDTH
from toolchain.errors import ArtifactError
from toolchain.metrics.detections import AnnotatedImage, Detections, Objects, detections_of

# Of a file of answers: one row for each picture and variant. What is expected stands beside what was answered, so that
# whoever compares variants needs no dataset.
BOXES = pa.list_(pa.list_(pa.float32(), 4))
SCHEMA = pa.schema(
    [
        (ROW, pa.int64()),  # the picture's number in its source
        ("variant", pa.string()),
        (WIDTH, pa.int64()),
        (HEIGHT, pa.int64()),
        ("boxes", BOXES),  # answered, the best first
        ("scores", pa.list_(pa.float32())),  # 0..1
        ("labels", pa.list_(pa.int64())),  # positions in the class names
        ("expected_boxes", BOXES),
        ("expected_labels", pa.list_(pa.int64())),
        ("expected_neutral", pa.list_(pa.bool_())),  # neither found nor missed counts
        ("expected_crowd", pa.list_(pa.bool_())),  # many objects in one box; neutral too
    ]
)


def table_of(variant: str, pictures: Sequence[AnnotatedImage], answers: Sequence[Detections]) -> pa.Table:
    """Return what ``variant`` answered to ``pictures``, and what was expected, in rows of ``SCHEMA``."""
    rows = [
        {
            ROW: picture.row,
            "variant": variant,
            WIDTH: picture.width,
            HEIGHT: picture.height,
            "boxes": answer.boxes.tolist(),
            "scores": answer.scores.tolist(),
            "labels": answer.labels.tolist(),
            "expected_boxes": picture.objects.boxes.tolist(),
            "expected_labels": picture.objects.labels.tolist(),
            "expected_neutral": picture.objects.neutral.tolist(),
            "expected_crowd": picture.objects.crowd.tolist(),
        }
        for picture, answer in zip(pictures, answers, strict=True)
    ]
    return pa.Table.from_pylist(rows, SCHEMA)


def read_table(table: pa.Table) -> tuple[list[AnnotatedImage], list[Detections]]:
    """Return the pictures and answers in rows of ``SCHEMA``, all of one variant.

    Raises:
        ArtifactError: columns are missing.
    """
    missing = set(SCHEMA.names) - set(table.schema.names)
    if missing:
        raise ArtifactError(f"the answers lack {', '.join(sorted(missing))}; measure accuracy again")
    pictures, answers = [], []
    for row in table.to_pylist():
        expected = Objects(
            np.array(row["expected_boxes"], np.float64).reshape(-1, 4),
            np.array(row["expected_labels"], np.int64),
            np.array(row["expected_neutral"], bool),
            np.array(row["expected_crowd"], bool),
        )
        pictures.append(AnnotatedImage(row[ROW], row[WIDTH], row[HEIGHT], expected))
        answers.append(detections_of(row["boxes"], row["scores"], row["labels"]))
    return pictures, answers
