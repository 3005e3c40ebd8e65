"""Prune the channels of a convolutional network: whole filters are removed, and the rest stays dense.

torch-pruning finds in the graph which layers depend on each other (a sum needs equally many channels on both sides;
Fang et al. 2023, arXiv 2301.12900), and removes the channels with the smallest weights over such a group.

First-order Taylor importance was tried and rejected: with half of its channels the compact CNN had an accuracy of .304
on 6,000 images of clothes, and of .562 by magnitude. Both after batch normalization was reset, without which it was
.12.
"""

import copy
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from toolchain.errors import ToolchainError, UnprunableError
from toolchain.frameworks.torch.image_classifier import Architecture, build_network, head_name, resize
from toolchain.frameworks.torch.image_dataset import Batch, ImageDataset
from toolchain.frameworks.torch.tensors import load_tensors
from toolchain.frameworks.training_state import Epoch
from toolchain.optimize.prune.distillation import PREDICTION_BATCH_SIZE, distil, logit_loss
from toolchain.optimize.prune.report import Report, compare_pruned
from toolchain.optimize.prune.size import compare
from toolchain.progress import Progress, log_info, track

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import Module

    from toolchain.optimize.prune import Config

# Channels are kept in multiples of this: AVX2 processes 8 float32 at once, and a remainder costs as much.
CHANNEL_MULTIPLE = 8
MOMENTUM = 0.1  # of batch normalization during distillation: PyTorch's default
# DenseNet-121 takes 5 s on a busy core; the groups of ReXNet and ResNeSt, whose sums cover parts of tensors, have
# no known end.
MAX_ANALYSIS_S = 300.0
TOLERANCE = 1e-3  # of logits, between the pruned network and the one built again from its weights


def check_layers(network: "Module") -> None:
    """Raise UnprunableError unless the channels of all layers of ``network`` can be removed and loaded again."""
    import torch

    known = (torch.nn.Conv2d, torch.nn.Linear, torch.nn.BatchNorm2d)
    for name, layer in network.named_modules():
        if list(layer.parameters(recurse=False)) and not isinstance(layer, known):
            raise UnprunableError(
                f"{name} is a {type(layer).__name__}: only networks of convolutions, linear layers and batch "
                f"normalization can be pruned; use method none"
            )


def prune_channels(
    teacher: "Module", architecture: Architecture, training: ImageDataset, validation: ImageDataset, config: "Config"
) -> "tuple[Module, Report]":
    """Return a copy of ``teacher`` with fewer channels, after its distillation, on the CPU, and a report.

    Raises:
        UnprunableError: the network cannot be pruned.
        TrainingError: the loss of the distillation is NaN or Inf.
    """
    student = copy.deepcopy(teacher.eval())
    device: torch.device = next(teacher.parameters()).device
    remove(student, architecture, config.channels_to_keep)
    batches = training.batches(config.batch_size, config.seed, device)
    shown = track(islice(batches, config.importance_batches), "normalize", config.importance_batches, "batches")
    reset_batch_norm(student, shown)
    before, pruned = accuracy(teacher, validation), accuracy(student, validation)
    log_info(f"validation accuracy {before:.3f}, {pruned:.3f} after pruning")
    history = _recover(student, teacher, training, validation, config) if config.epochs else []
    return student.cpu().eval(), _report(teacher.cpu(), student, architecture, (before, pruned), history, config)


