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
):
    """Let a registered version serve if the gate found it safe and a real server answers with it as recorded.

    Args:
        promotion: What was decided, and why.
        metrics: Whether it serves now, and whether that is new.
        model: The registered model: name (its candidate), name@alias or name:version.
        force: Whether to override the gate and the order of versions.
        reason: Recorded in the ledger; must be given with force.
        who: Promotes, recorded in the ledger.
    """
    from pathlib import Path

    from toolchain.release.promote import Config, run

    result = run(Path(promotion.path), Config(model=model, force=force, reason=reason, who=who))
    metrics.log_metric("promoted", result.promoted)
    metrics.log_metric("changed", result.changed)
