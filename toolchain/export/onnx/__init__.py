"""Export PyTorch models as ONNX graphs with equal outputs, and a description of the model in their metadata.

The graph is plain ONNX with a free batch (and a free length of texts): ONNX Runtime fuses it when it loads it, and the
converters to INT8 and OpenVINO, which support standard operators only, read the same file. PyTorch's newer
exporter (dynamo) gave 0.97 of the speed (MiniLM, AVX2, ONNX Runtime 1.32) and took many times longer. The
graph includes preprocessing except tokenization and resizing, so that every client normalises in the same way.
"""

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from toolchain.artifacts.dataset import Dataset, open_dataset
from toolchain.artifacts.graph import load_graph, save_graph
from toolchain.artifacts.model import Model, ModelWriter, Signature, open_model, require
from toolchain.artifacts.provenance import Work
from toolchain.artifacts.variants import REFERENCE, new_variants
from toolchain.errors import ArtifactError, ConfigError, DataError, first_line
from toolchain.export.onnx.forms import WEIGHTS, Form
from toolchain.inference.box_output import BoxOutput
from toolchain.inference.class_output import ClassOutput
from toolchain.inference.image_input import ImageInput
from toolchain.inference.runtime import OnnxRuntimeSession
from toolchain.inference.tasks import Task, task_of, task_type
from toolchain.inference.text_input import TextInput
from toolchain.progress import log_info

PLAIN = "plain.onnx"


@dataclass(frozen=True, kw_only=True)
class Config:
    opset: int = 17  # ONNX opset version, 17..20; 17 is the first with layer normalization as one operator.
    fuse_attention: bool = False  # Fuse each attention into one ONNX Runtime operator; a plain graph is kept with it.
    parity_rows: int = 64  # Number of rows on which the ONNX graph is compared with PyTorch.
    # Maximum difference of logits, relative above 1; float32 rounds by 1e-6, an error gives 1e-1.
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        if not 17 <= self.opset <= 20:
            raise ConfigError(f"opset is {self.opset}; it must be from 17 to 20")
        if self.parity_rows < 1:
            raise ConfigError(f"parity_rows is {self.parity_rows}; compare at least 1 row")
        if not self.tolerance > 0:
            raise ConfigError(f"tolerance is {self.tolerance}; it must be above 0, 0.001 is usual")


@dataclass(frozen=True)
class Result:
    variants: tuple[str, ...]  # names, fp32 first
    max_difference: float  # between outputs of the graph and of PyTorch, over all variants
    rows: int  # compared for each variant


def run(models: Sequence[Path], dataset: Path, variants: Path, config: Config) -> Result:
    """Export each of ``models``, a repeated one once, and write them to ``variants``.

    Raises:
        ArtifactError: a model's task is not supported, its tokenizer is missing, or its graph differs from PyTorch.
        ConfigError: attention is to be fused where there is none.
        DataError: ``dataset`` has no rows to compare outputs on.
    """
    rows = open_dataset(dataset)
    opened = {model.digest: model for model in map(open_model, models)}
    tasks = {digest: task_of(model) for digest, model in opened.items()}
    values = real_values(rows, next(iter(tasks.values())).column, config.parity_rows)
    work = Work("export.onnx", config, gpus=0, dataset=rows, **{model.variant: model for model in opened.values()})
    differences = {}
    with new_variants(variants, work) as writer:
        for model in sorted(opened.values(), key=lambda model: model.variant != REFERENCE):
            form = form_of(model)
            part = Work("export.onnx", config, dataset=rows, model=model)
            with writer.new(_signature(model, form), part, parent=model) as written:
                prepared = tasks[model.digest].input.prepare(values)
                differences[model.variant] = _export_into(written, model, form, tasks[model.digest], prepared, config)
        work.metrics |= {f"largest_difference_{name}": value for name, value in differences.items()}
    return Result(tuple(differences), max(differences.values()), len(values))


def export(form: Form, target: Path, opset: int) -> None:
    """Write the graph of ``form`` to ``target``; its inputs, outputs and free axes are those that ``form`` names.

    Raises:
        ArtifactError: PyTorch cannot express it in ONNX.
    """
    import torch

    axes = {
        tensor.name: {axis: size for axis, size in enumerate(tensor.shape) if isinstance(size, str)}
        for tensor in (*form.inputs, *form.outputs)
    }
    try:
        with quiet():
            torch.onnx.export(
                form.module,
                form.example,
                str(target),
                dynamo=False,
                opset_version=opset,
                input_names=[tensor.name for tensor in form.inputs],
                output_names=[tensor.name for tensor in form.outputs],
                dynamic_axes={name: free for name, free in axes.items() if free},
            )
    except RuntimeError as error:  # of tracing, and the exporter's own
        reason = first_line(error)
        raise ArtifactError(f"PyTorch cannot express the model in ONNX: {reason}; take another architecture") from error