def remove(network: "Module", architecture: Architecture, kept: float) -> None:
    """Leave each layer of ``network`` its most important channels, in place: the share ``kept``.

    The last layer keeps its classes. Layers that depend on each other keep the same channels.

    Raises:
        UnprunableError: the network does not work without them, or could not be loaded again.
    """
    import torch_pruning

    device = next(network.parameters()).device
    try:
        with _deadline(MAX_ANALYSIS_S):
            torch_pruning.pruner.BasePruner(
                network,
                _image(architecture).to(device),
                importance=torch_pruning.importance.GroupMagnitudeImportance(),
                pruning_ratio=1 - kept,
                round_to=CHANNEL_MULTIPLE,
                ignored_layers=[network.get_submodule(head_name(network, architecture.classes))],
            ).step()
        _check_loadable(network, architecture)
    except ToolchainError:
        raise
    except Exception as error:  # torch-pruning raises various errors for a graph that it does not support
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise UnprunableError(f"{architecture.name} cannot be pruned: {reason}; use method none") from error


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the block after ``seconds``; in the main thread only, where Python delivers signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        raise TimeoutError(f"the dependencies between channels were not found within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def count_multiplications(network: "Module", architecture: Architecture) -> int:
    """Return the number of multiplications for one image in the convolutions and linear layers of ``network``."""
    import torch

    found: list[int] = []

    def count(layer: Any, _: object, output: "Tensor") -> None:
        found.append(output[0].numel() * layer.weight[0].numel())

    layers = [layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.inference_mode():
        network.eval()(_image(architecture))
    for hook in hooks:
        hook.remove()
    return sum(found)


def accuracy(network: "Module", rows: ImageDataset) -> float:
    """Return the share of ``rows`` that ``network`` predicts correctly."""
    return float((predict_logits(network, rows, "validate").argmax(1).cpu().numpy() == rows.labels).mean())


def predict_logits(network: "Module", rows: ImageDataset, description: str) -> "Tensor":
    """Return the logits of ``network`` for ``rows``, float32 of shape (rows, classes), on its device."""
    import torch

    device: torch.device = next(network.parameters()).device
    network.eval()
    with torch.no_grad(), Progress(description, len(rows), "images") as progress:
        found = []
        for batch in rows.batches(PREDICTION_BATCH_SIZE, None, device):
            found.append(network(batch.images))
            progress.advance(len(batch.positions))
    return torch.cat(found)


def reset_batch_norm(network: "Module", batches: Iterable[Batch]) -> None:
    """Set the means and variances of batch normalization to those of ``batches`` after pruning, in place."""
    import torch

    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.reset_running_stats()
    network.train()
    with torch.no_grad():
        for count, batch in enumerate(batches, 1):
            _set_momentum(network, 1 / count)  # a plain mean over batches
            network(batch.images)
    _set_momentum(network, MOMENTUM)
    network.eval()


def _set_momentum(network: "Module", momentum: float) -> None:
    import torch

    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = momentum


def _check_loadable(network: "Module", architecture: Architecture) -> None:
    """Raise RuntimeError unless ``network`` works, and its weights make the same network when they are loaded."""
    import torch

    state = {name: value.cpu() for name, value in network.state_dict().items()}
    again = build_network(architecture)
    resize(again, state)
    load_tensors(again, state)
    image = _image(architecture)
    with torch.inference_mode():
        given = network.eval()(image.to(next(network.parameters()).device)).cpu()
        if not torch.allclose(given, again.eval()(image), rtol=TOLERANCE, atol=TOLERANCE):
            raise RuntimeError("its predictions would change when it is loaded again")


def _recover(
    student: "Module", teacher: "Module", training: ImageDataset, validation: ImageDataset, config: "Config"
) -> list[Epoch]:
    logits = predict_logits(teacher, training, "teach")

    def loss_of(batch: Batch) -> "Tensor":
        wanted = logits[batch.positions]
        return logit_loss(student(batch.images), wanted, batch.labels, config.temperature, config.distillation_weight)

    return distil(student, loss_of, training, partial(accuracy, student, validation), config)


def _report(
    teacher: "Module",
    student: "Module",
    architecture: Architecture,
    accuracies: tuple[float, float],
    history: list[Epoch],
    config: "Config",
) -> Report:
    image = _image(architecture)
    sizes = {
        "channels_before": _channels(teacher) - architecture.classes,
        "channels_after": _channels(student) - architecture.classes,
        "multiplications_before": count_multiplications(teacher, architecture),
        "multiplications_after": count_multiplications(student, architecture),
    }
    latency = compare(partial(teacher.eval(), image), partial(student.eval(), image))
    layer_sparsity = 1 - _kernel_weights(student) / _kernel_weights(teacher)
    return compare_pruned(teacher, student, config.method, sizes, layer_sparsity, latency, accuracies, history)


def _channels(network: "Module") -> int:
    return sum(len(layer.weight) for layer in _kernels(network))


def _kernel_weights(network: "Module") -> int:
    return sum(layer.weight.numel() for layer in _kernels(network))


def _kernels(network: "Module") -> "list[torch.nn.Conv2d | torch.nn.Linear]":
    import torch

    return [layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)]


def _image(architecture: Architecture) -> "Tensor":
    """Return an image of constant noise: uint8 (1, height, width, channels)."""
    import torch

    size = (1, architecture.height, architecture.width, architecture.channels)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
