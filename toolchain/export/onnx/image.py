"""Trace image classifiers and detectors: pixels in, normalisation inside."""

from typing import TYPE_CHECKING

import numpy as np

from toolchain.artifacts.model import Model, Tensor
from toolchain.export.onnx.forms import Form, Outputs, relative_difference
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
        reference=lambda feeds: _outputs(module, feeds),
        difference=relative_difference,
        compared="logits",
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
        reference=lambda feeds: _outputs(module, feeds),
        difference=lambda ours, theirs: _max_box_difference(
            ours, theirs, architecture.image_size, architecture.score_threshold
        ),
        compared="scores and boxes (as shares of the image)",
        files=(detector.DESCRIPTION,),
        rows=1,
    )


def _outputs(module: "torch.nn.Module", feeds: Feeds) -> Outputs:
    import torch

    with torch.inference_mode():
        found = module(torch.from_numpy(np.ascontiguousarray(feeds["image"])))
    return [part.numpy() for part in (found if isinstance(found, tuple) else (found,))]


def _max_box_difference(ours: Outputs, theirs: Outputs, size: int, lowest: float) -> float:
    """Return the maximum distance of a box from the nearest box of the other side: of its edges as shares of ``size``,
    or of its score. Order is not compared: rounding decides the order of two boxes with equal scores.

    A box that only one side has counts by its score above ``lowest``, since rounding decides at the threshold.
    """
    one, other = (np.column_stack([outputs[0] / size, outputs[1]]) for outputs in (ours, theirs))
    gaps = [0.0]
    for these, those in ((one, other), (other, one)):
        near = np.abs(these[:, None] - those[None]).max(axis=2).min(axis=1, initial=np.inf)
        gaps.append(float(np.minimum(near, these[:, 4] - lowest).max(initial=0.0)))
    return max(gaps)
