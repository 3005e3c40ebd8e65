"""The result of pruning: how much was removed, what it cost in accuracy, and whether a request became faster."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from toolchain.frameworks.training_state import Epoch
from toolchain.optimize.prune.size import Latency, count_weights, describe_speed
from toolchain.progress import log_info


@dataclass(frozen=True, kw_only=True)
class Report:
    """The result of pruning; accuracies on the validation split, 0..1."""

    method: str
    sizes: Mapping[str, int]  # of the architecture, by name: heads and neurons of a layer, or channels
    weights_before: int
    weights_after: int  # without zeros
    layer_sparsity: float  # share of the weights of the layers' matrices or kernels that are removed or zero, 0..1
    latency: Latency
    accuracy_before: float
    accuracy_pruned: float  # before the distillation
    accuracy_after: float
    history: list[Epoch]
    speed: str  # a sentence on the speedup

    @property
    def sparsity(self) -> float:
        return 1 - self.weights_after / self.weights_before

    def note(self) -> dict[str, Any]:
        """Return the report as JSON, its sizes among the other fields."""
        fields = asdict(self)
        return {**fields.pop("sizes"), **fields, "sparsity": self.sparsity}


def compare_pruned(
    teacher: Any,
    student: Any,
    method: str,
    sizes: Mapping[str, int],
    layer_sparsity: float,
    latency: Latency,
    accuracies: tuple[float, float],
    history: list[Epoch],
) -> Report:
    """Return the report on ``student``, pruned from ``teacher``; ``accuracies`` are theirs before the distillation."""
    before, pruned = accuracies
    report = Report(
        method=method,
        sizes=sizes,
        weights_before=sum(weight.numel() for weight in teacher.parameters()),
        weights_after=count_weights(student),
        layer_sparsity=layer_sparsity,
        latency=latency,
        accuracy_before=before,
        accuracy_pruned=pruned,
        accuracy_after=history[-1]["validation_accuracy"] if history else pruned,
        history=history,
        speed=describe_speed(method, layer_sparsity, latency),
    )
    log_info(f"validation accuracy {report.accuracy_after:.3f} after distillation; {report.speed}")
    return report
