"""Find objects in pictures: annotated pictures in; a gated, registered, measured detector and a report out."""

from typing import Any

from kfp import dsl

from components.augment.images import images as augment_images
from components.data.annotations import annotations
from components.data.split import split
from components.data.validate import validate
from components.export.onnx import onnx as export_onnx
from components.optimize.quantize import quantize
from components.train.detection import detection as train_detection
from pipelines._measuring import measure_and_gate, report_and_register
from pipelines._placing import placed

NAME = "vision_detect"


@dsl.pipeline(name="vision-detect")
def vision_detect(
    source: str = "package:deepforest/data",
    digest: str = "",
    format: str = "",
    pictures: str = "",
    labels: list[str] = [],
    rename: dict[str, Any] = {"Alive": "Tree", "Dead": "Tree"},
    unknown_label: str = "fail",
    broken_outline: str = "fix",
    tile: int = 400,
    overlap: int = 0,
    validation: float = 0.15,
    test: float = 0.2,
    group_column: str = "",
    rows: int = 0,
    minimum_rows: int = 5,
    policy: str = "light",
    augment_share: float = 0.5,
    mirror_changes_label: bool = False,
    base: str = "fcos:efficientnet-lite0",
    weights: str = "backbone",
    weights_digest: str = "",
    size: int = 384,
    epochs: int = 14,
    batch_rows: int = 4,
    learning_rate: float = 1e-3,
    freeze: int = 2,
    methods: list[str] = ["int8-minmax", "openvino", "int8-openvino"],
    accuracy_drop: float = 0.01,
    worst_class_drop: float = 0.02,
    agreement: float = 0.9,
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
    """Train a detector on annotated pictures; promote its fastest variant that still finds what the float one finds.

    Args:
        source: A folder, package:NAME/FOLDER, or an archive, of pictures and annotations in any common format.
        digest: SHA-256 that the source must have; empty for any.
        format: voc, yolo, coco, cvat, labelme or datumaro:NAME; empty: found from the files.
        pictures: Where the pictures are, if apart.
        labels: The classes allowed, in their order, after renaming; empty for those of the source.
        rename: Other names for classes: {"Alive": "Tree"}; several may become one.
        unknown_label: What happens to an object whose class is not allowed: fail or drop.
        broken_outline: What happens where an outline or box cannot be read: fix (keep the rest), drop or fail.
        tile: Pixels; larger pictures are cut into squares of this side; 0: they stay whole.
        overlap: Pixels that neighbouring tiles share; with more than 0, set group_column to picture.
        validation: Share of the rows (pictures or tiles) for validation, where the source has no such split.
        test: Share of the rows for the test, where the source has no such split.
        group_column: "picture" keeps all tiles of a picture in one split; it takes more than a few pictures.
        rows: Training rows to use at most; 0 uses all. The test rows stay the same.
        minimum_rows: The fewest rows of each split.
        policy: How pictures are changed: light, medium, strong, upright, the path of a YAML file, or YAML.
        augment_share: Share of the training rows that get a changed copy, 0..1.
        mirror_changes_label: Refuse transforms that mirror or turn.
        base: fcos:efficientnet-lite0, or a single-stage detector of torchvision by its name.
        weights: Empty for none; backbone for ImageNet's; pretrained for COCO's; or a file.
        weights_digest: SHA-256 of that file.
        size: Pixels of each side of the picture that the detector takes, a multiple of 32.
        epochs: Passes over the training pictures.
        batch_rows: Pictures of one training step.
        learning_rate: Its peak.
        freeze: Lowest stages of a backbone with given weights that stay as they are.
        methods: How the float detector is converted: int8-minmax, int8-entropy, openvino, int8-openvino.
        accuracy_drop: Share of mAP50 that a safe variant may lose, 0..1.
        worst_class_drop: What the AP50 of the worst class may lose, 0..1.
        agreement: Share of boxes that a quantized variant must have like the float one, 0..1.
        ratio: Speed, in times of fp32's, that a faster variant must surely exceed.
        scenario: Which requests decide; a detector has one kind, batch1.
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
        annotations(
            source=source,
            digest=digest,
            format=format,
            pictures=pictures,
            labels=labels,
            rename=rename,
            unknown_label=unknown_label,
            broken_outline=broken_outline,
            tile=tile,
            overlap=overlap,
        )
    )
    splits = placed(
        split(
            dataset=raw.outputs["dataset"],
            validation=validation,
            test=test,
            group_column=group_column,
            rows=rows,
            seed=seed,
        )
    )
    checked = validate(dataset=splits.outputs["splits"], minimum_rows=minimum_rows, minimum_share=0.0)
    placed(checked)
    augmented = augment_images(
        dataset=splits.outputs["splits"],
        policy=policy,
        share=augment_share,
        mirror_changes_label=mirror_changes_label,
        seed=seed,
    )
    placed(augmented).after(checked)
    dataset = augmented.outputs["augmented"]

    trained = placed(
        train_detection(
            dataset=dataset,
            base=base,
            weights=weights,
            weights_digest=weights_digest,
            size=size,
            epochs=epochs,
            batch_rows=batch_rows,
            learning_rate=learning_rate,
            freeze=freeze,
            gpus=gpus,
            cpu_allowed=cpu_allowed,
            seed=seed,
        ),
        gpus,
        gpu_type,
        training_nodes,
    )
    model = trained.outputs["model"]
    exported = placed(export_onnx(model=model, pruned=model, dataset=dataset))
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
