"""Component for toolchain.export.torchserve."""

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
    """Export a classifier as an archive for TorchServe, with a configuration of the server.

    Args:
        model: A model, or the variants of one.
        archive: config.properties, and model-store/ with the .mar.
        metrics: Size of the archive.
        name: Model name in TorchServe; required.
        version: Model version: numbers separated by dots.
        variant: Variant to serve; "": the input is a single model.
        workers: Number of worker processes, each with the model in its memory.
        threads: Threads per inference in a worker.
        batch_size: Maximum number of requests per batch; each row is computed alone.
        max_batch_delay_ms: Maximum time a request waits for a batch to fill, in milliseconds.
        response_timeout_s: Time after which TorchServe restarts a worker that does not respond, in seconds.
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
