"""Statistics of boxes for the report: objects per class, sizes and positions."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from toolchain.annotations import AnnotatedImage
from toolchain.annotations.geometry import upright_box

GRID_SIZE = 8  # rows and columns of the histogram of positions
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
SMALL, MEDIUM = 32**2, 96**2  # square pixels: COCO's limits of small, medium and large objects
PROPERTIES = ("polygons", "mask", "keypoints", "rotation", "crowd", "difficult", "truncated", "occluded")


@dataclass
class Statistics:
    """Collected image by image; memory holds 32 bytes for each box."""

    rows: Counter[str] = field(default_factory=Counter)  # by split
    empty: int = 0  # rows without an object
    labels: dict[str, Counter[str]] = field(default_factory=dict)  # objects by split, then label
    properties: Counter[str] = field(default_factory=Counter)  # objects with each of PROPERTIES
    counts: list[int] = field(default_factory=list)  # objects in each row
    sizes: list[tuple[float, float, float]] = field(default_factory=list)  # width and height as shares; square pixels
    positions: np.ndarray[Any, np.dtype[np.int64]] = field(
        default_factory=lambda: np.zeros((GRID_SIZE, GRID_SIZE), np.int64)
    )

    def add(self, image: AnnotatedImage, split: str) -> None:
        """Add a row."""
        self.rows[split] += 1
        self.empty += not image.annotations
        self.counts.append(len(image.annotations))
        labels = self.labels.setdefault(split, Counter())
        for annotation in image.annotations:
            labels[annotation.label] += 1
            left, top, right, bottom = upright_box(annotation)
            width, height = (right - left) / image.width, (bottom - top) / image.height
            self.sizes.append((width, height, (right - left) * (bottom - top)))
            row, column = (top + bottom) / 2 / image.height, (left + right) / 2 / image.width
            self.positions[_cell(row), _cell(column)] += 1
            self.properties.update(name for name in PROPERTIES if getattr(annotation, name))

    def note(self, labels: tuple[str, ...]) -> dict[str, Any]:
        """Return the statistics as JSON: sizes as shares of the image, positions row by row from the top left."""
        sizes = np.array(self.sizes).reshape(-1, 3)
        square = sizes[:, 2]
        return {
            "rows": dict(self.rows),
            "rows_without_objects": self.empty,
            "objects": len(sizes),
            "objects_by_label": {s: {label: n.get(label, 0) for label in labels} for s, n in self.labels.items()},
            "objects_with": dict(self.properties),
            "objects_per_row": _quantiles(np.array(self.counts, float)),
            "quantiles": list(QUANTILES),
            "width": _quantiles(sizes[:, 0]),
            "height": _quantiles(sizes[:, 1]),
            "side_pixels": _quantiles(np.sqrt(square)),
            "small_medium_large": [
                int((square < SMALL).sum()),
                int(((square >= SMALL) & (square < MEDIUM)).sum()),
                int((square >= MEDIUM).sum()),
            ],
            "positions": self.positions.tolist(),
        }


def _cell(share: float) -> int:
    return min(GRID_SIZE - 1, max(0, int(share * GRID_SIZE)))


def _quantiles(values: np.ndarray[Any, np.dtype[np.float64]]) -> list[float]:
    return [round(float(value), 4) for value in np.quantile(values, QUANTILES)] if len(values) else []
