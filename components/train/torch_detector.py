"""Train: toolchain.train.torch_detector, in the train image."""

from kfp import dsl

from components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def torch_detector(
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    base_model: str = "fcos:efficientnet-lite0",
    weights: str = "backbone",
    weights_digest: str = "",
    image_size: int = 384,
    epochs: int = 18,
    batch_size: int = 4,
    learning_rate: float = 1e-3,
    warmup_ratio: float = 0.1,
    weight_decay: float = 0.01,
    max_grad_norm: float = 1.0,
    freeze_stages: int = 2,
    horizontal_flip: float = 0.5,
    score_threshold: float = 0.05,
    nms_threshold: float = 0.5,
    max_detections: int = 300,
    patience: int = 8,
    checkpoint_batches: int = 50,
    gpus: int = 0,
    allow_cpu: bool = False,
    seed: int = 0,
):
    """Train a detector to find the objects in the pictures of dataset.

    Args:
        dataset: Pictures and their objects, in the splits train and validation.
        model: The detector with its preprocessing (PyTorch).
        metrics: validation_accuracy and untrained_accuracy (mAP50), loss, epochs and images_per_second.
        base_model: fcos:efficientnet-lite0, or a single-stage detector of torchvision by its name.
        weights: Empty for none; backbone for ImageNet's; pretrained for COCO's; or a file (path, package:, s3://, https://).
        weights_digest: SHA-256 of the file; empty takes what is there (that of the default is pinned).
        image_size: Pixels of each side of the picture that the detector takes, a multiple of 32.
        epochs: Passes over the training pictures.
        batch_size: Pictures of one step.
        learning_rate: At its peak.
        warmup_ratio: Share of all steps in which the rate rises, 0..1.
        weight_decay: Of matrices.
        max_grad_norm: Longer gradients are cut to this length.
        freeze_stages: Lowest stages of a backbone with given weights that stay as they are.
        horizontal_flip: Share of pictures whose left and right are swapped, 0..1.
        score_threshold: Boxes below are never answered, 0..1.
        nms_threshold: Of two boxes of one class that share more of their union the better stays, 0..1.
        max_detections: Boxes answered for a picture, the best ones.
        patience: Epochs without a better validation accuracy after which training ends.
        checkpoint_batches: Batches between two checkpoints.
        gpus: That must be there, 0 or 1; 0 takes what there is.
        allow_cpu: Whether to go on with the CPU where the GPU asked for is not there.
        seed: Of new layers, the order of pictures, and which are mirrored.
    """
    from pathlib import Path

    from toolchain.train.torch_detector import Config, run

    config = Config(
        base_model=base_model,
        weights=weights,
        weights_digest=weights_digest,
        image_size=image_size,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        warmup_ratio=warmup_ratio,
        weight_decay=weight_decay,
        max_grad_norm=max_grad_norm,
        freeze_stages=freeze_stages,
        horizontal_flip=horizontal_flip,
        score_threshold=score_threshold,
        nms_threshold=nms_threshold,
        max_detections=max_detections,
        patience=patience,
        checkpoint_batches=checkpoint_batches,
        gpus=gpus,
        allow_cpu=allow_cpu,
        seed=seed,
    )
    result = run(Path(dataset.path), Path(model.path), config)
    metrics.log_metric("validation_accuracy", result.validation_accuracy)
    metrics.log_metric("untrained_accuracy", result.untrained_accuracy)
    metrics.log_metric("loss", result.loss)
    metrics.log_metric("epochs", result.epochs)
    metrics.log_metric("images_per_second", result.images_per_second)
