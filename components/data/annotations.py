"""Component for toolchain.data.annotations."""

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
        dataset: Columns row, source_image, image, width, height, objects and metadata; in split "all" or the source's
            splits.
        metrics: images (read), rows (written: images or tiles), objects and labels.
        source: Annotated images: a folder, package:NAME/FOLDER, or an archive at a path, s3:// or https://.
        digest: Expected SHA-256 of the source, 64 hexadecimal digits; "": not checked.
        format: Annotation format: voc, yolo, coco, cvat, labelme, via, createml or datumaro:NAME; "": detected.
        images: Location of the images, if they are not with the annotations; given like source.
        labels: Allowed labels, in the order of their class indices; []: those of the source.
        rename: New names of labels, {"Dead": "Tree"}; several labels may get the same name.
        keep_splits: Keep the source's train, validation and test splits; false: all rows in one split.
        origin: Origin of VOC coordinates: zero_based, one_based or shifted; "": detected.
        task: Task of YOLO annotations: detect, segment, obb or pose; "": detected.
        missing_image: Action if an image file does not exist: fail or drop.
        missing_split: Action if a folder or list of a split does not exist: fail or drop (continue without it).
        unreadable_image: Action if a file is not an image, or is damaged: fail or drop.
        oversized_image: Action if an image has more than max_pixels: fail or drop.
        animated_image: Action if an image is animated: fix (keep the first frame), drop or fail.
        duplicate_name: Action if two images have the same name: fail, fix (rename the second) or drop.
        duplicate_ids: Action if COCO ids are not unique: fail, fix (use the first image of an id) or drop.
        size_mismatch: Action if the annotated size differs from the image's: fail, fix (scale the boxes), drop or keep.
        exif_rotation: Action if an image has an EXIF rotation: fix (store it upright, with its boxes), drop or fail.
        one_based_coordinates: Action if VOC coordinates start at 1: fix (convert them to start at 0) or fail.
        unknown_label: Action if a label is not in labels, or a class index has no name: fail or drop.
        invalid_shape: Action if a polygon, mask or box cannot be read: fix (keep the valid parts), drop or fail.
        swapped_corners: Action if a box has swapped corners: fix (put them in order), drop, fail or keep.
        out_of_bounds: Action if a box reaches outside its image: fix (clip it), drop, fail or keep.
        zero_area: Action if a box has no area inside its image: drop, fail or keep.
        duplicate_object: Action if an object is given twice: drop (keep the first), fail or keep.
        max_pixels: Maximum number of pixels of an image; 100 million take 300 MB when decoded.
        tile_size: Side of the square tiles that larger images are cut into, in pixels; 0: images are not cut.
        tile_overlap: Overlap of tiles in pixels: smaller objects are whole in a tile. Needs a group_column.
        tile_min_visibility: Minimum fraction of a box's area that a tile needs to keep the (clipped) object.
        keep_empty: Keep images and tiles without objects: a detector learns the background from them.
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