def real_values(dataset: Dataset, column: str, rows: int) -> list[Any]:
    """Return the first ``rows`` values of ``column`` in the first split that has any.

    Raises:
        DataError: there is none at all.
    """
    dataset.require(column)
    for split in dataset.splits:
        for batch in dataset.batches(split, [column], rows):
            if batch.num_rows:
                return list(batch.column(column).to_pylist())
    raise DataError(f"{dataset.path} has no rows; export needs some to compare the graph's outputs with PyTorch's")


def form_of(model: Model) -> Form:
    """Return ``model`` as it is traced.

    Raises:
        ArtifactError: its task is not known, or it is not in PyTorch or not whole.
    """
    from toolchain.export.onnx import image, text

    forms = {
        (TextInput, ClassOutput): text.form,
        (ImageInput, ClassOutput): image.classifier_form,
        (ImageInput, BoxOutput): image.detector_form,
    }
    task = task_type(model)
    form = forms.get((task.input_type, task.output_type))
    if form is None:
        raise ArtifactError(f"{model.path} is a model for {task.name}, which export does not support")
    require(model, task.name, "pytorch")
    return form(model)


def _export_into(
    writer: ModelWriter, model: Model, form: Form, task: Task, prepared: Sequence[Any], config: Config
) -> float:
    """Write the graph and its files; return the maximum difference of its outputs from PyTorch's."""
    for module in (form.module, *form.others):
        _write_graphs(writer, model, replace(form, module=module), config)
        difference = max_difference(form, writer.folder / WEIGHTS, task, prepared)
        if difference <= config.tolerance:
            break
    writer.keep(model, *form.files)
    if not difference <= config.tolerance:  # NaN too
        raise ArtifactError(
            f"the ONNX graph of {model.path} differs from PyTorch: {form.compared} differ by up to {difference:.2g}, "
            f"{config.tolerance:g} is allowed; try another opset, or report the model"
        )
    parity = f"{form.compared} differ from PyTorch's by at most {difference:.1e} on {len(prepared)} rows"
    log_info(f"exported {model.variant}: {parity}")
    writer.note({"max_difference": difference, "rows": len(prepared), "opset": config.opset})
    return difference


def _write_graphs(writer: ModelWriter, model: Model, form: Form, config: Config) -> None:
    """Write the graph of ``form``, and the plain one as well where attention is fused."""
    target = writer.folder / WEIGHTS
    plain = writer.folder / PLAIN if config.fuse_attention else target
    with TemporaryDirectory(dir=writer.folder.parent, prefix=".export-") as folder:  # may write one file per tensor
        export(form, Path(folder) / WEIGHTS, config.opset)
        save_graph(load_graph(Path(folder) / WEIGHTS), plain, _properties(model, writer.signature))
    if config.fuse_attention:
        _fuse(model, form, plain, target)
        save_graph(load_graph(target), target, _properties(model, writer.signature))


def max_difference(form: Form, graph: Path, task: Task, prepared: Sequence[Any]) -> float:
    """Return the maximum difference between the outputs of ``graph`` and of PyTorch for ``prepared`` rows."""
    session, found = OnnxRuntimeSession(graph, threads=1), [0.0]
    for start in range(0, len(prepared), form.rows):
        feeds = task.input.stack(prepared[start : start + form.rows])
        found.append(form.difference(session.outputs(feeds), form.reference(feeds)))
    return float(np.max(found))


def _fuse(model: Model, form: Form, plain: Path, target: Path) -> None:
    if form.fuse is None:
        raise ConfigError(f"fuse_attention needs a model with attention; {model.path} is for {model.signature.task}")
    with quiet():
        form.fuse(plain, target)


def _properties(model: Model, signature: Signature) -> dict[str, str]:
    """Return the metadata that describes the model in the file, which may be used without its folder."""
    return {
        "task": signature.task,
        "variant": signature.variant,
        "labels": json.dumps(signature.labels, ensure_ascii=False),
        "max_tokens": str(signature.max_tokens),
        "text_repair": signature.text_repair,
        "inputs": json.dumps({tensor.name: [tensor.dtype, *tensor.shape] for tensor in signature.inputs}),
        "outputs": json.dumps({tensor.name: [tensor.dtype, *tensor.shape] for tensor in signature.outputs}),
        "source_digest": model.digest,
    }


def _signature(model: Model, form: Form) -> Signature:
    return replace(
        model.signature,
        framework="onnx",
        backend="onnxruntime",
        weights=WEIGHTS,
        inputs=form.inputs,
        outputs=form.outputs,
        positions=form.positions,
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the warnings of tracing (fixed shapes, the older exporter): the comparison with PyTorch covers them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
