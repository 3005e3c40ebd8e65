"""Component for toolchain.train.torch_image."""

from kfp import dsl

from components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def torch_image(
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    base_model: str = "cnn",
    weights: str = "",
    weights_digest: str = "",
    height: int = 0,
    width: int = 0,
    channels: int = 0,
    epochs: int = 5,
    batch_size: int = 128,
    learning_rate: float = 3e-3,
    weight_decay: float = 0.01,
    warmup_ratio: float = 0.2,
    max_grad_norm: float = 1.0,
    label_smoothing: float = 0.0,
    class_weights: str = "none",
    mixup: float = 0.0,
    cutmix: float = 0.0,
    horizontal_flip: bool = False,
    ema_decay: float = 0.0,
    freeze_backbone_epochs: int = 0,
    patience: int = 3,
    torch_compile: bool = False,
    checkpoint_batches: int = 200,
    num_gpus: int = 0,
    allow_cpu: bool = False,
    seed: int = 0,
):
    """Train an image classifier.

    Args:
        dataset: Images and their classes, in the splits train and validation.
        model: The trained network, normalization included (PyTorch).
        metrics: validation_accuracy, loss, epochs and images_per_second.
        base_model: Architecture: cnn, linear, efficientnet-lite0, torchvision:NAME or timm:NAME.
        weights: Initial weights: pretrained, or a file at a path, package:NAME/FILE, s3:// or https://; "": random.
        weights_digest: Expected SHA-256 of the weights file; "": not checked (efficientnet-lite0's is pinned).
        height: Height of the input in pixels; 0: that of the images if all are equal, else 224.
        width: Width of the input in pixels; 0: that of the images if all are equal, else 224.
        channels: Channels of the input: 1 (gray) or 3 (color); 0: those of the images.
        epochs: Number of training epochs.
        batch_size: Batch size, 2 or more because of batch normalization.
        learning_rate: Peak learning rate; use 1e-3 or less for pretrained weights that are not frozen.
        weight_decay: Weight decay of matrices and kernels.
        warmup_ratio: Fraction of steps for the linear learning rate warmup, 0..1; a cosine decay to 0 follows.
        max_grad_norm: Maximum gradient norm; larger gradients are clipped.
        label_smoothing: Label smoothing, 0..1.
        class_weights: Class weights of the loss: none, or balanced (inversely proportional to class frequencies).
        mixup: Alpha of mixup, the parameter of its Beta distribution; 0: off, 0.2 is usual.
        cutmix: Alpha of CutMix, the parameter of its Beta distribution; 0: off, 1.0 is usual.
        horizontal_flip: Flip half of the images horizontally; not for digits, letters or sides of a body.
        ema_decay: Decay of an exponential moving average of the weights, which is then saved; 0: off, 0.999 is usual.
        freeze_backbone_epochs: Number of first epochs that train only the head.
        patience: Epochs without a better validation accuracy before training stops.
        torch_compile: Compile the network with torch.compile; saves time on a GPU after some minutes.
        checkpoint_batches: Batches between two checkpoints.
        num_gpus: Number of GPUs required, 0 or 1; 0: use one if available.
        allow_cpu: Continue on the CPU if the required GPU is missing.
        seed: Random seed of the initial weights, the order of rows, mixing and dropout.
    """
    from pathlib import Path

    from toolchain.train.torch_image import Config, run

    config = Config(
        base_model=base_model,
        weights=weights,
        weights_digest=weights_digest,
        height=height,
        width=width,
        channels=channels,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        warmup_ratio=warmup_ratio,
        max_grad_norm=max_grad_norm,
        label_smoothing=label_smoothing,
        class_weights=class_weights,
        mixup=mixup,
        cutmix=cutmix,
        horizontal_flip=horizontal_flip,
        ema_decay=ema_decay,
        freeze_backbone_epochs=freeze_backbone_epochs,
        patience=patience,
        torch_compile=torch_compile,
        checkpoint_batches=checkpoint_batches,
        num_gpus=num_gpus,
        allow_cpu=allow_cpu,
        seed=seed,
    )
    result = run(Path(dataset.path), Path(model.path), config)
    metrics.log_metric("validation_accuracy", result.validation_accuracy)
    metrics.log_metric("loss", result.loss)
    metrics.log_metric("epochs", result.epochs)
    metrics.log_metric("images_per_second", result.images_per_second)
