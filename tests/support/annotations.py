"""Annotated images, to convert and to check."""

from typing import Any

from toolchain.annotations import AnnotatedImage, Annotation, Collection, Finding

BOX = (1.0, 2.0, 11.0, 12.0)
POLYGON = (1.0, 2.0, 11.0, 2.0, 11.0, 12.0)


def collection(*images: AnnotatedImage, labels: tuple[str, ...] = ("dog", "cat"), **parts: Any) -> Collection:
    return Collection(**{"format": "test", "labels": labels, "images": lambda: iter(images), **parts})


def image(*annotations: Annotation, **parts: Any) -> AnnotatedImage:
    return AnnotatedImage(
        **{"name": "a.png", "file": None, "width": 40, "height": 30, "annotations": annotations, **parts}
    )


def annotation(**parts: Any) -> Annotation:
    return Annotation(**{"label": "dog", "box": BOX, **parts})


def counts(findings: tuple[Finding, ...]) -> dict[str, int]:
    return {finding.rule: finding.count for finding in findings}
