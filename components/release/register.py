"""Register: toolchain.release.register, in the image that publishes."""

from kfp import dsl

from components.images import RELEASE


@dsl.component(base_image=RELEASE, install_kfp_package=False)
def register(
    variants: dsl.Input[dsl.Model],
    dataset: dsl.Input[dsl.Dataset],
    accuracy: dsl.Input[dsl.Artifact],
    verdict: dsl.Input[dsl.Artifact],
    report: dsl.Input[dsl.Artifact],
    registration: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    model_name: str = "",
    experiment: str = "",
    pipeline: str = "",
    run: str = "",
    keep_test_rows: bool = True,
    require_approval: bool = False,
):
    """Put the run, its steps and every variant into MLflow, and name the winner as candidate.

    Args:
        variants: The variants of the model.
        dataset: What they were trained and measured on.
        accuracy: What they answered.
        verdict: What the gate found.
        report: The report on them.
        registration: The model's name, its run in MLflow, the version of each variant and the aliases.
        metrics: How many versions stand for the variants, and how many of them are new.
        model_name: Registered model name; an @alias or :version is ignored; "": the pipeline's name.
        experiment: MLflow experiment; "": MLFLOW_EXPERIMENT_NAME, or toolchain.
        pipeline: Pipeline name, stored as a tag.
        run: Run name, stored as a tag.
        keep_test_rows: Upload the test rows, so that the model can be measured on other processors later.
        require_approval: Require a person's approval of the run before its new versions may serve.
    """
    from pathlib import Path

    from toolchain.release.register import Config
    from toolchain.release.register import run as publish

    config = Config(
        model_name=model_name,
        experiment=experiment,
        pipeline=pipeline,
        run=run,
        keep_test_rows=keep_test_rows,
        require_approval=require_approval,
    )
    measured = Path(accuracy.path), Path(verdict.path), Path(report.path)
    result = publish(Path(variants.path), Path(dataset.path), *measured, Path(registration.path), config)
    metrics.log_metric("versions", result.versions)
    metrics.log_metric("added", result.added)
