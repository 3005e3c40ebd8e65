"""Define for schemathesis what JSON Schema cannot express: what an image is."""

import base64
from typing import Any

import numpy as np
import schemathesis
from hypothesis import strategies as st

from toolchain.image_decoding import encode

PICTURES = [encode(np.full((height, width, 3), level, np.uint8)) for height, width, level in ((8, 8, 0), (5, 9, 200))]
schemathesis.openapi.format("picture", st.sampled_from([base64.b64encode(file).decode() for file in PICTURES]))
schemathesis.openapi.media_type("image/*", st.sampled_from(PICTURES))


@schemathesis.hook
def before_load_schema(context: Any, raw_schema: dict[str, Any]) -> None:
    """Mark the strings that must be pictures."""
    content = raw_schema["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    for field, schema in content["schema"]["properties"].items():
        if field == "images":
            schema["items"]["format"] = "picture"
