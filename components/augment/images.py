"""Component for toolchain.augment.images."""

from kfp import dsl

from components.images import IMAGE_DATA


@dsl.component(base_image=IMAGE_DATA, install_kfp_package=False)
def images(
    dataset: dsl.Input[dsl.Dataset],
    augmented: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    policy: str = "light",
    copies: int = 1,
    fraction: float = 0.5,
    size: int = 0,
    flip_changes_label: bool = False,
    min_visibility: float = 0.3,
    max_boxes_lost: float = 0.2,
    seed: int = 0,
    workers: int = 0,
):
    """Add augmented copies of some training images; boxes, polygons and masks are transformed with them.

    Args:
        dataset: Images in splits, with classes or objects.
        augmented: The dataset with copies in the training split, marked by a column `augmented`.
        metrics: copies, skipped, boxes, boxes_kept.
        policy: Augmentation policy: light, medium, strong, upright, the path of a YAML file, or YAML.
        copies: Augmented copies of each selected row, 0..20; 0: the dataset is unchanged.
        fraction: Fraction of the training rows to augment, 0..1; a copy costs as much training time as a row.
        size: Width and height of the copies in pixels; 0: the original size.
        flip_changes_label: Reject policies that flip or rotate, as for digits, letters and signs.
        min_visibility: Minimum fraction of a box that a copy must keep, 0..1; otherwise the object is dropped.
        max_boxes_lost: Maximum fraction of boxes that a policy may drop without a warning, 0..1.
        seed: Random seed; the copies do not depend on the number of workers.
        workers: Number of processes; 0: one per CPU core.
    """
    from pathlib import Path

    from toolchain.augment.images import Config, run

    config = Config(
        policy=policy,
        copies=copies,
        fraction=fraction,
        size=size,
        flip_changes_label=flip_changes_label,
        min_visibility=min_visibility,
        max_boxes_lost=max_boxes_lost,
        seed=seed,
        workers=workers,
    )
    result = run(Path(dataset.path), Path(augmented.path), config)
    metrics.log_metric("copies", result.copies)
    metrics.log_metric("skipped", result.skipped)
    metrics.log_metric("boxes", result.boxes)
    metrics.log_metric("boxes_kept", result.boxes_kept)
