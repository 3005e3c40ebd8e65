"""X → Dataset → X is the identity for what X can hold, whatever X is."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from toolchain.annotations import AnnotatedImage, Annotation, Collection, open_source, write
from toolchain.annotations.conversion import IMAGE_PATHS
from toolchain.annotations.masks import box_of, to_text
from toolchain.annotations.rows import read as read_rows
from toolchain.annotations.types import bounding_box
from toolchain.artifacts.dataset import open_dataset
from toolchain.data.annotations import Config, run

LABELS = ("car", "traffic light", "Fußgänger <&> \"x'")
SPLITS = ("train", "validation", "test")
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=8)
STEMS = st.lists(
    # no blank comes first, nor stands alone before a last 1: VOC's lists of names mean something else by both; nor does
    # a dot come first, which hides a file
    st.from_regex(r"[a-zA-Z0-9ä-]([a-zA-Z0-9ä_ .-]{0,5}[a-zA-Z0-9])?", fullmatch=True).filter(
        lambda stem: stem not in (".", "-") and not stem.startswith("._") and not stem.endswith((" 1", " -1"))
    ),
    min_size=1,
    max_size=3,
    unique_by=str.lower,
)
ACTIONS = dict.fromkeys(("swapped_corners", "out_of_bounds", "zero_area", "duplicate_object"), "keep")
FEW = settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])


def numbers(low: float, high: float, whole: bool) -> "st.SearchStrategy[float]":
    return st.integers(int(low), int(high)).map(float) if whole else st.floats(low, high, allow_subnormal=False)


@st.composite
def boxes(draw: Any, width: int, height: int, whole: bool = True) -> tuple[float, float, float, float]:
    left, top = draw(numbers(0, width - 1, whole)), draw(numbers(0, height - 1, whole))
    return left, top, draw(numbers(left + 1, width, whole)), draw(numbers(top + 1, height, whole))


@st.composite
def polygons(draw: Any, width: int, height: int, points: int | None = None) -> tuple[float, ...]:
    count = points or draw(st.integers(3, 6).filter(lambda n: n != 4))
    return tuple(draw(st.integers(0, (width, height)[axis])) + 0.25 for _ in range(count) for axis in (0, 1))


@st.composite
def masks(draw: Any, width: int, height: int) -> str:
    """Run lengths of a mask that is not empty."""
    first = draw(st.integers(0, width * height - 1))
    length = draw(st.integers(1, width * height - first))
    return to_text(
        [first, length, width * height - first - length] if first + length < width * height else [first, length]
    )


@st.composite
def keypoints(draw: Any, width: int, height: int) -> tuple[float, ...]:
    """Three points, some of which are not marked."""
    marked = st.tuples(st.integers(0, width), st.integers(0, height), st.sampled_from([1.0, 2.0]))
    points = draw(st.lists(marked | st.just((0.0, 0.0, 0.0)), min_size=3, max_size=3))
    return tuple(float(value) for point in points for value in point)


@st.composite
def annotations(draw: Any, format_: str, task: str, width: int, height: int) -> Annotation:
    flags = {flag: draw(st.booleans()) for flag in ("difficult", "truncated", "occluded")} if format_ != "yolo" else {}
    label, box = draw(st.sampled_from(LABELS)), draw(boxes(width, height, draw(st.booleans()) or format_ == "voc"))
    attributes = draw(st.dictionaries(TEXT.filter(lambda t: t[0] != "@" and t not in flags), TEXT, max_size=2))
    if format_ == "coco":
        attributes |= draw(st.dictionaries(st.sampled_from(["n", "list"]), st.integers() | st.lists(st.integers())))
    annotation: dict[str, Any] = {"label": label, "box": box, **flags}
    annotation |= {"attributes": attributes} if format_ != "yolo" else {}
    shape = draw(st.sampled_from(["box", *shapes_of(format_, task)]))
    if shape == "polygon" or task == "segment":
        count = draw(st.integers(1, 3)) if format_ == "coco" else 1
        annotation["polygons"] = tuple(draw(polygons(width, height)) for _ in range(count))
        annotation["box"] = bounding_box(annotation["polygons"])
    elif shape == "mask":
        annotation |= {"mask": (mask := draw(masks(width, height))), "box": box_of(mask, width, height)}
        annotation["crowd"] = draw(st.booleans()) if format_ == "coco" else False
    elif shape == "turned":
        annotation["rotation"] = draw(st.integers(-180, 179)) + 0.5
    elif shape == "posed" or task == "pose":
        annotation["keypoints"] = draw(keypoints(width, height))
    return Annotation(**annotation)


def shapes_of(format_: str, task: str) -> list[str]:
    kinds = {"coco": ["polygon", "mask", "turned", "posed"], "cvat": ["polygon", "mask", "turned"], "obb": ["turned"]}
    return kinds.get(format_ if format_ != "yolo" else task, [])


@st.composite
def collections(draw: Any, format_: str, task: str = "") -> list[AnnotatedImage]:
    is_split = draw(st.booleans())
    found = []
    for stem in draw(STEMS):
        width, height = draw(st.integers(8, 40)), draw(st.integers(8, 40))
        folder = draw(st.sampled_from(["", "sub folder/"]))
        found.append(
            AnnotatedImage(
                name=f"{folder}{stem}.png",
                file=None,
                width=width,
                height=height,
                split=draw(st.sampled_from(SPLITS)) if is_split else "all",
                annotations=tuple(draw(st.lists(annotations(format_, task, width, height), max_size=4))),
            )
        )
    if is_split and not any(image.split == "train" for image in found):
        return [*found, AnnotatedImage(name="first.png", file=None, width=8, height=8, split="train")]
    return found


def written(folder: Path, images: list[AnnotatedImage], metadata: Any, format_: str, task: str) -> Path:
    """Write ``images`` to ``folder`` with their files."""

    def each() -> Iterator[AnnotatedImage]:
        yield from images

    write(folder, Collection(format=format_, labels=LABELS, images=each, metadata=metadata), each(), format_, task)
    for image in images:
        file = folder / IMAGE_PATHS[format_](image)
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (image.width, image.height)).save(file)
    return folder


def bare(images: Iterator[AnnotatedImage] | list[AnnotatedImage]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return all that images say, without where their files are, by split and name."""
    kept = ("width", "height", "annotations", "metadata")
    return {(p.split, p.name): {name: getattr(p, name) for name in kept} for p in images}


