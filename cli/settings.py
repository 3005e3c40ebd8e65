"""Read the settings of the command line from environment variables; no other module of cli/ reads them."""

import getpass
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.errors import ConfigError

if TYPE_CHECKING:
    from toolchain.services.mlflow import Tracker

ROOT = Path(__file__).resolve().parents[1]  # the folder with pipelines/, components/ and toolchain/
MANIFESTS = (ROOT if (ROOT / "manifests").is_dir() else Path.cwd()) / "manifests"  # a wheel has none: the user's own
DATABASE = "mlflow.db"
SQLITE = "sqlite:///"  # and a path
STORAGE = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "TOOLCHAIN_BUCKET")


@dataclass(frozen=True)
class Settings:
    """Settings of the environment."""

    runs: Path  # TOOLCHAIN_RUNS, else runs/ in the working directory: records, artifacts and cache of local runs
    endpoint: str  # KFP_ENDPOINT: URL of a Kubeflow Pipelines server; "": none
    namespace: str  # KFP_NAMESPACE: namespace of Kubeflow Pipelines, or the profile to run in; "": toolchain
    token: str = field(repr=False)  # KFP_TOKEN: bearer token for the endpoint, never printed; "": none
    tracking_uri: str = field(repr=False)  # MLFLOW_TRACKING_URI, which may contain a password, else SQLite in ``runs``
    owner: str = ""  # TOOLCHAIN_OWNER, else the user's login name: owner of runs on a cluster
    resources: str = ""  # TOOLCHAIN_RESOURCES: resource size of steps on a cluster; "": medium
    registry: str = ""  # cluster of the registry at ``tracking_uri``; "": the environment's registry

    @property
    def engine(self) -> str:
        """The default engine: "cluster" if an endpoint is set, else "local"."""
        return "cluster" if self.endpoint else "local"

    @property
    def cache(self) -> Path:
        return self.runs / "cache"

    @property
    def mlflow_database(self) -> Path:
        return self.runs / DATABASE

    @property
    def has_registry(self) -> bool:
        """Whether the registry exists: a SQLite database is a file that is created with the first model."""
        if self.tracking_uri == _default_registry(self.runs):
            return self.mlflow_database.is_file()
        path = self.tracking_uri.removeprefix(SQLITE).partition("?")[0]  # options of SQLite come after "?"
        is_file = self.tracking_uri.startswith(SQLITE) and path and not path.startswith((":memory:", "file:"))
        return not is_file or Path(path).is_file()


def read_settings() -> Settings:
    """Return the settings of this process's environment; ConfigError if TOOLCHAIN_RUNS cannot be a folder."""
    runs = _runs_folder(os.environ.get("TOOLCHAIN_RUNS") or "runs")
    return Settings(
        runs=runs,
        endpoint=os.environ.get("KFP_ENDPOINT", ""),
        namespace=os.environ.get("KFP_NAMESPACE", ""),
        token=os.environ.get("KFP_TOKEN", ""),
        tracking_uri=os.environ.get("MLFLOW_TRACKING_URI") or _default_registry(runs),
        owner=os.environ.get("TOOLCHAIN_OWNER") or _user(),
        resources=os.environ.get("TOOLCHAIN_RESOURCES", ""),
    )


def _runs_folder(path: str) -> Path:
    hint = "set TOOLCHAIN_RUNS to the path of a folder"
    try:
        folder = Path(path).expanduser().absolute()
    except RuntimeError as error:  # "~name" of a user who has no account here
        raise ConfigError(f"{path} has an unknown user; {hint}") from error
    except FileNotFoundError as error:
        raise ConfigError("the working directory was deleted; change to another") from error
    try:
        is_folder = stat.S_ISDIR(folder.stat().st_mode)
    except FileNotFoundError:
        return folder  # the first run creates it
    except OSError as error:
        raise ConfigError(f"{folder}: {(error.strerror or '').lower()}; {hint}") from error
    if not is_folder:
        raise ConfigError(f"{folder} is not a folder; {hint}")
    return folder


def _default_registry(runs: Path) -> str:
    return f"{SQLITE}{runs / DATABASE}"


def open_registry(settings: Settings, model: str = "") -> "Tracker":
    """Return the registry of ``settings``; ConfigError if it does not exist, so that ``model`` cannot be in it."""
    from toolchain.services.mlflow import Tracker

    if not settings.has_registry:
        name = f"no model {model!r}" if model else "no model"
        is_default = settings.tracking_uri == _default_registry(settings.runs)
        where = "" if is_default else f" in {settings.tracking_uri}"
        raise ConfigError(
            f"{name} is registered{where} yet; a pipeline registers one, such as toolchain submit bert_finetune"
        )
    return Tracker(settings.tracking_uri)


def storage_variables() -> dict[str, str]:
    """Return the S3 variables that are set: AWS_* and TOOLCHAIN_BUCKET."""
    return {name: os.environ[name] for name in STORAGE if os.environ.get(name)}


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables during the block.

    They are credentials that boto3 and MLflow read only there, and addresses for a step that runs in this process.
    """
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
    except (KeyError, OSError):  # a container's user may have no login name
        return ""


def step_environment(settings: Settings) -> dict[str, str]:
    """Return the environment variables of the processes of a local run."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {
        **os.environ,
        "PYTHONPATH": path,
        "PYTHONUNBUFFERED": "1",  # progress lines are read as they are printed
        "MLFLOW_TRACKING_URI": settings.tracking_uri,
        "TOOLCHAIN_SCRATCH": os.environ.get("TOOLCHAIN_SCRATCH", str(settings.runs / "scratch")),
        "TOKENIZERS_PARALLELISM": "false",  # otherwise it warns on each fork
    }
