"""Component for toolchain.optimize.prune."""

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
    num_gpus: int = 0,
    allow_cpu: bool = False,
    seed: int = 0,
):
    """Prune a model, and train the pruned model on the predictions of the original (distillation).

    Args:
        model: A text or image classifier (PyTorch).
        dataset: Rows for distillation (train) and for measuring accuracy (validation).
        pruned: The pruned model; with the method "none" the model itself.
        metrics: sparsity, speedup, accuracy_before, accuracy_pruned and accuracy_after.
        method: Pruning method: structured (removes heads, neurons, channels), unstructured (zeroes weights, texts only)
            or none.
        unprunable: Action if the model cannot be pruned: fail, or skip (continue with the original).
        heads_to_keep: Fraction of each layer's attention heads to keep, for texts (Michel et al. 2019 remove half).
        neurons_to_keep: Fraction of each layer's feed-forward neurons to keep, for texts; 0.34: 512 of 1536.
        channels_to_keep: Fraction of each layer's channels to keep, for images; 0.5 leaves a quarter of the operations.
        sparsity: Fraction of weights to zero, for the unstructured method.
        importance_batches: Number of batches to measure importance on (for images: to recompute batch normalization).
        epochs: Number of epochs in which the pruned model learns from the original (distillation); 0: none.
        batch_size: Batch size.
        learning_rate: Peak learning rate of distillation; higher than for fine-tuning, because a pruned model is far
            from its optimum.
        distillation_weight: Weight of the teacher's predictions in the loss, 0..1; the labels have the rest.
        temperature: Softmax temperature of distillation.
        feature_loss_weight: Weight of matching the teacher's first token after each layer, for texts; 0: predictions
            only.
        num_gpus: Number of GPUs required, 0 or 1; 0: use one if available.
        allow_cpu: Continue on the CPU if the required GPU is missing.
        seed: Random seed of the order of rows and of dropout.
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
        num_gpus=num_gpus,
        allow_cpu=allow_cpu,
        seed=seed,
    )
    result = run(Path(model.path), Path(dataset.path), Path(pruned.path), config)
    metrics.log_metric("sparsity", result.sparsity)
    metrics.log_metric("speedup", result.speedup)
    metrics.log_metric("accuracy_before", result.accuracy_before)
    metrics.log_metric("accuracy_pruned", result.accuracy_pruned)
    metrics.log_metric("accuracy_after", result.accuracy_after)
