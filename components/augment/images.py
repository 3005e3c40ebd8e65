"""Augment pictures: toolchain.augment.images, in the pictures image."""

from kfp import dsl

from components.images import IMAGE_DATA


@dsl.component(base_image=IMAGE_DATA, install_kfp_package=False)
def images(
    dataset: dsl.Input[dsl.Dataset],
    augmented: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    policy: str = "light",
    copies: int = 1,
    share: float = 0.5,
    size: int = 0,
    mirror_changes_label: bool = False,
    minimum_visibility: float = 0.3,
    most_boxes_lost: float = 0.2,
    seed: int = 0,
    workers: int = 0,
):
    """Change some training pictures so that they show the same, and add the copies; boxes and masks move along.

    Args:
        dataset: Pictures in splits, with classes or objects.
        augmented: The same with copies in the training split, told apart by a column `augmented`.
        metrics: copies, given_up, boxes, boxes_kept.
        policy: light, medium, strong, upright, the path of a YAML file, or YAML.
        copies: Changed copies of each chosen row, 0 to 20.
        share: Share of the training rows that are chosen, 0 to 1.
        size: Side of the copies in pixels; 0 keeps the size of each original.
        mirror_changes_label: Refuse transforms that mirror or turn, as for digits and letters.
        minimum_visibility: Share of a box that must be left in a copy, 0 to 1.
        most_boxes_lost: Share of boxes that a policy may lose before it is warned of.
        seed: The same seed makes the same copies.
        workers: Processes; 0 takes one for each processor.
    """
    from pathlib import Path

    from toolchain.augment.images import Config, run

    config = Config(
        policy=policy,
        copies=copies,
        share=share,
        size=size,
        mirror_changes_label=mirror_changes_label,
        minimum_visibility=minimum_visibility,
        most_boxes_lost=most_boxes_lost,
        seed=seed,
        workers=workers,
    )
    result = run(Path(dataset.path), Path(augmented.path), config)
    metrics.log_metric("copies", result.copies)
    metrics.log_metric("given_up", result.given_up)
    metrics.log_metric("boxes", result.boxes)
    metrics.log_metric("boxes_kept", result.boxes_kept)
