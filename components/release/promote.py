"""Component for toolchain.release.promote."""

from kfp import dsl

from components.images import RELEASE


@dsl.component(base_image=RELEASE, install_kfp_package=False)
def promote(
    promotion: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    model: str = "",
    force: bool = False,
    reason: str = "",
    user: str = "",
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
    """Promote a registered version if the gate accepted it and a trial server returns the recorded predictions.

    Args:
        promotion: The decision, and its reasons.
        metrics: Whether the version is serving, and whether it was not before.
        model: Registered model: name (its candidate), name@alias or name:version; required.
        force: Promote even if the gate rejected it or a newer version is serving; needs a reason.
        reason: Reason, recorded in the ledger; required with force.
        user: User, recorded in the ledger.
        model_repository: Model repository that servers poll, a folder or s3://BUCKET/PREFIX; "": not published.
        canary: Initial share of requests, in percent; 0 promotes at once without a canary.
        shadow: Compare its predictions with those of the serving version, without serving them.
        steps: Shares after the first, in percent; 100 promotes it.
        servers: Addresses of the model servers; []: the pods of namespace.
        namespace: Kubernetes namespace of the server pods.
        minutes: Longest time at each share; without a decision by then the canary is rejected.
        alpha: Highest rate at which a good canary is rejected, 0..1.
        beta: Highest rate at which a bad canary passes a test, 0..1.
        failures: Acceptable and unacceptable fraction of failed requests.
        slow: Acceptable and unacceptable fraction of requests slower than 95 % of the stable version's.
        disagreement: Acceptable and unacceptable fraction of rows with a different label than the stable version's.
    """
    from pathlib import Path

    from toolchain.release.promote import Config, run

    config = Config(
        model=model,
        force=force,
        reason=reason,
        user=user,
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
