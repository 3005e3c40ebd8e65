"""Annotations: toolchain.data.annotations, in the pictures image."""

from kfp import dsl

from components.images import IMAGE_DATA


@dsl.component(base_image=IMAGE_DATA, install_kfp_package=False)
def annotations(
    dataset: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    source: str = "package:deepforest/data",
    digest: str = "",
    format: str = "",
    images: str = "",
    labels: list[str] = [],
    rename: dict[str, str] = {},
    keep_splits: bool = True,
    origin: str = "",
    task: str = "",
    missing_image: str = "fail",
    missing_split: str = "fail",
    unreadable_image: str = "fail",
    oversized_image: str = "fail",
    animated_image: str = "fix",
    duplicate_name: str = "fail",
    duplicate_ids: str = "fail",
    size_mismatch: str = "fail",
    exif_rotation: str = "fix",
    one_based_coordinates: str = "fix",
    unknown_label: str = "fail",
    invalid_shape: str = "fix",
    swapped_corners: str = "fix",
    out_of_bounds: str = "fix",
    zero_area: str = "drop",
    duplicate_object: str = "drop",
    max_pixels: int = 100_000_000,
    tile_size: int = 0,
    tile_overlap: int = 64,
    tile_min_visibility: float = 0.5,
    keep_empty: bool = True,
):
    """Take pictures and the objects marked in them, in any common format, into a dataset, checked.

    Args:
        dataset: Columns row, source_image, image, width, height, objects and metadata; in split "all" or the
            source's splits.
        metrics: images (read), rows (written: pictures or tiles), objects and labels.
        source: A folder, package:NAME/FOLDER, or an archive at a path, s3:// or https://.
        digest: SHA-256 that the source must have; "" for any.
        format: voc, yolo, coco, cvat, labelme, via, createml or datumaro:NAME; "": found from the files.
        images: Where the images are, if they are not with the annotations.
        labels: The classes allowed, in their order, after renaming; [] for those of the source.
        rename: Other names for classes, {"Dead": "Tree"}; several may become one.
        keep_splits: Keep train, validation and test as the source has them.
        origin: How VOC's coordinates count: "zero_based", "one_based" or "shifted"; "": from evidence.
        task: What YOLO's lines are: "detect", "segment", "obb" or "pose"; "": from evidence.
        missing_image: What to do when a picture is not there: "fail" or "drop".
        missing_split: When a folder or list of a split is named and is not there: "fail" or "drop" (do without it).
        unreadable_image: When a file is no picture, or is damaged: "fail" or "drop".
        oversized_image: When a picture has more than max_pixels: "fail" or "drop".
        animated_image: When a picture moves: "fix" (keep its first frame), "drop" or "fail".
        duplicate_name: When two pictures have one name: "fail", "fix" (rename) or "drop".
        duplicate_ids: When COCO's ids are not unique: "fail", "fix" (the first has it) or "drop".
        size_mismatch: When the size in the annotations is not the picture's: "fail", "fix" (scale), "drop" or "keep".
        exif_rotation: When EXIF asks to turn a picture: "fix" (turn it, and its boxes where needed), "drop" or "fail".
        one_based_coordinates: When VOC's coordinates count from 1: "fix" or "fail".
        unknown_label: When an object's label is not allowed or has no name: "fail" or "drop".
        invalid_shape: When an outline or box cannot be read: "fix" (keep the part that can be read), "drop" or "fail".
        swapped_corners: When a box has its corners swapped: "fix", "drop", "fail" or "keep".
        out_of_bounds: When a box reaches outside its picture: "fix" (clip), "drop", "fail" or "keep".
        zero_area: When a box has no area: "drop", "fail" or "keep".
        duplicate_object: When an object is there twice: "drop", "fail" or "keep".
        max_pixels: Of a picture.
        tile_size: Pixels; larger pictures are cut into squares of this side; 0: they stay whole.
        tile_overlap: Pixels that neighbouring tiles share.
        tile_min_visibility: Share of a box that must be in a tile for it to stay there.
        keep_empty: Keep pictures and tiles without an object.
    """
    from pathlib import Path

    from toolchain.data.annotations import Config, run

    result = run(
        Path(dataset.path),
        Config(
            source=source,
            digest=digest,
            format=format,
            images=images,
            labels=labels,
            rename=rename,
            keep_splits=keep_splits,
            origin=origin,
            task=task,
            missing_image=missing_image,
            missing_split=missing_split,
            unreadable_image=unreadable_image,
            oversized_image=oversized_image,
            animated_image=animated_image,
            duplicate_name=duplicate_name,
            duplicate_ids=duplicate_ids,
            size_mismatch=size_mismatch,
            exif_rotation=exif_rotation,
            one_based_coordinates=one_based_coordinates,
            unknown_label=unknown_label,
            invalid_shape=invalid_shape,
            swapped_corners=swapped_corners,
            out_of_bounds=out_of_bounds,
            zero_area=zero_area,
            duplicate_object=duplicate_object,
            max_pixels=max_pixels,
            tile_size=tile_size,
            tile_overlap=tile_overlap,
            tile_min_visibility=tile_min_visibility,
            keep_empty=keep_empty,
        ),
    )
    metrics.log_metric("images", result.images)
    metrics.log_metric("rows", result.rows)
    metrics.log_metric("objects", result.objects)
    metrics.log_metric("labels", result.labels)
