"""Train: toolchain.train.torch_image, in the train image."""

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
    gpus: int = 0,
    allow_cpu: bool = False,
    seed: int = 0,
):
    """Train a network that tells what the pictures of dataset show.

    Args:
        dataset: Pictures and labels, in the splits train and validation.
        model: The trained network, its normalisation included (PyTorch).
        metrics: validation_accuracy, loss, epochs and images_per_second.
        base_model: The architecture: cnn, linear, efficientnet-lite0, torchvision:NAME or timm:NAME.
        weights: To begin from: empty for random ones, "pretrained", or a file (a path, package:NAME/FILE, s3://, https://).
        weights_digest: SHA-256 of that file; empty takes what is there (that of efficientnet-lite0 is pinned).
        height: Pixels that pictures are brought to; 0: their own when all are alike, 224 otherwise.
        width: Likewise.
        channels: 1 (grey) or 3 (colours); 0: as the pictures are.
        epochs: Passes over the training rows.
        batch_size: Pictures of one step.
        learning_rate: At its peak.
        weight_decay: Of matrices and kernels.
        warmup_ratio: Share of all steps in which the rate rises, 0..1.
        max_grad_norm: Longer gradients are cut to this length.
        label_smoothing: Share of a label that is spread over all classes, 0..1.
        class_weights: "none", or "balanced": rows of rare classes count more.
        mixup: Strength of blending pictures; 0 none, usual 0.2.
        cutmix: Strength of pasting parts of pictures; 0 none, usual 1.0.
        horizontal_flip: Whether half of the pictures are turned left to right; never for digits and letters.
        ema_decay: Decay of a moving average of the weights, which is then kept; 0 none, usual 0.999.
        freeze_backbone_epochs: First epochs in which the head alone learns.
        patience: Epochs without a better validation accuracy after which training ends.
        torch_compile: Whether torch.compile makes the network faster, which pays on a GPU.
        checkpoint_batches: Batches between two checkpoints.
        gpus: That must be there, 0 or 1; 0 takes what there is.
        allow_cpu: Whether to go on with the CPU where the GPU asked for is not there.
        seed: Of the first weights, the order of rows, mixing and dropout.
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
        gpus=gpus,
        allow_cpu=allow_cpu,
        seed=seed,
    )
    result = run(Path(dataset.path), Path(model.path), config)
    metrics.log_metric("validation_accuracy", result.validation_accuracy)
    metrics.log_metric("loss", result.loss)
    metrics.log_metric("epochs", result.epochs)
    metrics.log_metric("images_per_second", result.images_per_second)
