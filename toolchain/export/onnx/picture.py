"""Picture classifiers and detectors as they are traced: pixels in, normalisation inside."""

from typing import TYPE_CHECKING

import numpy as np

from toolchain.artifacts.model import Model, Tensor
from toolchain.export.onnx.forms import Answers, Form, largest_gap
from toolchain.frameworks.torch import detector, image_classifier
from toolchain.inference.image_input import image_shape
from toolchain.inference.runtime import Feeds

if TYPE_CHECKING:
    import torch


def classifier_form(model: Model) -> Form:
    """Return a classifier: uint8 (batch, height, width, channels) in, float32 logits (batch, labels) out."""
    import torch

    module, shape = image_classifier.load_network(model), image_shape(model)
    return Form(
        module=module,
        example=(torch.zeros(2, *shape, dtype=torch.uint8),),
        inputs=(Tensor("image", "uint8", ("batch", *shape)),),
        outputs=(Tensor("logits", "float32", ("batch", len(model.signature.labels))),),
        reference=lambda feeds: _answer(module, feeds),
        difference=largest_gap,
        answer="logits",
        files=(image_classifier.DESCRIPTION,),
    )


def detector_form(model: Model) -> Form:
    """Return a detector: uint8 (1, height, width, 3) in; boxes (n, 4), scores (n,) and labels (n,) out, best first."""
    import torch

    module, architecture = detector.load_detector(model), detector.read_architecture(model)
    return Form(
        module=module,
        example=(torch.zeros(1, architecture.image_size, architecture.image_size, 3, dtype=torch.uint8),),
        inputs=architecture.inputs(),
        outputs=architecture.outputs(),
        reference=lambda feeds: _answer(module, feeds),
        difference=lambda ours, theirs: _detection_gap(
            ours, theirs, architecture.image_size, architecture.score_threshold
        ),
        answer="scores and boxes (as shares of the picture)",
        files=(detector.DESCRIPTION,),
        rows=1,
    )


def _answer(module: "torch.nn.Module", feeds: Feeds) -> Answers:
    import torch

    with torch.inference_mode():
        found = module(torch.from_numpy(np.ascontiguousarray(feeds["image"])))
    return [part.numpy() for part in (found if isinstance(found, tuple) else (found,))]


def _detection_gap(ours: Answers, theirs: Answers, size: int, lowest: float) -> float:
    """Return how far, at most, a box of one side is from the nearest of the other: its sides as shares of ``size``, or
    its score. Order is not compared: of two boxes that score alike, rounding decides which comes first.

    A box that one side alone has counts by its score above ``lowest``: at the threshold, rounding decides too.
    """
    one, other = (np.column_stack([answers[0] / size, answers[1]]) for answers in (ours, theirs))
    gaps = [0.0]
    for these, those in ((one, other), (other, one)):
        near = np.abs(these[:, None] - those[None]).max(axis=2).min(axis=1, initial=np.inf)
        gaps.append(float(np.minimum(near, these[:, 4] - lowest).max(initial=0.0)))
    return max(gaps)
