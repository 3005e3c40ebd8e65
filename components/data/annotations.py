"""Annotations: toolchain.data.annotations."""

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
    """Read annotated images in any common format, check them, and write them to a dataset.

    Args:
        dataset: Columns row, source_image, image, width, height, objects and metadata; in split "all" or the
            source's splits.
        metrics: images (read), rows (written: images or tiles), objects and labels.
        source: A folder, package:NAME/FOLDER, or an archive at a path, s3:// or https://.
        digest: Expected SHA-256 of the source; empty: any.
        format: voc, yolo, coco, cvat, labelme, via, createml or datumaro:NAME; empty: detected from the files.
        images: Location of the images, if they are not with the annotations.
        labels: The allowed classes, in their order, after renaming; empty: those of the source.
        rename: New names of labels, {"Dead": "Tree"}; several may become one.
        keep_splits: Keep the source's train, validation and test splits.
        origin: Coordinate convention of VOC boxes: zero_based, one_based or shifted; empty: detected.
        task: Task of YOLO's lines: detect, segment, obb or pose; empty: detected.
        missing_image: If an image file does not exist: fail or drop.
        missing_split: If a folder or list of a split does not exist: fail or drop (continue without it).
        unreadable_image: If a file is not an image, or is damaged: fail or drop.
        oversized_image: If an image has more than max_pixels: fail or drop.
        animated_image: If an image is animated: fix (keep the first frame), drop or fail.
        duplicate_name: If two images have the same name: fail, fix (rename the second one) or drop.
        duplicate_ids: If COCO ids are not unique: fail, fix (annotations go to the first image) or drop.
        size_mismatch: If the annotated size differs from the image's: fail, fix (scale the boxes), drop or keep.
        exif_rotation: If an image has an EXIF rotation: fix (store it upright, with its boxes), drop or fail.
        one_based_coordinates: If VOC coordinates start at 1: fix (convert them) or fail.
        unknown_label: If a label is not in labels, or a class number has no name: fail or drop.
        invalid_shape: If a polygon, mask or box cannot be read: fix (keep the valid parts), drop or fail.
        swapped_corners: If a box has swapped corners: fix, drop, fail or keep.
        out_of_bounds: If a box reaches outside its image: fix (clip it), drop, fail or keep.
        zero_area: If a box has no area: drop, fail or keep.
        duplicate_object: If an object is given twice: drop, fail or keep.
        max_pixels: Maximum pixels of an image; larger ones are oversized_image.
        tile_size: Pixels; larger images are cut into square tiles of this side; 0: they are not cut.
        tile_overlap: Pixels that neighboring tiles share.
        tile_min_visibility: Share of a box's area that a tile needs to keep the object.
        keep_empty: Keep images and tiles without objects.
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
