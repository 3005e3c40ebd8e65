"""Connect to the S3 bucket of a cluster from this machine, and upload source files to it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cli.compiled.sources import path_of
from cli.compiled.spec import Specification
from cli.settings import Settings, environment, storage_variables
from pipelines._pods import STEPS_CONFIG
from toolchain.artifacts.digest import sha256_of_file
from toolchain.errors import ConfigError, ServiceError
from toolchain.progress import log_info
from toolchain.services import kubernetes, packages, storage
from toolchain.services.folders import digest_of_folder

PROMOTER_SECRET = "toolchain-promoter"  # Secret whose S3 keys may write served models; those of the steps may not
URI_ARGUMENTS = ("source", "images", "weights", "base_model")  # a step reads their file or folder from S3
TEXT_ARGUMENTS = ("policy",)  # a step takes the content of their file


@contextmanager
def cluster_bucket(settings: Settings, namespace: str, secret: str = STEPS_CONFIG) -> Iterator[str]:
    """Yield the name of the cluster's bucket, to which toolchain.services.storage connects during the block.

    AWS_* and TOOLCHAIN_BUCKET of the environment take precedence over the ConfigMap of the steps and the Secret
    ``secret``, which require a kubeconfig that may read them. An address inside the cluster is port-forwarded.

    Raises:
        ServiceError: the bucket is not known, or S3 is not reachable.
    """
    given = storage_variables()
    found = cluster_settings(namespace, secret)
    values = {name: value for name, value in found.items() if name.startswith(("AWS_", "TOOLCHAIN_BUCKET"))} | given
    if "TOOLCHAIN_BUCKET" not in values:
        raise ServiceError(
            f"the cluster's bucket is not known: set TOOLCHAIN_BUCKET and AWS_*, or let the kubeconfig's user read the "
            f"Secret {secret} and the ConfigMap {STEPS_CONFIG} of namespace {namespace}"
        )
    endpoint = values.get("AWS_ENDPOINT_URL", "")
    service = None if "AWS_ENDPOINT_URL" in given else service_address(endpoint, namespace)
    with kubernetes.forwarded(*service) if service else nullcontext(0) as port:
        if service:
            values["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{port}"
        with environment({name: value for name, value in values.items() if name.startswith("AWS_")}):
            yield values["TOOLCHAIN_BUCKET"]


def cluster_settings(namespace: str, secret: str) -> dict[str, str]:
    """Return the environment of the steps, with the keys and the login of ``secret``; {} without a cluster."""
    if not kubernetes.is_configured():
        return {}
    return kubernetes.settings_of(namespace, STEPS_CONFIG) | kubernetes.settings_of(namespace, secret)


def upload_sources(spec: Specification, values: Mapping[str, Any], bucket: str) -> dict[str, Any]:
    """Upload the local files and folders that ``values`` name to ``bucket``; return ``values`` with their URIs.

    They are stored at ``sources/<SHA-256>/<name>``, so an unchanged file is uploaded only once.

    Raises:
        ConfigError: a value names a file that its step cannot read from S3.
        ServiceError: S3 is down or denies access.
    """
    uploaded = dict(values)
    for name, path in local_files(spec, values).items():
        arguments = _arguments_of(spec, name)
        if arguments & set(TEXT_ARGUMENTS):
            uploaded[name] = path.read_text(encoding="utf-8")
        elif arguments & set(URI_ARGUMENTS):
            uploaded[name] = _upload(path, bucket)
        else:
            raise ConfigError(
                f"{name} is {values[name]!r}, a file of this machine, which a step on a cluster cannot read: give its "
                "content, or submit with --engine local"
            )
    return uploaded


def remote_values(spec: Specification, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that ``upload_sources`` returns, with S3 URIs as keys without the bucket; upload nothing."""
    return dict(values) | {
        name: path.read_text(encoding="utf-8") if _arguments_of(spec, name) & set(TEXT_ARGUMENTS) else _key(path)
        for name, path in local_files(spec, values).items()
    }


def local_files(spec: Specification, values: Mapping[str, Any]) -> dict[str, Path]:
    """Return the local files and folders that ``values`` name, by parameter."""
    named = {name: _path(name, value, spec) for name, value in values.items()}
    return {name: path for name, path in named.items() if path}


def _path(parameter: str, value: Any, spec: Specification) -> Path | None:
    """Return the local file or folder that a step opens for ``parameter``; Python packages are in the steps' images."""
    if isinstance(value, str) and value.startswith(packages.PREFIX):
        return None
    return next((path for name in _arguments_of(spec, parameter) if (path := path_of(name, value))), None)


def _arguments_of(spec: Specification, parameter: str) -> set[str]:
    return {name for task in spec.tasks for name, given in task.parameters.items() if given == parameter}


def _upload(path: Path, bucket: str) -> str:
    uri = f"s3://{bucket}/{_key(path)}"
    log_info(f"uploading {path} to {uri}")
    return storage.upload(path, uri)


def _key(path: Path) -> str:
    """Return the key of a file, or the prefix of a folder, in the bucket; it contains a digest of the content."""
    if path.is_dir():
        return f"sources/{digest_of_folder(path)}/{path.name}/"
    return f"sources/{sha256_of_file(path)}/{path.name}"


def service_address(address: str, namespace: str) -> tuple[str, str, int] | None:
    """Return (namespace, service, port) of an ``address`` inside the cluster; None for any other address."""
    parts = urlsplit(address)
    labels = (parts.hostname or "").split(".")
    internal = len(labels) == 1 or labels[2:3] == ["svc"] or labels[1:] == [namespace]
    if not labels[0] or not internal or labels == ["localhost"]:
        return None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return labels[1] if len(labels) > 1 else namespace, labels[0], port
