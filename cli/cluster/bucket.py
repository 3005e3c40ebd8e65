"""The cluster's S3 as this machine reaches it: its address, its keys, and source files brought there."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cli.compiled.sources import path_of
from cli.compiled.spec import Specification
from cli.settings import Settings, environment, storage_variables
from toolchain.artifacts.digest import sha256_of_file
from toolchain.errors import ConfigError, ServiceError
from toolchain.progress import log_info
from toolchain.services import kubernetes, packages, storage
from toolchain.services.folders import digest_of_folder

PROMOTER = (
    "toolchain-promoter"  # the Secret of those who promote: its keys may write what is served, the steps' may not
)
OURS = "toolchain-steps"  # the ConfigMap and Secret that tell steps of S3; they tell us too, where we may read them
FETCHED = ("source", "images", "weights", "base_model")  # arguments whose file or folder a step can take from S3
TEXT = ("policy",)  # arguments whose file a step takes as text


@contextmanager
def reached(settings: Settings, namespace: str, secret: str = OURS) -> Iterator[str]:
    """Yield the name of the cluster's bucket; while the block lasts, the door to S3 leads there.

    The keys are those of ``secret``, where there is one. The environment's AWS_* and TOOLCHAIN_BUCKET come first, then
    what the cluster tells its steps, where the kubeconfig may read that. An address inside the cluster is reached by a
    forwarded port.

    Raises:
        ServiceError: neither says where S3 is, or it cannot be reached.
    """
    said = storage_variables()
    told = settings_in_cluster(namespace, secret)
    values = {**{name: value for name, value in told.items() if name.startswith(("AWS_", "TOOLCHAIN_BUCKET"))}, **said}
    if "TOOLCHAIN_BUCKET" not in values:
        raise ServiceError(
            f"the cluster's bucket is not known: set TOOLCHAIN_BUCKET and AWS_*, or let the kubeconfig's user read the "
            f"Secret {secret} and the ConfigMap {OURS} of namespace {namespace}"
        )
    place = None if "AWS_ENDPOINT_URL" in said else inside(values.get("AWS_ENDPOINT_URL", ""), namespace)
    forwarding = kubernetes.forwarded(*place) if place else nullcontext(0)
    with forwarding as port:
        if place:
            values["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{port}"
        with environment({name: value for name, value in values.items() if name.startswith("AWS_")}):
            yield values["TOOLCHAIN_BUCKET"]


def settings_in_cluster(namespace: str, secret: str) -> dict[str, str]:
    """Return what the cluster tells its steps, but for the keys and the login of ``secret``; {} without a cluster."""
    if not kubernetes.is_configured():
        return {}
    return kubernetes.settings_of(namespace, OURS) | kubernetes.settings_of(namespace, secret)


def bring(spec: Specification, values: Mapping[str, Any], bucket: str) -> dict[str, Any]:
    """Return ``values`` with the files and folders of this machine that they name brought to ``bucket``.

    They go to ``sources/<SHA-256>/<name>``: what is there already is not sent again, and a changed file is another.

    Raises:
        ConfigError: a value names a file that its step cannot take from S3.
        ServiceError: S3 is down or refuses.
    """
    brought = dict(values)
    for name, path in local_files(spec, values).items():
        taken_as = _arguments_of(spec, name)
        if taken_as & set(TEXT):
            brought[name] = path.read_text(encoding="utf-8")
        elif taken_as & set(FETCHED):
            brought[name] = _brought(path, bucket)
        else:
            raise ConfigError(
                f"{name} is {values[name]!r}, a file of this machine, which a step on a cluster cannot see"
            )
    return brought


def arrivals(spec: Specification, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``values`` as ``bring`` would, a URI in S3 without its bucket; nothing is sent."""
    return dict(values) | {
        name: path.read_text(encoding="utf-8") if _arguments_of(spec, name) & set(TEXT) else _key(path)
        for name, path in local_files(spec, values).items()
    }


def local_files(spec: Specification, values: Mapping[str, Any]) -> dict[str, Path]:
    """Return the files and folders of this machine that ``values`` name, by parameter."""
    named = {name: _path(name, value, spec) for name, value in values.items()}
    return {name: path for name, path in named.items() if path}


def _path(parameter: str, value: Any, spec: Specification) -> Path | None:
    """Return the file or folder that a step would open for the ``parameter``; packages are in the steps' images."""
    if isinstance(value, str) and value.startswith(packages.PREFIX):
        return None
    return next((path for name in _arguments_of(spec, parameter) if (path := path_of(name, value))), None)


def _arguments_of(spec: Specification, parameter: str) -> set[str]:
    return {name for task in spec.tasks for name, given in task.parameters.items() if given == parameter}


def _brought(path: Path, bucket: str) -> str:
    uri = f"s3://{bucket}/{_key(path)}"
    log_info(f"{path} goes to {uri}")
    return storage.upload(path, uri)


def _key(path: Path) -> str:
    """Return the key of a file in the bucket, or the prefix of a folder, by its content."""
    if path.is_dir():
        return f"sources/{digest_of_folder(path)}/{path.name}/"
    return f"sources/{sha256_of_file(path)}/{path.name}"


def inside(address: str, namespace: str) -> tuple[str, str, int] | None:
    """Return (namespace, service, port) of an ``address`` that only the cluster's inside reaches."""
    parts = urlsplit(address)
    words = (parts.hostname or "").split(".")
    if (
        not words[0]
        or not (len(words) == 1 or words[2:3] == ["svc"] or words[1:] == [namespace])
        or words == ["localhost"]
    ):
        return None
    return words[1] if len(words) > 1 else namespace, words[0], parts.port or (443 if parts.scheme == "https" else 80)
