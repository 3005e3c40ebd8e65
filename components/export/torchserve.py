"""TorchServe: toolchain.export.torchserve, in the image that runs optimized models."""

from kfp import dsl

from components.images import OPTIMIZE


@dsl.component(base_image=OPTIMIZE, install_kfp_package=False)
def torchserve(
    model: dsl.Input[dsl.Model],
    archive: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    name: str = "",
    version: str = "1",
    variant: str = "",
    workers: int = 1,
    threads: int = 1,
    batch_size: int = 8,
    max_batch_delay_ms: int = 5,
    response_timeout_s: int = 60,
):
    """Write a classifier as the archive that TorchServe serves, with a server's settings.

    Args:
        model: A model, or variants of one.
        archive: config.properties, and model-store/ with the .mar.
        metrics: How large the archive is.
        name: Of the model in TorchServe.
        version: Numbers with dots between them.
        variant: Which of the variants; empty where model is one model.
        workers: Processes that answer, each with the model in its memory.
        threads: Of one inference in a worker.
        batch_size: That a worker takes at once.
        max_batch_delay_ms: That a first request waits for others.
        response_timeout_s: After which TorchServe starts a worker anew that does not answer.
    """
    from pathlib import Path

    from toolchain.export.torchserve import Config, run

    config = Config(
        name=name,
        version=version,
        variant=variant,
        workers=workers,
        threads=threads,
        batch_size=batch_size,
        max_batch_delay_ms=max_batch_delay_ms,
        response_timeout_s=response_timeout_s,
    )
    result = run(Path(model.path), Path(archive.path), config)
    metrics.log_metric("size_bytes", result.size_bytes)
