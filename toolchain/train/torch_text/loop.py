"""Text batches, loss and metric for the training loop: rows of similar length, cross-entropy, accuracy."""

from typing import TYPE_CHECKING, Any

from toolchain.frameworks.length_batches import batches_by_length
from toolchain.frameworks.torch.device import TrainingDevice
from toolchain.frameworks.torch.loop import BatchLoss, Learner, adamw
from toolchain.frameworks.torch.token_dataset import TokenDataset
from toolchain.frameworks.training_state import Scores, epoch_seed
from toolchain.progress import track

if TYPE_CHECKING:
    from toolchain.train.torch_text import Config

VALIDATION_FACTOR = 4  # validation rows at once for each row of a training batch: no gradients are held


def text_learner(
    model: Any, training: TokenDataset, validation: TokenDataset, config: "Config", device: TrainingDevice
) -> Learner:
    """Return the learner of ``model``, a sequence classifier of Transformers, for the training loop."""
    from torch.nn.functional import cross_entropy

    model.to(device.device)
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    parallel = device.parallel(model)
    lengths = training.lengths

    def batches(epoch: int) -> list[list[int]]:
        model.train()
        return training.shuffled(config.batch_size, epoch_seed(config.seed, epoch))

    def loss(batch: list[int], step: int) -> BatchLoss:
        """Return this process's part of the mean loss over all rows of ``batch``."""
        shard = device.shard(batch)
        rows = training.batch(shard or batch[:1], device.device)
        with device.autocast():
            total = cross_entropy(parallel(**rows.inputs).logits.float(), rows.labels, reduction="sum") * bool(shard)
        return BatchLoss(total / len(batch), len(batch), int(lengths[batch].sum()))

    return Learner(
        model=model,
        trained=trained,
        optimizer=adamw(trained, config.learning_rate, config.weight_decay),
        batches=batches,
        batches_per_epoch=training.count_batches(config.batch_size),
        loss=loss,
        validate=lambda: validate(model, validation, config.batch_size * VALIDATION_FACTOR, device),
        unit="tokens",
    )


def validate(model: Any, validation: TokenDataset, batch_size: int, device: TrainingDevice) -> Scores:
    """Return the accuracy and the mean cross-entropy of ``model`` over all processes' rows."""
    import torch
    from torch.nn.functional import cross_entropy

    model.eval()
    sums = torch.zeros(2, dtype=torch.float64, device=device.device)
    shard = device.shard(batches_by_length(validation.lengths.tolist(), batch_size, seed=0))
    for batch in track(shard, "validate", len(shard), "batches") if device.is_main else shard:
        rows = validation.batch(batch, device.device)
        with torch.inference_mode(), device.autocast():
            logits = model(**rows.inputs).logits.float()
            correct = (logits.argmax(1) == rows.labels).sum()
            loss = cross_entropy(logits, rows.labels, reduction="sum")
        sums += torch.stack([correct.double(), loss.double()])
    accuracy, mean = (device.all_reduce(sums) / len(validation)).tolist()
    return {"validation_accuracy": accuracy, "validation_loss": mean}
