"""Annotations: toolchain.data.annotations, in the pictures image."""

from kfp import dsl

from components.images import PICTURES


@dsl.component(base_image=PICTURES, install_kfp_package=False)
def annotations(
    dataset: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    source: str = "package:deepforest/data",
    digest: str = "",
    format: str = "",
    pictures: str = "",
    labels: list[str] = [],
    rename: dict[str, str] = {},
    keep_splits: bool = True,
    origin: str = "",
    task: str = "",
    missing: str = "fail",
    missing_split: str = "fail",
    unreadable: str = "fail",
    too_large: str = "fail",
    animated: str = "fix",
    same_name: str = "fail",
    repeated_ids: str = "fail",
    wrong_size: str = "fail",
    rotated: str = "fix",
    offsets: str = "fix",
    unknown_label: str = "fail",
    broken_outline: str = "fix",
    swapped: str = "fix",
    outside: str = "fix",
    no_area: str = "drop",
    repeated: str = "drop",
    most_pixels: int = 100_000_000,
    tile: int = 0,
    overlap: int = 64,
    kept_area: float = 0.5,
    empty: bool = True,
):
    """Take pictures and the objects marked in them, in any common format, into a dataset, checked.

    Args:
        dataset: Rows row, picture, image, width, height, objects and about, in one split, "all", or the source's own.
        metrics: pictures (read), rows (written: pictures or tiles), objects and labels.
        source: A folder, package:NAME/FOLDER, or an archive at a path, s3:// or https://.
        digest: SHA-256 that the source must have; "" for any.
        format: voc, yolo, coco, cvat, labelme, via, createml or datumaro:NAME; "": found from the files.
        pictures: Where the pictures are, if apart.
        labels: The classes allowed, in their order, after renaming; [] for those of the source.
        rename: Other names for classes, {"Dead": "Tree"}; several may become one.
        keep_splits: Keep train, validation and test as the source has them.
        origin: How VOC's coordinates count: "positions", "pixels" or "shifted"; "": from evidence.
        task: What YOLO's lines are: "detect", "segment", "obb" or "pose"; "": from evidence.
        missing: What to do when a picture is not there: "fail" or "drop".
        missing_split: When a folder or list of a split is named and is not there: "fail" or "drop" (do without it).
        unreadable: When a file is no picture, or is damaged: "fail" or "drop".
        too_large: When a picture has more than most_pixels: "fail" or "drop".
        animated: When a picture moves: "fix" (keep its first frame), "drop" or "fail".
        same_name: When two pictures have one name: "fail", "fix" (rename) or "drop".
        repeated_ids: When COCO's ids are not unique: "fail", "fix" (the first has it) or "drop".
        wrong_size: When the size in the annotations is not the picture's: "fail", "fix" (scale), "drop" or "keep".
        rotated: When EXIF asks to turn a picture: "fix" (turn it, and its boxes where needed), "drop" or "fail".
        offsets: When VOC's coordinates count from 1: "fix" or "fail".
        unknown_label: When an object's label is not allowed or has no name: "fail" or "drop".
        broken_outline: When an outline or box cannot be read: "fix" (keep the part that can be read), "drop" or "fail".
        swapped: When a box has its corners swapped: "fix", "drop", "fail" or "keep".
        outside: When a box reaches outside its picture: "fix" (clip), "drop", "fail" or "keep".
        no_area: When a box has no area: "drop", "fail" or "keep".
        repeated: When an object is there twice: "drop", "fail" or "keep".
        most_pixels: Of a picture.
        tile: Pixels; larger pictures are cut into squares of this side; 0: they stay whole.
        overlap: Pixels that neighbouring tiles share.
        kept_area: Share of a box that must be in a tile for it to stay there.
        empty: Keep pictures and tiles without an object.
    """
    from pathlib import Path

    from toolchain.data.annotations import Config, run

    result = run(
        Path(dataset.path),
        Config(
            source=source,
            digest=digest,
            format=format,
            pictures=pictures,
            labels=labels,
            rename=rename,
            keep_splits=keep_splits,
            origin=origin,
            task=task,
            missing=missing,
            missing_split=missing_split,
            unreadable=unreadable,
            too_large=too_large,
            animated=animated,
            same_name=same_name,
            repeated_ids=repeated_ids,
            wrong_size=wrong_size,
            rotated=rotated,
            offsets=offsets,
            unknown_label=unknown_label,
            broken_outline=broken_outline,
            swapped=swapped,
            outside=outside,
            no_area=no_area,
            repeated=repeated,
            most_pixels=most_pixels,
            tile=tile,
            overlap=overlap,
            kept_area=kept_area,
            empty=empty,
        ),
    )
    metrics.log_metric("pictures", result.pictures)
    metrics.log_metric("rows", result.rows)
    metrics.log_metric("objects", result.objects)
    metrics.log_metric("labels", result.labels)
