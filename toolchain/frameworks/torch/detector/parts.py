"""Parts of detectors, as PyTorch modules; imported only when a detector is built.

torchvision's detectors are used for training (features, heads, losses). Their pre- and postprocessing, for lists of
images of any size, is replaced by operations for one image of one size that ONNX Runtime and OpenVINO support.
"""

from typing import Any, TypedDict

import torch
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOS
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNet
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FeaturePyramidNetwork, nms

from toolchain.frameworks.torch.detector import LITE0, Architecture

CHANNELS = 64  # of each level of the lite detector's pyramid and head: 256 of torchvision's cost 12 times as much
LEVELS = (2, 3, 4)  # of the lite backbone's features, of 8, 16 and 32 pixels
STRIDES = ((8,), (16,), (32,))  # pixels of a cell on each level: the one "anchor" of FCOS
LITE_MEAN, LITE_DEVIATION = [127 / 255] * 3, [128 / 255] * 3  # (pixel - 127) / 128, as the lite models were trained


class Target(TypedDict):
    """The objects of one image."""

    boxes: Tensor  # float32 (objects, 4), in pixels of the detector's input
    labels: Tensor  # int64 (objects,), from 0


Prediction = tuple[Tensor, Tensor, Tensor]  # boxes float32 (n, 4), scores float32 (n,), labels int64 (n,)


class Detector(nn.Module):
    """A detector of torchvision behind its own preprocessing, for images of one size.

    Called with uint8 (1, size, size, 3) it returns the best boxes of that image, in its pixels.
    """

    anchors: Tensor
    scale: Tensor
    offset: Tensor

    def __init__(self, network: FCOS | RetinaNet | SSD, architecture: Architecture) -> None:
        super().__init__()
        size, transform = architecture.image_size, network.transform
        self.network, self.architecture = network, architecture
        self.classes = architecture.classes
        self.first = 1 if isinstance(network, SSD) else 0  # index of the first class; 0 of SSD is the background
        network.transform = GeneralizedRCNNTransform(  # does not resize
            size, size, transform.image_mean, transform.image_std, size_divisible=1, fixed_size=(size, size)
        )
        spread = torch.tensor(transform.image_std, dtype=torch.float32).reshape(1, 3, 1, 1)
        middle = torch.tensor(transform.image_mean, dtype=torch.float32).reshape(1, 3, 1, 1)
        self.register_buffer("scale", 1 / (255 * spread), persistent=False)
        self.register_buffer("offset", -middle / spread, persistent=False)
        self.register_buffer("anchors", _anchors(network, size), persistent=False)

    def losses(self, images: Tensor, targets: list[Target]) -> Tensor:
        """Return the sum of the losses of a batch, in training mode.

        Args:
            images: uint8 (batch, size, size, 3).
            targets: The objects of each image.
        """
        scaled = list(images.permute(0, 3, 1, 2).float() / 255)
        shifted = [{"boxes": t["boxes"], "labels": t["labels"] + self.first} for t in targets]
        found: dict[str, Tensor] = self.network(scaled, shifted)
        return torch.stack(list(found.values())).sum()

    def forward(self, image: Tensor) -> Prediction:
        boxes, scores = self.candidates(image)
        best, positions = scores.flatten().topk(min(self.architecture.candidates, self.classes * len(self.anchors)))
        labels = positions % self.classes
        boxes = boxes[torch.div(positions, self.classes, rounding_mode="floor")]
        apart = (
            boxes + (labels * (2 * self.architecture.image_size)).to(boxes.dtype)[:, None]
        )  # no box overlaps one of another class
        kept = nms(apart, best, self.architecture.nms_threshold)
        sides = boxes[kept, 2:] - boxes[kept, :2]  # boxes outside of the image have none
        kept = kept[(best[kept] >= self.architecture.score_threshold) & (sides.amin(1) > 0)][
            : self.architecture.max_detections
        ]
        return boxes[kept], best[kept], labels[kept]

    def candidates(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return every box that the network proposes, float32 (anchors, 4), and its scores, (anchors, classes)."""
        pixels = image.permute(0, 3, 1, 2).float() * self.scale + self.offset
        found = self.network.head(list(self.network.backbone(pixels).values()))
        codes = found["bbox_regression"][0].float()
        if isinstance(self.network, FCOS):
            middle = found["bbox_ctrness"][0].float().sigmoid()
            scores = (found["cls_logits"][0].float().sigmoid() * middle).sqrt()
            boxes = self.network.box_coder.decode(codes, self.anchors)
        else:
            logits = found["cls_logits"][0].float()
            scores = logits.softmax(1)[:, 1:] if self.first else logits.sigmoid()
            boxes = self.network.box_coder.decode_single(codes, self.anchors)
        return boxes.clamp(0, self.architecture.image_size), scores


class LiteBackbone(nn.Module):
    """EfficientNet-Lite0 with a feature pyramid on its last three scales."""

    def __init__(self) -> None:
        import timm

        super().__init__()
        body: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False, features_only=True, out_indices=LEVELS)
        self.fpn = FeaturePyramidNetwork(body.feature_info.channels(), CHANNELS)
        self.body = body
        self.out_channels = CHANNELS

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        features = dict(zip("012", self.body(pixels), strict=True))
        found: dict[str, Tensor] = self.fpn(features)
        return found


def network(architecture: Architecture) -> Any:
    """Return torchvision's module for ``architecture`` with random weights, without a download."""
    if architecture.base == LITE0:
        anchors = AnchorGenerator(STRIDES, ((1.0,),) * len(STRIDES))
        means = {"image_mean": LITE_MEAN, "image_std": LITE_DEVIATION}
        return FCOS(LiteBackbone(), architecture.classes, anchor_generator=anchors, **means)
    with_background = architecture.base.startswith("ssd")
    classes = architecture.classes + with_background
    return detection.__dict__[architecture.base](weights=None, weights_backbone=None, num_classes=classes)


def stages(network: FCOS | RetinaNet | SSD) -> list[list[nn.Module]]:
    """Return the parts of the network's backbone that can be frozen, from the input on; none of an SSD."""
    if isinstance(network, SSD):
        return []
    body: Any = network.backbone.body
    if isinstance(network.backbone, LiteBackbone):
        return [[body.conv_stem, body.bn1], *([block] for block in body.blocks)]
    return [[body.conv1, body.bn1], *([body[f"layer{number}"]] for number in range(1, 5))]


def _anchors(network: FCOS | RetinaNet | SSD, size: int) -> Tensor:
    """Return the boxes that the network's predictions are relative to: float32 (anchors, 4)."""
    training = network.training
    with torch.no_grad():
        pixels = torch.zeros(1, 3, size, size)
        features = list(network.eval().backbone(pixels).values())
        (found,) = network.anchor_generator(ImageList(pixels, [(size, size)]), features)
    network.train(training)
    return torch.as_tensor(found, dtype=torch.float32)
