"""Prediction of many rows with a classifier, in batches of rows of similar length."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from toolchain.inference.image_input import ImageInput
from toolchain.inference.runtime import Logits, Session
from toolchain.inference.text_input import TextInput

BATCH_SIZE = 32  # rows; larger batches are hardly faster on a CPU


def predict(
    session: Session,
    input_: TextInput | ImageInput,
    values: Sequence[Any],
    batch_size: int = BATCH_SIZE,
    streams: int = 1,
) -> Logits:
    """Return the logits of ``values``, float32 of shape (values, labels), in their order.

    Args:
        session: A model, opened for ``streams`` streams.
        input_: The model's input.
        values: As a dataset's column holds them.
        batch_size: Rows of a batch. Rows of similar length share one.
        streams: Batches that run at the same time, each in its thread.
    """
    prepared = input_.prepare(values)
    order = sorted(range(len(prepared)), key=lambda index: input_.length(prepared[index]))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]

    def run(batch: list[int]) -> Logits:
        return session.run(input_.stack([prepared[index] for index in batch]))

    with ThreadPoolExecutor(streams) as threads:
        logits = np.concatenate(list(threads.map(run, batches)))
    return np.asarray(logits[np.argsort(order)], np.float32)
