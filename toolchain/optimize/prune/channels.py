"""Channels: whole filters of a convolutional network are removed, with all that reads them; the rest stays dense.

Which layers hang together (a sum needs as many channels on both sides) is found by torch-pruning in the network's
graph (Fang et al. 2023, arXiv 2301.12900). Least important are those with the smallest weights in all of them.

First-order Taylor importance was tried and left out: with half of its channels the compact CNN was right on .304 of
6,000 pictures of clothes, and on .562 by size. Both after normalisation was measured again, without which it was .12.
"""

import copy
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from toolchain.errors import ToolchainError, UnprunableError
from toolchain.frameworks.torch.image_classifier import Architecture, build_network, head_name, resize
from toolchain.frameworks.torch.image_dataset import Batch, ImageDataset
from toolchain.frameworks.torch.tensors import load_tensors
from toolchain.frameworks.training_state import Epoch
from toolchain.optimize.prune.distillation import PREDICTION_BATCH_SIZE, distil, logit_loss
from toolchain.optimize.prune.size import Latency, compare, count_weights, speed_in_words
from toolchain.progress import Progress, log_info, track

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import Module

    from toolchain.optimize.prune import Config

# Channels are kept in multiples of this: AVX2 takes 8 float32 at once, and a remainder costs as much.
CHANNELS_AT_ONCE = 8
MOMENTUM = 0.1  # of batch normalisation while it learns again: PyTorch's own
# DenseNet-121 takes 5 s on a busy core; the groups of ReXNet and ResNeSt, whose sums cover parts of tensors, grow
# without an end in sight.
MAX_ANALYSIS_S = 300.0
TOLERANCE = 1e-3  # of logits, between the pruned network in memory and the one that is built anew from its weights


@dataclass(frozen=True)
class ChannelReport:
    """What pruning did, for the report; accuracies on the validation split, 0..1."""

    method: str
    channels_before: int  # of all convolutions and hidden layers together
    channels_after: int
    weights_before: int
    weights_after: int  # not 0
    multiplications_before: int  # for one picture
    multiplications_after: int
    layer_sparsity: float  # share of the weights of convolutions and linear layers that are gone, 0..1
    latency: Latency
    accuracy_before: float
    accuracy_cut: float  # before the recovery
    accuracy_after: float
    history: list[Epoch]
    speed: str  # in words: what it bought

    @property
    def sparsity(self) -> float:
        return 1 - self.weights_after / self.weights_before


def check_layers(network: "Module") -> None:
    """Raise UnprunableError unless ``network`` is made of layers whose channels can be removed and loaded again."""
    import torch

    known = (torch.nn.Conv2d, torch.nn.Linear, torch.nn.BatchNorm2d)
    for name, layer in network.named_modules():
        if list(layer.parameters(recurse=False)) and not isinstance(layer, known):
            raise UnprunableError(
                f"{name} is a {type(layer).__name__}: only networks of convolutions, linear layers and batch "
                f"normalisation are pruned; take method none"
            )


def prune_channels(
    teacher: "Module", architecture: Architecture, training: ImageDataset, validation: ImageDataset, config: "Config"
) -> "tuple[Module, ChannelReport]":
    """Return a copy of ``teacher`` with fewer channels, after its recovery, on the CPU, and what that did.

    Raises:
        UnprunableError: the network cannot be pruned.
        TrainingError: the loss of the recovery is no number any more.
    """
    student = copy.deepcopy(teacher.eval())
    device: torch.device = next(teacher.parameters()).device
    remove(student, architecture, config.channels_to_keep)
    batches = training.batches(config.batch_size, config.seed, device)
    seen = track(islice(batches, config.importance_batches), "normalise", config.importance_batches, "batches")
    normalise_again(student, seen)
    before, cut = accuracy(teacher, validation), accuracy(student, validation)
    log_info(f"validation accuracy {before:.3f}, {cut:.3f} after the cut")
    history = _recover(student, teacher, training, validation, config) if config.epochs else []
    return student.cpu().eval(), _report(teacher.cpu(), student, architecture, (before, cut), history, config)


