"""Check for drift: compare the requests and predictions of a served model with those of its evaluation."""

from kfp import dsl

from components.monitor.drift import drift as check_drift
from pipelines._parameters import REQUIRED, Arguments, expose, parameters
from pipelines._pods import configure_pod

DEFAULTS = {"model": REQUIRED, "samples": REQUIRED}


@dsl.pipeline(name="drift")
@parameters(expose(check_drift, hide=["experiment"]), defaults=DEFAULTS)
def drift(arguments: Arguments) -> None:
    """Compare the newest samples of a served model with the profile that was recorded at its evaluation."""
    configure_pod(check_drift(**arguments.of(check_drift)).set_caching_options(False))
