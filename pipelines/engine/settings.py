"""Where runs are kept and what a user's environment says: the one place on this side that reads it."""

import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # the folder that holds pipelines/, components/ and toolchain/


@dataclass(frozen=True)
class Settings:
    """What the environment decides."""

    runs: Path  # TOOLCHAIN_RUNS, else runs/ in the working directory: everything that a local run leaves
    endpoint: str  # KFP_ENDPOINT: the URL of a Kubeflow Pipelines server; "" when there is none
    namespace: str  # KFP_NAMESPACE: the Kubeflow profile to run in; "" for the server's own
    token: str  # KFP_TOKEN: a bearer token for the endpoint; "" for none. Never shown
    tracking_uri: str  # MLFLOW_TRACKING_URI, else SQLite beside the runs

    @property
    def cache(self) -> Path:
        return self.runs / "cache"

    @property
    def mlflow_database(self) -> Path:
        return self.runs / "mlflow.db"


def read_settings() -> Settings:
    """Return the settings of this process's environment."""
    runs = Path(os.environ.get("TOOLCHAIN_RUNS", "runs")).absolute()
    return Settings(
        runs=runs,
        endpoint=os.environ.get("KFP_ENDPOINT", ""),
        namespace=os.environ.get("KFP_NAMESPACE", ""),
        token=os.environ.get("KFP_TOKEN", ""),
        tracking_uri=os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{runs / 'mlflow.db'}",
    )


def name_registry(settings: Settings) -> None:
    """Let the door to MLflow find the registry of ``settings`` from this process too, as a run's processes do."""
    os.environ["MLFLOW_TRACKING_URI"] = settings.tracking_uri


def step_environment(settings: Settings) -> dict[str, str]:
    """Return the environment that a local run's processes get."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {
        **os.environ,
        "PYTHONPATH": path,
        "PYTHONUNBUFFERED": "1",  # a step's progress is read line by line as it comes
        "MLFLOW_TRACKING_URI": settings.tracking_uri,
        "TOOLCHAIN_SCRATCH": os.environ.get("TOOLCHAIN_SCRATCH", str(settings.runs / "scratch")),
        "TOKENIZERS_PARALLELISM": "false",  # it warns about each fork otherwise
    }
