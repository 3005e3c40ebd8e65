"""Component for toolchain.release.register."""

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
    """Register the run and every variant in MLflow, and give the selected variant the alias candidate.

    Args:
        variants: The variants of one model.
        dataset: The rows that they were trained and measured on.
        accuracy: The measurement of accuracy.
        verdict: The gate's verdict.
        report: The report on the run.
        registration: The model's name, its run in MLflow, the version of each variant and the aliases.
        metrics: Number of registered versions, and how many of them are new.
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
