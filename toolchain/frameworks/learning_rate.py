"""Learning-rate schedules in any framework: a linear warmup, then a decay to nearly 0."""

import math


def linear_decay(step: int, steps: int, warmup: float) -> float:
    """Return the share of the peak learning rate at ``step`` of ``steps``; it rises for a share ``warmup``."""
    rising = max(1, round(steps * warmup))
    return (step + 1) / rising if step < rising else (steps - step) / max(1, steps - rising)


def cosine_decay(step: int, steps: int, warmup: float) -> float:
    """Return the share of the peak learning rate at ``step`` of ``steps``; it rises for a share ``warmup``.

    It falls by half a cosine (Smith and Topin 2018, arXiv 1708.07120, as at the end of PyTorch's OneCycleLR).
    """
    rising = max(1, round(steps * warmup))
    if step < rising:
        return (step + 1) / rising
    return (1 + math.cos(math.pi * (step - rising + 1) / max(1, steps - rising + 1))) / 2
