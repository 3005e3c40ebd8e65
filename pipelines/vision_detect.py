"""Detect objects: annotated images in; a gated, registered, measured detector and a report out."""

from kfp import dsl

from components.augment.images import images as augment_images
from components.data.annotations import annotations
from components.train.torch_detector import torch_detector
from pipelines._data import SPLITTING, split_and_validate
from pipelines._evaluation import EVALUATION, RELEASE, measure_and_gate, report_and_register
from pipelines._optimization import OPTIMIZATION, export_and_quantize
from pipelines._parameters import Arguments, expose, parameters
from pipelines._pods import configure_pod, configure_training_pod

NAME = "vision_detect"
TRAINING_DETAILS = (
    "weight_decay",
    "horizontal_flip",
    "score_threshold",
    "nms_threshold",
    "max_detections",
    "patience",
    "checkpoint_batches",
)
DEFAULTS = {
    "tile_overlap": 0,  # tiles that overlap need group_column=source_image, and so more than a few images
    # The default source is four aerial images with hundreds of trees.
    "validation_fraction": 0.15,
    "test_fraction": 0.2,
    "min_rows": 5,
    "min_class_fraction": 0.0,
    "epochs": 14,
    "methods": ["int8-minmax", "openvino", "int8-openvino"],  # for convolutions
    "agreement": 0.9,  # of boxes, which differ more often than classes
    "model_name": NAME,
}


@dsl.pipeline(name="vision-detect")
@parameters(
    expose(annotations),
    *SPLITTING,
    expose(augment_images, rename={"fraction": "augment_fraction", "size": "copy_size"}),
    expose(torch_detector, hide=TRAINING_DETAILS),
    expose(configure_training_pod),
    *OPTIMIZATION,
    *EVALUATION,
    *RELEASE,
    defaults=DEFAULTS,
)
def vision_detect(arguments: Arguments) -> None:
    """Train an object detector on annotated images; promote its fastest variant that is still accurate."""
    raw = configure_pod(annotations(**arguments.of(annotations)))
    splits, checked = split_and_validate(raw.outputs["dataset"], arguments)
    augmented = configure_pod(augment_images(dataset=splits, **arguments.of(augment_images))).after(checked)
    dataset = augmented.outputs["augmented"]

    detector = torch_detector(dataset=dataset, **arguments.of(torch_detector))
    trained = configure_training_pod(detector, **arguments.of(configure_training_pod))
    model = trained.outputs["model"]
    variants = export_and_quantize(model, model, dataset, arguments)

    measured = measure_and_gate(variants, dataset, arguments)
    report_and_register(NAME, variants, dataset, checked.outputs["checks"], measured, arguments)