def remove(network: "Module", architecture: Architecture, kept: float) -> None:
    """Leave each layer of ``network`` its most important channels, in place: the share ``kept``.

    The last layer keeps its classes. A group of layers that hang together keeps the same channels.

    Raises:
        UnprunableError: the network does not work without them, or could not be loaded again.
    """
    import torch_pruning

    device = next(network.parameters()).device
    try:
        with _deadline(MAX_ANALYSIS_S):
            torch_pruning.pruner.BasePruner(
                network,
                _picture(architecture).to(device),
                importance=torch_pruning.importance.GroupMagnitudeImportance(),
                pruning_ratio=1 - kept,
                round_to=CHANNELS_AT_ONCE,
                ignored_layers=[network.get_submodule(head_name(network, architecture.classes))],
            ).step()
        _check_loadable(network, architecture)
    except ToolchainError:
        raise
    except Exception as error:  # torch-pruning raises whatever its parts raise at a graph that it cannot follow
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise UnprunableError(f"{architecture.name} cannot be pruned: {reason}; take method none") from error


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the block after ``seconds``; in the main thread only, where Python delivers signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        raise TimeoutError(f"which channels hang together was not found in {seconds:g} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def count_multiplications(network: "Module", architecture: Architecture) -> int:
    """Return how many multiplications one picture costs in the convolutions and linear layers of ``network``."""
    import torch

    found: list[int] = []

    def count(layer: Any, _: object, output: "Tensor") -> None:
        found.append(output[0].numel() * layer.weight[0].numel())

    layers = [layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.inference_mode():
        network.eval()(_picture(architecture))
    for hook in hooks:
        hook.remove()
    return sum(found)


def accuracy(network: "Module", rows: ImageDataset) -> float:
    """Return the share of ``rows`` that ``network`` answers with their label."""
    return float((predict_logits(network, rows, "validate").argmax(1).cpu().numpy() == rows.labels).mean())


def predict_logits(network: "Module", rows: ImageDataset, description: str) -> "Tensor":
    """Return the logits of ``network`` for ``rows``, float32 of shape (rows, classes), on its device."""
    import torch

    device: torch.device = next(network.parameters()).device
    network.eval()
    with torch.no_grad(), Progress(description, len(rows), "pictures") as progress:
        found = []
        for batch in rows.batches(PREDICTION_BATCH_SIZE, None, device):
            found.append(network(batch.images))
            progress.advance(len(batch.positions))
    return torch.cat(found)


def normalise_again(network: "Module", batches: Iterable[Batch]) -> None:
    """Let batch normalisation know the means and variances that ``batches`` have after the cut, in place."""
    import torch

    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.reset_running_stats()
    network.train()
    with torch.no_grad():
        for seen, batch in enumerate(batches, 1):
            _weigh(network, 1 / seen)  # a plain mean over batches
            network(batch.images)
    _weigh(network, MOMENTUM)
    network.eval()


def _weigh(network: "Module", momentum: float) -> None:
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
    picture = _picture(architecture)
    with torch.inference_mode():
        given = network.eval()(picture.to(next(network.parameters()).device)).cpu()
        if not torch.allclose(given, again.eval()(picture), rtol=TOLERANCE, atol=TOLERANCE):
            raise RuntimeError("it would answer otherwise once it is loaded again")


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
) -> ChannelReport:
    before, cut = accuracies
    picture = _picture(architecture)
    latency = compare(partial(teacher.eval(), picture), partial(student.eval(), picture))
    layer_sparsity = 1 - _kernel_weights(student) / _kernel_weights(teacher)
    report = ChannelReport(
        method=config.method,
        channels_before=_channels(teacher) - architecture.classes,
        channels_after=_channels(student) - architecture.classes,
        weights_before=sum(weight.numel() for weight in teacher.parameters()),
        weights_after=count_weights(student),
        multiplications_before=count_multiplications(teacher, architecture),
        multiplications_after=count_multiplications(student, architecture),
        layer_sparsity=layer_sparsity,
        latency=latency,
        accuracy_before=before,
        accuracy_cut=cut,
        accuracy_after=history[-1]["validation_accuracy"] if history else cut,
        history=history,
        speed=speed_in_words(config.method, layer_sparsity, latency),
    )
    log_info(f"validation accuracy {report.accuracy_after:.3f} after the recovery; {report.speed}")
    return report


def _channels(network: "Module") -> int:
    return sum(len(layer.weight) for layer in _kernels(network))


def _kernel_weights(network: "Module") -> int:
    return sum(layer.weight.numel() for layer in _kernels(network))


def _kernels(network: "Module") -> "list[torch.nn.Conv2d | torch.nn.Linear]":
    import torch

    return [layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)]


def _picture(architecture: Architecture) -> "Tensor":
    """Return one picture of noise: uint8 (1, height, width, channels), the same every time."""
    import torch

    size = (1, architecture.height, architecture.width, architecture.channels)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
