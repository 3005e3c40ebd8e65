"""Image rows: the columns of an image dataset, and the fields of an annotated object.

A row has ``image`` (the file's bytes as they are, and its name), ``width`` and ``height`` in pixels as the file is
stored, and either ``label`` (one class for the image) or ``objects`` (boxes and polygons), with ``metadata``.
"""

import pyarrow as pa

from toolchain.artifacts.columns import HEIGHT as HEIGHT
from toolchain.artifacts.columns import WIDTH as WIDTH

# As Hugging Face's ``datasets`` stores its Image feature: a file's bytes, and its name relative to the source.
IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

# Positions are pixels of the image as it is stored, from its left upper edge (0, 0) to its right lower edge
# (width, height): the first pixel spans 0 to 1. A box of the whole image is [0, 0, width, height].
OBJECT_TYPE = pa.struct(
    [
        ("label", pa.int64()),  # position in the dataset's label names
        ("box", pa.list_(pa.float64())),  # left, top, right, bottom, before ``rotation``
        ("rotation", pa.float64()),  # degrees clockwise around the box's middle; 0 for a plain box
        ("polygons", pa.list_(pa.list_(pa.float64()))),  # outlines, each x0, y0, x1, y1, ...; none for a plain box
        ("mask", pa.string()),  # COCO's compressed run lengths of a mask as large as the image; "" for none
        ("keypoints", pa.list_(pa.float64())),  # x, y, visibility, ...; 0: not marked, 1: hidden, 2: visible
        ("crowd", pa.bool_()),  # many objects in one box: neither found nor missed counts
        ("difficult", pa.bool_()),  # in Pascal VOC's sense: a missed one is no error
        ("truncated", pa.bool_()),  # extends beyond the image
        ("occluded", pa.bool_()),  # partly hidden
        ("attributes", pa.string()),  # a JSON object of a format's other fields: ids, poses, groups, ...
    ]
)
OBJECTS_TYPE = pa.list_(OBJECT_TYPE)
METADATA = "metadata"  # string: a JSON object of a format's other fields of the image
