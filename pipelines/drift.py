"""Look for drift: whether what a served model is asked, and answers, still looks like what it was evaluated on."""

from kfp import dsl

from components.monitor.drift import drift as look_for_drift
from pipelines._pods import configure_pod

NAME = "drift"


@dsl.pipeline(name="drift")
def drift(
    model: str,
    samples: str,
    rows: int = 500,
    min_rows: int = 100,
    max_age_hours: float = 0.0,
    significance_level: float = 0.01,
):
    """Compare the newest samples of a served model with the profile that travels with it.

    Args:
        model: A registered model, as name (what serves), name@alias or name:version.
        samples: Where its servers put samples: a folder, or s3://BUCKET/PREFIX.
        rows: Of the window, the newest ones.
        min_rows: Below which nothing is said.
        max_age_hours: That a row may be old; 0: any age.
        significance_level: Chance of a false alarm in one look, 0..1.
    """
    looked = look_for_drift(
        model=model,
        samples=samples,
        rows=rows,
        min_rows=min_rows,
        max_age_hours=max_age_hours,
        significance_level=significance_level,
    ).set_caching_options(False)
    configure_pod(looked)