def close(one: Any, other: Any, image: AnnotatedImage) -> bool:
    """Return whether two annotations are the same up to 1e-6 of the image."""
    near = {
        "box": image.width + image.height,
        "keypoints": image.width + image.height,
        "polygons": image.width + image.height,
        "rotation": 1e3,
    }
    for name in ("label", "attributes", "mask", "crowd", "difficult", "truncated", "occluded"):
        if getattr(one, name) != getattr(other, name):
            return False
    for name, size in near.items():
        if pytest.approx(flat(getattr(one, name)), abs=1e-6 * size) != flat(getattr(other, name)):
            return False
    return True


def flat(value: Any) -> list[float]:
    return [v for part in value for v in flat(part)] if isinstance(value, tuple) else [value]


def around(images: list[AnnotatedImage], format_: str, task: str = "") -> None:
    """Check that the files of ``images`` say what these say, and say it again after a Dataset."""
    with tempfile.TemporaryDirectory() as folder:
        one, dataset, two = (Path(folder) / name for name in ("one", "dataset", "two"))
        first = open_source(written(one, images, {}, format_, task))
        assert first.format == format_
        run(dataset, Config(source=str(one), **ACTIONS))
        between = read_rows(open_dataset(dataset))
        second = open_source(written(two, list(between.images()), between.metadata, format_, task))
        assert first.labels == between.labels == second.labels == LABELS
        exactly = bare(first.images())
        if format_ == "yolo":
            agree(list(first.images()), list(between.images()))
            agree(list(first.images()), list(second.images()))
        else:
            assert exactly == bare(between.images())
            assert exactly == bare(second.images())
        agree(images, [without_formats(p) for p in first.images()])


def agree(some: list[AnnotatedImage], others: list[AnnotatedImage]) -> None:
    found = {(p.split, p.name): p for p in others}
    assert {(p.split, p.name) for p in some} == set(found)
    for image in some:
        other = found[image.split, image.name]
        assert (image.width, image.height) == (other.width, other.height)
        assert len(image.annotations) == len(other.annotations)
        for pair in zip(image.annotations, other.annotations, strict=True):
            assert close(*pair, image), pair


def without_formats(image: AnnotatedImage) -> AnnotatedImage:
    from dataclasses import replace

    plain = [
        replace(t, attributes={k: v for k, v in t.attributes.items() if not k.startswith("@")})
        for t in image.annotations
    ]
    return replace(image, annotations=tuple(plain))


@FEW
@given(collections("voc"))
def test_voc_round_trip(images: list[AnnotatedImage]):
    around(images, "voc")


@FEW
@given(collections("coco"))
def test_coco_round_trip(images: list[AnnotatedImage]):
    around(images, "coco")


@FEW
@given(collections("cvat"))
def test_cvat_round_trip(images: list[AnnotatedImage]):
    around(images, "cvat")


@FEW
@given(collections("yolo", "detect"))
def test_yolo_box_round_trip(images: list[AnnotatedImage]):
    around(images, "yolo", "detect")


@FEW
@given(collections("yolo", "segment"))
def test_yolo_polygon_round_trip(images: list[AnnotatedImage]):
    around(images, "yolo", "segment")


@FEW
@given(collections("yolo", "obb"))
def test_yolo_oriented_box_round_trip(images: list[AnnotatedImage]):
    around(images, "yolo", "obb")


@FEW
@given(collections("yolo", "pose"))
def test_yolo_keypoint_round_trip(images: list[AnnotatedImage]):
    around(images, "yolo", "pose")
