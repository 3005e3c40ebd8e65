"""Component for toolchain.train.torch_detector."""

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
    num_gpus: int = 0,
    allow_cpu: bool = False,
    seed: int = 0,
):
    """Train an object detector on annotated images.

    Args:
        dataset: Images and their objects, in the splits train and validation.
        model: The detector with its preprocessing (PyTorch).
        metrics: validation_accuracy and untrained_accuracy (mAP50), loss, epochs and images_per_second.
        base_model: Detector: fcos:efficientnet-lite0, or a single-stage detector of torchvision by its name.
        weights: Initial weights: backbone (ImageNet), pretrained (COCO), a file at a path, package: or s3://; "":
            random.
        weights_digest: Expected SHA-256 of the weights file; "": not checked (the default's is pinned).
        image_size: Width and height of the input in pixels, a multiple of 32.
        epochs: Number of training epochs.
        batch_size: Batch size; an image holds tens of boxes.
        learning_rate: Peak learning rate of AdamW.
        warmup_ratio: Fraction of steps for the linear learning rate warmup, 0..1; a linear decay to 0 follows.
        weight_decay: Weight decay of matrices.
        max_grad_norm: Maximum gradient norm; larger gradients are clipped.
        freeze_stages: Number of lowest backbone stages to freeze, if the backbone has pretrained weights.
        horizontal_flip: Probability of a horizontal flip; 0 if left and right differ in meaning.
        score_threshold: Minimum score of a predicted box, 0..1.
        nms_threshold: IoU threshold of non-maximum suppression, 0..1.
        max_detections: Maximum number of boxes per image.
        patience: Epochs without a better validation accuracy before training stops.
        checkpoint_batches: Batches between two checkpoints.
        num_gpus: Number of GPUs required, 0 or 1; 0: use one if available.
        allow_cpu: Continue on the CPU if the required GPU is missing.
        seed: Random seed of new layers, the order of images and flips.
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
        num_gpus=num_gpus,
        allow_cpu=allow_cpu,
        seed=seed,
    )
    result = run(Path(dataset.path), Path(model.path), config)
    metrics.log_metric("validation_accuracy", result.validation_accuracy)
    metrics.log_metric("untrained_accuracy", result.untrained_accuracy)
    metrics.log_metric("loss", result.loss)
    metrics.log_metric("epochs", result.epochs)
    metrics.log_metric("images_per_second", result.images_per_second)
