"""Export: PyTorch text classifiers as ONNX graphs that answer the same, with what they are written into them.

The graph is plain ONNX with a free batch and a free length: ONNX Runtime fuses it when it loads it, and the converters
to INT8 and OpenVINO, which know no operators of ONNX Runtime's own, read the same file. Fusing attention into the file
as well (``fuse_attention``) was measured at 0.93 to 0.96 of that speed in fp32 and in INT8 (MiniLM, AVX2, 1 x 128
tokens, ONNX Runtime 1.32), so the default leaves it out. PyTorch's newer exporter (dynamo) gave 0.97 and took many
times longer.
"""

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from toolchain.artifacts.dataset import TEXT, Dataset, open_dataset
from toolchain.artifacts.model import TOKENIZER_FILES, Model, ModelWriter, Signature, Tensor, open_model, require
from toolchain.artifacts.provenance import Work
from toolchain.artifacts.transformer import layers, load_classifier
from toolchain.artifacts.variants import REFERENCE, new_variants
from toolchain.errors import ArtifactError, ConfigError, DataError
from toolchain.inference import Ids, Logits, OnnxRuntimeSession, Tokenizer, pad
from toolchain.progress import say

if TYPE_CHECKING:
    import onnx
    import torch

WEIGHTS, PLAIN = "model.onnx", "plain.onnx"
INPUTS = (Tensor("input_ids", "int64", ("batch", "tokens")), Tensor("attention_mask", "int64", ("batch", "tokens")))
AXES = {tensor.name: {0: "batch", 1: "tokens"} for tensor in INPUTS} | {"logits": {0: "batch"}}
ROWS_PER_BATCH = 8  # rows compared at once: several, and padded, so that the mask and the free batch are tried too
# Added to the attention scores of padding. exp(-60) = 9e-27 vanishes beside 1 in float32, and an INT8 scale that has to
# reach the usual -3.4e38 is worth nothing (measured on AVX512-VNNI: dynamic INT8 1.69x with that, 2.29x with -60).
SCORE_OF_PADDING = -60.0


@dataclass(frozen=True, kw_only=True)
class Config:
    opset: int = 17  # version of ONNX's operators; 17 has layer normalization as one, 20 is the exporter's last
    fuse_attention: bool = False  # one operator of ONNX Runtime's for each attention; a plain graph is kept beside
    parity_rows: int = 64  # real rows that PyTorch and the graph must answer alike; more find nothing new in one graph
    tolerance: float = 1e-3  # largest difference of a logit; float32 in another order gives 1e-6, a wrong graph 1e-1

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
    largest_difference: float  # of a logit from PyTorch's, over all variants
    rows: int  # compared for each variant


def run(models: Sequence[Path], dataset: Path, variants: Path, config: Config) -> Result:
    """Export each of ``models``, a repeated one once, and write them side by side to ``variants``.

    Raises:
        ArtifactError: a model is for another task, lacks its tokenizer, or its graph answers unlike PyTorch.
        DataError: ``dataset`` has no text to compare answers on.
    """
    rows = open_dataset(dataset)
    opened = {model.digest: model for model in map(open_model, models)}
    for model in opened.values():
        require(model, "text-classification", "pytorch")
    texts = real_texts(rows, config.parity_rows)
    work = Work("export.onnx", config, gpus=0, dataset=rows, **{model.variant: model for model in opened.values()})
    differences = {}
    with new_variants(variants, work) as writer:
        for model in sorted(opened.values(), key=lambda model: model.variant != REFERENCE):
            part = Work("export.onnx", config, dataset=rows, model=model)
            with writer.new(_signature(model), part, parent=model) as written:
                differences[model.variant] = _export_into(written, model, texts, config)
        work.metrics |= {f"largest_difference_{name}": value for name, value in differences.items()}
    return Result(tuple(differences), max(differences.values()), len(texts))


def export(model: Model, target: Path, opset: int) -> None:
    """Write the graph of ``model`` to ``target``.

    It takes int64 ``input_ids`` and ``attention_mask`` of shape (batch, tokens), both axes free, and gives float32
    ``logits`` of shape (batch, labels).
    """
    import torch

    ids = torch.ones(2, 8, dtype=torch.int64)  # an example to trace; its values and shape are not kept
    with _quiet():
        torch.onnx.export(
            _with_plain_mask(load_classifier(model, attention="eager")),
            (ids, torch.ones_like(ids)),
            str(target),
            dynamo=False,
            opset_version=opset,
            input_names=[tensor.name for tensor in INPUTS],
            output_names=["logits"],
            dynamic_axes=AXES,
        )


def real_texts(dataset: Dataset, rows: int) -> list[str]:
    """Return the first ``rows`` texts of the first split that has any.

    Raises:
        DataError: there is no text at all.
    """
    dataset.require(TEXT)
    for split in dataset.splits:
        for batch in dataset.batches(split, [TEXT], rows):
            if batch.num_rows:
                return [str(text) for text in batch.column(TEXT).to_pylist()]
    raise DataError(f"{dataset.path} has no rows; export compares the graph's answers with PyTorch's on some")


