"""Promote: toolchain.release.promote, in the image that publishes."""

from kfp import dsl

from components.images import RELEASE


@dsl.component(base_image=RELEASE, install_kfp_package=False)
def promote(
    promotion: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    model: str = "",
    force: bool = False,
    reason: str = "",
    who: str = "",
    model_repository: str = "",
    canary: float = 0.0,
    shadow: bool = False,
    steps: list[float] = [25.0, 50.0, 100.0],
    servers: list[str] = [],
    namespace: str = "",
    minutes: float = 30.0,
    alpha: float = 0.01,
    beta: float = 0.05,
    failures: list[float] = [0.001, 0.02],
    slow: list[float] = [0.05, 0.15],
    disagreement: list[float] = [0.1, 0.25],
):
    """Let a registered version serve if the gate found it accurate and a real server answers with it as recorded.

    Args:
        promotion: What was decided, and why.
        metrics: Whether it serves now, and whether that is new.
        model: The registered model: name (its candidate), name@alias or name:version.
        force: Whether to override the gate and the order of versions.
        reason: Recorded in the ledger; must be given with force.
        who: Promotes, recorded in the ledger.
        repository: Where servers look for what serves, a folder or s3://BUCKET/PREFIX; "": servers are not told.
        canary: Percent of requests that it answers at first, on trial; 0 promotes it at once.
        shadow: Whether to compare it with what serves instead, its answers seen by nobody.
        steps: Percents after that, as long as it holds; 100 promotes it.
        servers: Addresses of the servers that are watched meanwhile; []: the pods of namespace.
        namespace: On a cluster: of the pods that serve.
        minutes: That a trial may take at each percent.
        alpha: At most so often a canary that is as it should be is rolled back, 0..1.
        beta: At most so often, in each test, one that is not goes on to the next percent, 0..1.
        failures: Shares of requests that may fail: fine, and too much.
        slow: Likewise of those that take longer than 95 % of the stable version's.
        disagreement: Likewise of rows that get another label than from the stable version.
    """
    from pathlib import Path

    from toolchain.release.promote import Config, run

    config = Config(
        model=model,
        force=force,
        reason=reason,
        who=who,
        model_repository=model_repository,
        canary=canary,
        shadow=shadow,
        steps=steps,
        servers=servers,
        namespace=namespace,
        minutes=minutes,
        alpha=alpha,
        beta=beta,
        failures=failures,
        slow=slow,
        disagreement=disagreement,
    )
    result = run(Path(promotion.path), config)
    metrics.log_metric("promoted", result.promoted)
    metrics.log_metric("changed", result.changed)
