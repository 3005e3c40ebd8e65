"""Classify images: images in folders or tables in; a gated, registered, measured classifier and a report out."""

from kfp import dsl

from components.augment.images import images as augment_images
from components.data.images import images
from components.optimize.prune import prune
from components.train.torch_image import torch_image
from pipelines._data import SPLITTING, split_and_validate
from pipelines._evaluation import EVALUATION, RELEASE, measure_and_gate, report_and_register
from pipelines._optimization import OPTIMIZATION, PRUNING_DETAILS, PRUNING_NAMES, export_and_quantize
from pipelines._parameters import Arguments, expose, parameters
from pipelines._pods import configure_pod, configure_training_pod

NAME = "vision_classify"
TRAINING_DETAILS = (
    "channels",
    "weight_decay",
    "label_smoothing",
    "class_weights",
    "horizontal_flip",
    "ema_decay",
    "patience",
    "torch_compile",
    "checkpoint_batches",
)
DEFAULTS = {
    # The default source is 5,000 handwritten digits.
    "test_fraction": 0.2,  # 1,000 rows
    "policy": "upright",  # a flipped or rotated digit is not that digit
    "flip_changes_label": True,
    "augment_fraction": 0.25,
    "epochs": 4,
    # Pruning takes the batches of training.
    "batch_size": 128,
    "distillation_learning_rate": 2e-3,  # for a small network that was trained from scratch
    "unprunable": "skip",  # a base model that cannot be pruned is still quantized and measured
    "methods": ["int8-minmax", "int8-entropy", "openvino", "int8-openvino"],  # for convolutions
    "model_name": NAME,
}


@dsl.pipeline(name="vision-classify")
@parameters(
    expose(images),
    *SPLITTING,
    expose(
        augment_images,
        hide=("min_visibility", "max_boxes_lost"),
        rename={"fraction": "augment_fraction", "size": "copy_size"},
    ),
    expose(torch_image, hide=TRAINING_DETAILS),
    expose(prune, hide=("heads_to_keep", "neurons_to_keep", *PRUNING_DETAILS), rename=PRUNING_NAMES),
    expose(configure_training_pod),
    *OPTIMIZATION,
    *EVALUATION,
    *RELEASE,
    defaults=DEFAULTS,
)
def vision_classify(arguments: Arguments) -> None:
    """Train an image classifier on the images of source; promote its fastest variant that is still accurate."""
    raw = configure_pod(images(**arguments.of(images)))
    splits, checked = split_and_validate(raw.outputs["dataset"], arguments)
    augmented = configure_pod(augment_images(dataset=splits, **arguments.of(augment_images))).after(checked)
    dataset = augmented.outputs["augmented"]

    training_pod = arguments.of(configure_training_pod)
    trained = configure_training_pod(torch_image(dataset=dataset, **arguments.of(torch_image)), **training_pod)
    model = trained.outputs["model"]
    pruned = configure_training_pod(prune(model=model, dataset=dataset, **arguments.of(prune)), **training_pod)
    variants = export_and_quantize(model, pruned.outputs["pruned"], dataset, arguments)

    measured = measure_and_gate(variants, dataset, arguments)
    report_and_register(NAME, variants, dataset, checked.outputs["checks"], measured, arguments)
