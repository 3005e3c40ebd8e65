"""Prune text classifiers, recover them by distillation, and compare them with the original."""

import copy
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from toolchain.frameworks.torch.first_token import read_every_token, read_first_token_only
from toolchain.frameworks.torch.text_classifier import layers
from toolchain.frameworks.torch.token_dataset import Batch, TokenDataset
from toolchain.frameworks.training_state import Epoch
from toolchain.optimize.prune.distillation import (
    accuracy,
    distil,
    distillation_loss,
    freeze_embeddings,
    teacher_outputs,
)
from toolchain.optimize.prune.importance import measure_importance
from toolchain.optimize.prune.report import Report, compare_pruned
from toolchain.optimize.prune.size import count_layer_weights, measure_latency
from toolchain.optimize.prune.structured import remove
from toolchain.optimize.prune.unstructured import make_permanent, mask_smallest
from toolchain.progress import log_info, track

if TYPE_CHECKING:
    import torch

    from toolchain.optimize.prune import Config


def prune(teacher: Any, training: TokenDataset, validation: TokenDataset, config: "Config") -> tuple[Any, Report]:
    """Return a pruned copy of ``teacher``, a classifier of Transformers, after its distillation, and a report.

    Raises:
        UnprunableError: its type of model is not supported.
        TrainingError: the loss of the distillation is NaN or Inf.
    """
    student = copy.deepcopy(teacher)
    for classifier in (teacher, student):
        read_first_token_only(classifier)
    _prune(student, teacher, training, config)
    before, pruned = (accuracy(classifier, validation, "validate") for classifier in (teacher, student))
    log_info(f"validation accuracy {before:.3f}, {pruned:.3f} after pruning")
    history = _recover(student, teacher, training, validation, config) if config.epochs else []
    if config.method == "unstructured":
        make_permanent(student)
    for classifier in (teacher, student):
        read_every_token(classifier.cpu())
    return student.eval(), _report(teacher, student, (before, pruned), history, config)


def _prune(student: Any, teacher: Any, training: TokenDataset, config: "Config") -> None:
    if config.method == "unstructured":
        mask_smallest(student, config.sparsity)
        return
    batches = islice(_batches(teacher, training, config), config.importance_batches)
    importance = measure_importance(teacher, track(batches, "importance", config.importance_batches, "batches"))
    remove(student, importance, config.heads_to_keep, config.neurons_to_keep)


def _batches(teacher: Any, training: TokenDataset, config: "Config") -> Iterator[Batch]:
    device: torch.device = next(teacher.parameters()).device
    return training.batches(config.batch_size, config.seed, device)


def _recover(
    student: Any, teacher: Any, training: TokenDataset, validation: TokenDataset, config: "Config"
) -> list[Epoch]:
    outputs = teacher_outputs(teacher, training, features=config.feature_loss_weight > 0)
    freeze_embeddings(student)
    return distil(
        student,
        lambda batch: distillation_loss(student, outputs, batch, config),
        training,
        lambda: accuracy(student, validation, "validate"),
        config,
    )


def _report(
    teacher: Any, student: Any, accuracies: tuple[float, float], history: list[Epoch], config: "Config"
) -> Report:
    first = layers(student)[0]
    sizes = {"heads": first.heads, "neurons": first.neurons}  # of each layer, after pruning
    latency = measure_latency(teacher, student)
    layer_sparsity = 1 - count_layer_weights(student) / count_layer_weights(teacher)
    return compare_pruned(teacher, student, config.method, sizes, layer_sparsity, latency, accuracies, history)
