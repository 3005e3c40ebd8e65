"""Passwords are made once, are of nobody's choosing, and stand in Secrets only."""

import base64
from collections.abc import Callable
from typing import Any

Resources = tuple[dict[str, Any], ...]
ALWAYS = "--set=backup.keepDays=14"  # what is rendered again with the same words comes from the cache


def passwords(resources: Resources) -> dict[str, str]:
    return {
        f"{resource['metadata']['name']}/{key}": base64.b64decode(value).decode()
        for resource in resources
        if resource["kind"] == "Secret"
        for key, value in resource.get("data", {}).items()
        if not key.lower().endswith("username")
    }


def test_every_password_is_long_and_its_own(render: Callable[..., Resources]) -> None:
    found = passwords(render())
    assert {
        "toolchain-mysql/root-password",
        "toolchain-mlflow/password",
        "toolchain-grafana/password",
        "toolchain-steps/AWS_SECRET_ACCESS_KEY",
    } <= set(found)
    assert all(len(value) == 32 for value in found.values())
    assert len(set(found.values())) == len(found)


def test_two_installations_have_different_passwords(render: Callable[..., Resources]) -> None:
    one, other = passwords(render()), passwords(render(ALWAYS))
    assert one.keys() == other.keys()
    assert not set(one.values()) & set(other.values())


def test_no_password_stands_anywhere_but_in_its_secret(render: Callable[..., Resources]) -> None:
    resources = render()
    elsewhere = str([resource for resource in resources if resource["kind"] != "Secret"])
    for name, value in passwords(resources).items():
        assert value not in elsewhere, name
        assert base64.b64encode(value.encode()).decode() not in elsewhere, name


def test_what_data_depends_on_outlives_the_release(render: Callable[..., Resources]) -> None:
    kept = [r for r in render() if r["kind"] == "Secret" and r["metadata"]["name"].startswith("toolchain-")]
    assert kept
    for secret in kept:
        assert secret["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_existing_secrets_are_used_and_none_is_made(render: Callable[..., Resources]) -> None:
    resources = render(
        "--set=mysql.existingSecret=databases,mlflow.existingSecret=administrator,steps.existingSecret=toolchain-steps",
        "--set=grafana.existingSecret=viewers",
    )
    assert passwords(resources) == {}
    assert {"databases", "administrator", "toolchain-steps", "viewers"} <= set(secrets_named(resources))


def test_an_upgrade_that_cannot_see_the_cluster_is_refused(refusal: Callable[..., str]) -> None:
    assert "cannot read the cluster" in refusal("--is-upgrade")


def secrets_named(value: Any) -> list[str]:
    """Return the names of all Secrets that environment variables are taken from, anywhere in ``value``."""
    if isinstance(value, dict):
        here = [value["secretKeyRef"]["name"]] if "secretKeyRef" in value else []
        return here + [name for inner in value.values() for name in secrets_named(inner)]
    if isinstance(value, list | tuple):
        return [name for inner in value for name in secrets_named(inner)]
    return []
