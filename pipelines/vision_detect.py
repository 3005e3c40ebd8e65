"""Find objects in pictures: annotated pictures in; a gated, registered, measured detector and a report out."""

from typing import Any

from kfp import dsl

from components.augment.images import images as augment_images
from components.data.annotations import annotations
from components.data.split import split
from components.data.validate import validate
from components.export.onnx import onnx as export_onnx
from components.optimize.quantize import quantize
from components.train.torch_detector import torch_detector as train_detection
from pipelines._evaluation import measure_and_gate, report_and_register
from pipelines._pods import configure_pod

NAME = "vision_detect"


@dsl.pipeline(name="vision-detect")
def vision_detect(
    source: str = "package:deepforest/data",
    digest: str = "",
    format: str = "",
    images: str = "",
    labels: list[str] = [],
    rename: dict[str, Any] = {},
    keep_splits: bool = True,
    origin: str = "",
    task: str = "",
    missing_image: str = "fail",
    missing_split: str = "fail",
    unreadable_image: str = "fail",
    oversized_image: str = "fail",
    animated_image: str = "fix",
    duplicate_name: str = "fail",
    duplicate_ids: str = "fail",
    size_mismatch: str = "fail",
    exif_rotation: str = "fix",
    one_based_coordinates: str = "fix",
    unknown_label: str = "fail",
    invalid_shape: str = "fix",
    swapped_corners: str = "fix",
    out_of_bounds: str = "fix",
    zero_area: str = "drop",
    duplicate_object: str = "drop",
    max_pixels: int = 100_000_000,
    tile_size: int = 0,
    tile_overlap: int = 0,
    tile_min_visibility: float = 0.5,
    keep_empty: bool = True,
    validation_fraction: float = 0.15,
    test_fraction: float = 0.2,
    group_column: str = "",
    max_train_rows: int = 0,
    min_rows: int = 5,
    min_class_fraction: float = 0.0,
    min_test_rows: int = 100,
    column_types: dict[str, Any] = {},
    column_ranges: dict[str, Any] = {},
    policy: str = "light",
    augment_fraction: float = 0.5,
    copies: int = 1,
    copy_size: int = 0,
    flip_changes_label: bool = False,
    min_visibility: float = 0.3,
    max_boxes_lost: float = 0.2,
    workers: int = 0,
    base_model: str = "fcos:efficientnet-lite0",
    weights: str = "backbone",
    weights_digest: str = "",
    image_size: int = 384,
    epochs: int = 14,
    batch_size: int = 4,
    learning_rate: float = 1e-3,
    warmup_ratio: float = 0.1,
    max_grad_norm: float = 1.0,
    freeze_stages: int = 2,
    opset: int = 17,
    methods: list[str] = ["int8-minmax", "openvino", "int8-openvino"],
    max_accuracy_drop: float = 0.01,
    max_class_recall_drop: float = 0.02,
    agreement: float = 0.9,
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
    """Train a detector on annotated pictures; promote its fastest variant that still finds what the float one finds.

    Args:
        source: A folder, package:NAME/FOLDER, or an archive, of pictures and annotations in any common format. The
            default, a sample of four aerial images, uses one class, Tree, and tile_size=400.
        digest: Expected SHA-256 of the source; empty: any.
        format: voc, yolo, coco, cvat, labelme, via, createml or datumaro:NAME; empty: detected from the files.
        images: Location of the images, if they are not with the annotations.
        labels: The allowed classes, in their order, after renaming; empty: those of the source.
        rename: New names of labels, {"Dead": "Tree"}; several may become one.
        keep_splits: Keep the source's train, validation and test splits.
        origin: Coordinate convention of VOC boxes: zero_based, one_based or shifted; empty: detected.
        task: Task of YOLO's lines: detect, segment, obb or pose; empty: detected.
        missing_image: If an image file does not exist: fail or drop.
        missing_split: If a folder or list of a split does not exist: fail or drop (continue without it).
        unreadable_image: If a file is not an image, or is damaged: fail or drop.
        oversized_image: If an image has more than max_pixels: fail or drop.
        animated_image: If an image is animated: fix (keep the first frame), drop or fail.
        duplicate_name: If two images have the same name: fail, fix (rename the second one) or drop.
        duplicate_ids: If COCO ids are not unique: fail, fix (annotations go to the first image) or drop.
        size_mismatch: If the annotated size differs from the image's: fail, fix (scale the boxes), drop or keep.
        exif_rotation: If an image has an EXIF rotation: fix (store it upright, with its boxes), drop or fail.
        one_based_coordinates: If VOC coordinates start at 1: fix (convert them) or fail.
        unknown_label: If a label is not in labels, or a class number has no name: fail or drop.
        invalid_shape: If a polygon, mask or box cannot be read: fix (keep the valid parts), drop or fail.
        swapped_corners: If a box has swapped corners: fix, drop, fail or keep.
        out_of_bounds: If a box reaches outside its image: fix (clip it), drop, fail or keep.
        zero_area: If a box has no area: drop, fail or keep.
        duplicate_object: If an object is given twice: drop, fail or keep.
        max_pixels: Maximum pixels of an image; larger ones are oversized_image.
        tile_size: Pixels; larger images are cut into square tiles of this side; 0: they are not cut.
        tile_overlap: Pixels that neighboring tiles share; if above 0, set group_column to source_image.
        tile_min_visibility: Share of a box's area that a tile needs to keep the object.
        keep_empty: Keep images and tiles without objects.
        validation_fraction: Share of the rows (images or tiles) for validation, if the source has no such split.
        test_fraction: Share of the rows for the test, if the source has no such split.
        group_column: "source_image" keeps all tiles of an image in one split; it needs more than a few images.
        max_train_rows: Training rows to use at most; 0 uses all. The test rows stay the same.
        min_rows: The fewest rows of each split.
        min_class_fraction: Of the rarest class among the training objects; -1: a tenth of an even share; 0: any.
        min_test_rows: Boxes in the test rows that the gate needs to select a variant; with fewer, a warning is printed.
        column_types: What columns must hold: {"width": "integer"}; text, integer, number or boolean.
        column_ranges: Lowest and highest value of columns: {"width": [64, 4096]}.
        policy: How pictures are changed: light, medium, strong, upright, the path of a YAML file, or YAML.
        augment_fraction: Share of the training rows that get a changed copy, 0..1.
        copies: Changed copies of each chosen row, 0 to 20.
        copy_size: Pixels of each side of copies; 0: as large as their originals.
        flip_changes_label: Refuse transforms that mirror or turn.
        min_visibility: Share of a box that must be left in a copy, 0 to 1.
        max_boxes_lost: Share of boxes that a policy may lose before it is warned of.
        workers: Processes that augment; 0: one for each processor.
        base_model: fcos:efficientnet-lite0, or a single-stage detector of torchvision by its name.
        weights: Empty for none; backbone for ImageNet's; pretrained for COCO's; or a file.
        weights_digest: SHA-256 of that file.
        image_size: Pixels of each side of the picture that the detector takes, a multiple of 32.
        epochs: Passes over the training pictures.
        batch_size: Pictures of one training step.
        learning_rate: Its peak.
        warmup_ratio: Share of all steps in which the learning rate rises, 0..1.
        max_grad_norm: Longer gradients are cut to this length.
        freeze_stages: Lowest stages of a backbone with given weights that stay as they are.
        opset: Version of ONNX's operators, 17 to 20.
        methods: How the float detector is converted: int8-minmax, int8-entropy, openvino, int8-openvino.
        max_accuracy_drop: Share of mAP50 that an accurate variant may lose, 0..1.
        max_class_recall_drop: What the AP50 of the worst class may lose, 0..1.
        agreement: Share of boxes that a quantized variant must have like the float one, 0..1.
        min_speedup: Speed, in times of fp32's, that a faster variant must surely exceed.
        scenario: Which requests decide; a detector has one kind, batch1.
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
        annotations(
            source=source,
            digest=digest,
            format=format,
            images=images,
            labels=labels,
            rename=rename,
            keep_splits=keep_splits,
            origin=origin,
            task=task,
            missing_image=missing_image,
            missing_split=missing_split,
            unreadable_image=unreadable_image,
            oversized_image=oversized_image,
            animated_image=animated_image,
            duplicate_name=duplicate_name,
            duplicate_ids=duplicate_ids,
            size_mismatch=size_mismatch,
            exif_rotation=exif_rotation,
            one_based_coordinates=one_based_coordinates,
            unknown_label=unknown_label,
            invalid_shape=invalid_shape,
            swapped_corners=swapped_corners,
            out_of_bounds=out_of_bounds,
            zero_area=zero_area,
            duplicate_object=duplicate_object,
            max_pixels=max_pixels,
            tile_size=tile_size,
            tile_overlap=tile_overlap,
            tile_min_visibility=tile_min_visibility,
            keep_empty=keep_empty,
        )
    )
    splits = configure_pod(
        split(
            dataset=raw.outputs["dataset"],
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
            group_column=group_column,
            max_train_rows=max_train_rows,
            seed=seed,
        )
    )
    checked = validate(
        dataset=splits.outputs["splits"],
        min_rows=min_rows,
        min_class_fraction=min_class_fraction,
        min_test_rows=min_test_rows,
        column_types=column_types,
        column_ranges=column_ranges,
    )
    configure_pod(checked)
    augmented = augment_images(
        dataset=splits.outputs["splits"],
        policy=policy,
        fraction=augment_fraction,
        flip_changes_label=flip_changes_label,
        seed=seed,
        min_visibility=min_visibility,
        max_boxes_lost=max_boxes_lost,
        workers=workers,
        copies=copies,
        size=copy_size,
    )
    configure_pod(augmented).after(checked)
    dataset = augmented.outputs["augmented"]

    trained = configure_pod(
        train_detection(
            dataset=dataset,
            base_model=base_model,
            weights=weights,
            weights_digest=weights_digest,
            image_size=image_size,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            freeze_stages=freeze_stages,
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
    model = trained.outputs["model"]
    exported = configure_pod(export_onnx(model=model, pruned=model, dataset=dataset, opset=opset))
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
