"""Prune: toolchain.optimize.prune, in the training image."""

from kfp import dsl

from components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def prune(
    model: dsl.Input[dsl.Model],
    dataset: dsl.Input[dsl.Dataset],
    pruned: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    method: str = "structured",
    unprunable: str = "fail",
    heads_to_keep: float = 0.5,
    neurons_to_keep: float = 0.34,
    channels_to_keep: float = 0.5,
    sparsity: float = 0.5,
    importance_batches: int = 40,
    epochs: int = 2,
    batch_size: int = 32,
    learning_rate: float = 5e-4,
    distillation_weight: float = 0.7,
    temperature: float = 2.0,
    feature_loss_weight: float = 1.0,
    gpus: int = 0,
    allow_cpu: bool = False,
    seed: int = 0,
):
    """Make model smaller, and let it learn again from the model that it was cut from.

    Args:
        model: A classifier of texts or pictures in PyTorch.
        dataset: Its training split teaches the recovery, its validation split judges it.
        pruned: The smaller model; with the method "none" the model itself.
        metrics: sparsity, speedup, accuracy_before, accuracy_pruned and accuracy_after.
        method: "structured" removes whole parts, "unstructured" zeroes weights (texts only), "none" does nothing.
        unprunable: What happens to a model that the method cannot prune: "fail", or "skip" to go on without pruning.
        heads_to_keep: Share of each layer's attention heads, for texts.
        neurons_to_keep: Share of each layer's feed-forward neurons, for texts.
        channels_to_keep: Share of each layer's channels, for pictures.
        sparsity: Share of the layers' weights that are zeroed, for the unstructured method.
        importance_batches: Batches that importance is measured on; for pictures, normalisation after the cut.
        epochs: Of recovery over the training rows.
        batch_size: Rows of one step.
        learning_rate: The largest.
        distillation_weight: Share of the loss that is the teacher's answers; the labels have the rest.
        temperature: Of the answers that are compared.
        feature_loss_weight: Weight of repeating the teacher's first token after each layer, for texts.
        gpus: That must be there, 0 or 1; 0 takes what there is.
        allow_cpu: Whether to go on with the CPU where the GPU asked for is not there.
        seed: Of the order of rows.
    """
    from pathlib import Path

    from toolchain.optimize.prune import Config, run

    config = Config(
        method=method,
        unprunable=unprunable,
        heads_to_keep=heads_to_keep,
        neurons_to_keep=neurons_to_keep,
        channels_to_keep=channels_to_keep,
        sparsity=sparsity,
        importance_batches=importance_batches,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        distillation_weight=distillation_weight,
        temperature=temperature,
        feature_loss_weight=feature_loss_weight,
        gpus=gpus,
        allow_cpu=allow_cpu,
        seed=seed,
    )
    result = run(Path(model.path), Path(dataset.path), Path(pruned.path), config)
    metrics.log_metric("sparsity", result.sparsity)
    metrics.log_metric("speedup", result.speedup)
    metrics.log_metric("accuracy_before", result.accuracy_before)
    metrics.log_metric("accuracy_pruned", result.accuracy_pruned)
    metrics.log_metric("accuracy_after", result.accuracy_after)
