"""Passwords are generated once, and are in Secrets only."""

import base64
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.chart import CHART

Resources = tuple[dict[str, Any], ...]
ALWAYS = "--set=backup.retentionDays=14"  # what is rendered again with the same words comes from the cache


def passwords(resources: Resources) -> dict[str, str]:
    return {
        f"{resource['metadata']['name']}/{key}": base64.b64decode(value).decode()
        for resource in resources
        if resource["kind"] == "Secret"
        for key, value in resource.get("data", {}).items()
        if not key.lower().endswith("username")
    }


def test_passwords_are_long_and_unique(render: Callable[..., Resources]) -> None:
    found = passwords(render())
    assert {
        "toolchain-mysql/root-password",
        "toolchain-mlflow/password",
        "toolchain-grafana/password",
        "toolchain-steps/AWS_SECRET_ACCESS_KEY",
        "toolchain-storage/AWS_SECRET_ACCESS_KEY",
        "toolchain-serving/AWS_SECRET_ACCESS_KEY",
        "toolchain-promoter/AWS_SECRET_ACCESS_KEY",
    } <= set(found)
    assert all(len(value) == 32 for value in found.values())
    assert len(set(found.values())) == len(found)


def test_two_installations_have_different_passwords(render: Callable[..., Resources]) -> None:
    one, other = passwords(render()), passwords(render(ALWAYS))
    assert one.keys() == other.keys()
    assert not set(one.values()) & set(other.values())


def test_passwords_are_in_their_secrets_only(render: Callable[..., Resources]) -> None:
    resources = render()
    elsewhere = str([resource for resource in resources if resource["kind"] != "Secret"])
    for name, value in passwords(resources).items():
        assert value not in elsewhere, name
        assert base64.b64encode(value.encode()).decode() not in elsewhere, name


def test_secrets_and_volumes_outlive_the_release(render: Callable[..., Resources]) -> None:
    kept = [r for r in render() if r["kind"] == "Secret" and r["metadata"]["name"].startswith("toolchain-")]
    assert kept
    for secret in kept:
        assert secret["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_no_revision_of_the_release_owns_a_secret(render: Callable[..., Resources]) -> None:
    """Otherwise a rollback would restore an old password, and an upgrade would conflict with a manual change."""
    for secret in (resource for resource in render() if resource["kind"] == "Secret"):
        annotations = secret["metadata"]["annotations"]
        assert annotations["helm.sh/hook"] == "pre-install,pre-upgrade"
        assert annotations["helm.sh/hook-delete-policy"] == "hook-failed"  # helm's default deletes what is there


def test_pods_restart_when_their_secrets_change(render: Callable[..., Resources]) -> None:
    """Two renderings have different passwords; Secrets of one's own are not seen here, and count as the same."""

    def checksums(*words: str) -> dict[str, str]:
        pods = {
            resource["metadata"]["name"]: resource["spec"]["template"]["metadata"].get("annotations", {})
            for resource in render(*words)
            if resource["kind"] in {"Deployment", "StatefulSet"} and secrets_named(resource)
        }
        return {name: found["checksum/secrets"] for name, found in pods.items()}

    one, other = checksums(), checksums(ALWAYS)
    assert {"toolchain-mysql", "toolchain-minio", "toolchain-mlflow", "ml-pipeline", "toolchain-grafana"} <= set(one)
    assert [name for name in one if one[name] == other[name]] == []
    own = ("--values", str(CHART / "ci" / "existing-secrets-values.yaml"))
    assert checksums(*own) == checksums(*own, ALWAYS)


def test_only_the_s3_server_has_the_keys_of_its_administrator(render: Callable[..., Resources]) -> None:
    holders = {
        resource["metadata"]["name"].rstrip("0123456789abcdef").rstrip("-")
        for resource in render()
        if "toolchain-storage" in secrets_named(resource)
    }
    assert holders == {"toolchain-minio", "toolchain-bucket"}


@pytest.mark.parametrize(
    ("kind", "name", "secret"),
    [
        ("Deployment", "toolchain-mlflow", "toolchain-storage-mlflow"),
        ("CronJob", "toolchain-backup", "toolchain-storage-backup"),
        ("Deployment", "toolchain-exporter", "toolchain-storage-backup"),
        ("Deployment", "ml-pipeline", "toolchain-steps"),
    ],
)
def test_each_service_has_the_keys_of_its_role(
    kind: str, name: str, secret: str, render: Callable[..., Resources]
) -> None:
    (found,) = [one for one in render() if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    assert s3_secrets(found) == {secret}
    external = render("--values", str(CHART / "ci" / "external-storage-values.yaml"))
    (found,) = [one for one in external if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    assert s3_secrets(found) == {"toolchain-steps"}


def s3_secrets(value: Any) -> set[str]:
    """Return the names of the Secrets that S3 keys are taken from, anywhere in ``value``."""
    if isinstance(value, dict):
        found = value.get("secretKeyRef", {})
        here = {found["name"]} if found.get("key") == "AWS_SECRET_ACCESS_KEY" else set()
        return here.union(*(s3_secrets(inner) for inner in value.values()))
    return set().union(*map(s3_secrets, value)) if isinstance(value, list) else set()


def test_existing_secrets_are_used_and_none_is_created(render: Callable[..., Resources]) -> None:
    resources = render(
        "--set=mysql.existingSecret=databases,mlflow.existingSecret=administrator,steps.existingSecret=toolchain-steps",
        "--set=grafana.existingSecret=viewers,storage.existingSecrets=true",
    )
    assert passwords(resources) == {}
    assert {"databases", "administrator", "toolchain-steps", "viewers"} <= set(secrets_named(resources))


def test_an_upgrade_without_access_to_the_cluster_is_an_error(error_of: Callable[..., str]) -> None:
    assert "cannot read the cluster" in error_of("--is-upgrade")


def secrets_named(value: Any) -> list[str]:
    """Return the names of all Secrets that environment variables are taken from, anywhere in ``value``."""
    if isinstance(value, dict):
        here = [value["secretKeyRef"]["name"]] if "secretKeyRef" in value else []
        return here + [name for inner in value.values() for name in secrets_named(inner)]
    if isinstance(value, list | tuple):
        return [name for inner in value for name in secrets_named(inner)]
    return []