def _export_into(writer: ModelWriter, model: Model, texts: Sequence[str], config: Config) -> float:
    """Write the graph and what belongs to it; return the largest difference of a logit from PyTorch's."""
    import onnx

    export(model, writer.folder / WEIGHTS, config.opset)
    if config.fuse_attention:
        (writer.folder / WEIGHTS).rename(writer.folder / PLAIN)
        _fuse(model, writer.folder / PLAIN, writer.folder / WEIGHTS)
    for file in writer.folder.glob("*.onnx"):
        graph = onnx.load(file)
        _describe(graph, model)
        onnx.save(graph, file)
    writer.keep(model, *TOKENIZER_FILES, "config.json")
    difference = largest_difference(model, writer.folder / WEIGHTS, texts)
    if not difference <= config.tolerance:  # NaN too
        raise ArtifactError(
            f"the ONNX graph of {model.path} answers unlike PyTorch: logits differ by up to {difference:.2g}, "
            f"{config.tolerance:g} is allowed; try another opset, or report the model"
        )
    say(f"exported {model.variant}: logits differ from PyTorch's by at most {difference:.1e} on {len(texts)} real rows")
    writer.note({"largest_difference": difference, "rows": len(texts), "opset": config.opset})
    return difference


def largest_difference(model: Model, graph: Path, texts: Sequence[str]) -> float:
    """Return the largest absolute difference of a logit of ``texts`` between ``graph`` and ``model`` in PyTorch."""
    module, session, tokenizer = load_classifier(model), OnnxRuntimeSession(graph, threads=1), Tokenizer(model)
    found = [0.0]
    for start in range(0, len(texts), ROWS_PER_BATCH):
        feeds = pad(tokenizer.ids(texts[start : start + ROWS_PER_BATCH]), tokenizer.pad_id)
        found.append(float(np.max(np.abs(session.run(feeds) - _answer(module, feeds)))))
    return float(np.max(found))


def _answer(module: "torch.nn.Module", feeds: dict[str, Ids]) -> Logits:
    import torch

    with torch.inference_mode():
        inputs = {tensor.name: torch.from_numpy(feeds[tensor.name]) for tensor in INPUTS}
        return np.asarray(module(**inputs).logits.numpy(), np.float32)


def _with_plain_mask(classifier: "torch.nn.Module") -> "torch.nn.Module":
    """Return ``classifier`` as a module of two tensors that makes its mask itself, in a form that fusions recognize."""
    import torch

    class Exported(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.classifier = classifier

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            absent = 1.0 - attention_mask[:, None, None, :].expand(-1, 1, 1, -1).to(torch.float32)
            scores = absent.masked_fill(
                absent.to(torch.bool), SCORE_OF_PADDING
            )  # added, of shape (batch, 1, 1, tokens)
            logits: torch.Tensor = self.classifier(input_ids=input_ids, attention_mask=scores).logits
            return logits

    return Exported().eval()


def _fuse(model: Model, plain: Path, target: Path) -> None:
    from onnxruntime.transformers import optimizer

    first, *others = layers(load_classifier(model))
    if any(layer.heads != first.heads for layer in others):
        raise ConfigError(f"fuse_attention needs as many heads in every layer; those of {model.path} differ")
    with _quiet():
        fused = optimizer.optimize_model(
            str(plain), "bert", num_heads=first.heads, hidden_size=first.heads * first.head_size, opt_level=0
        )
    if not fused.get_fused_operator_statistics().get("Attention"):
        raise ConfigError(f"ONNX Runtime finds no attention to fuse in {model.path}; export it without fuse_attention")
    fused.save_model_to_file(str(target))


def _describe(graph: "onnx.ModelProto", model: Model) -> None:
    """Write what the model is into the file, for whoever meets it without its folder."""
    import onnx

    signature = _signature(model)
    about: dict[str, Any] = {
        "task": signature.task,
        "variant": signature.variant,
        "labels": json.dumps(signature.labels, ensure_ascii=False),
        "max_tokens": str(signature.max_tokens),
        "inputs": json.dumps({tensor.name: [tensor.dtype, *tensor.shape] for tensor in signature.inputs}),
        "outputs": json.dumps({tensor.name: [tensor.dtype, *tensor.shape] for tensor in signature.outputs}),
        "source_digest": model.digest,
    }
    onnx.helper.set_model_props(graph, about)


def _signature(model: Model) -> Signature:
    outputs = (Tensor("logits", "float32", ("batch", len(model.signature.labels))),)
    return replace(
        model.signature, framework="onnx", backend="onnxruntime", weights=WEIGHTS, inputs=INPUTS, outputs=outputs
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what tracing warns of (fixed shapes, the older exporter): the comparison with PyTorch answers it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
