"""Where runs are kept and what a user's environment says: the one place on this side that reads it."""

import getpass
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.errors import ConfigError

if TYPE_CHECKING:
    from toolchain.services.mlflow import Tracker

ROOT = Path(__file__).resolve().parents[1]  # the folder that holds pipelines/, components/ and toolchain/
MANIFESTS = (ROOT if (ROOT / "manifests").is_dir() else Path.cwd()) / "manifests"  # a wheel brings none: a user's own
DATABASE = "mlflow.db"
STORAGE = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "TOOLCHAIN_BUCKET")


@dataclass(frozen=True)
class Settings:
    """What the environment decides."""

    runs: Path  # TOOLCHAIN_RUNS, else runs/ in the working directory: everything that a local run leaves
    endpoint: str  # KFP_ENDPOINT: the URL of a Kubeflow Pipelines server; "" when there is none
    namespace: str  # KFP_NAMESPACE: where Kubeflow Pipelines runs steps, or the profile to run in; "" for toolchain
    token: str = field(repr=False)  # KFP_TOKEN: a bearer token for the endpoint; "" for none. Never shown
    tracking_uri: str = field(repr=False)  # MLFLOW_TRACKING_URI, which may hold a password, else SQLite beside the runs
    owner: str = ""  # TOOLCHAIN_OWNER, else the name that this user has here: whose runs these are, on a cluster
    resources: str = ""  # TOOLCHAIN_RESOURCES: the size of steps on a cluster; "" for the usual one
    registry: str = ""  # the cluster whose registry ``tracking_uri`` leads to; "" for the one that the user named

    @property
    def engine(self) -> str:
        """Where work is done unless a person says otherwise: "cluster" or "local"."""
        return "cluster" if self.endpoint else "local"

    @property
    def cache(self) -> Path:
        return self.runs / "cache"

    @property
    def mlflow_database(self) -> Path:
        return self.runs / DATABASE

    @property
    def has_registry(self) -> bool:
        """Whether a model can be registered: a registry that nobody named is a file that the first of them makes."""
        return self.tracking_uri != _beside(self.runs) or self.mlflow_database.is_file()


def read_settings() -> Settings:
    """Return the settings of this process's environment."""
    runs = Path(os.environ.get("TOOLCHAIN_RUNS") or "runs").expanduser().absolute()
    return Settings(
        runs=runs,
        endpoint=os.environ.get("KFP_ENDPOINT", ""),
        namespace=os.environ.get("KFP_NAMESPACE", ""),
        token=os.environ.get("KFP_TOKEN", ""),
        tracking_uri=os.environ.get("MLFLOW_TRACKING_URI") or _beside(runs),
        owner=os.environ.get("TOOLCHAIN_OWNER") or _user(),
        resources=os.environ.get("TOOLCHAIN_RESOURCES", ""),
    )


def _beside(runs: Path) -> str:
    return f"sqlite:///{runs / DATABASE}"


def open_registry(settings: Settings, model: str = "") -> "Tracker":
    """Return the registry of ``settings``; ConfigError when it cannot hold ``model`` ("": any model) yet."""
    from toolchain.services.mlflow import Tracker

    if not settings.has_registry:
        what = f"no model {model!r}" if model else "no model"
        raise ConfigError(f"{what} is registered yet; register one by a pipeline first")
    return Tracker(settings.tracking_uri)


def storage_variables() -> dict[str, str]:
    """Return the variables of S3 that the environment sets: AWS_* and TOOLCHAIN_BUCKET."""
    return {name: os.environ[name] for name in STORAGE if os.environ.get(name)}


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables for the block: boto3's and MLflow's credentials, which these libraries take from nowhere else, and
    the addresses for a step that runs in this process as it would in a pod."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return ""


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
