"""The bucket is made once, and what expires in it is what was asked for."""

from typing import Any

import pytest

from toolchain.errors import ConfigError
from toolchain.services.storage import bucket, s3

NAME = "kept-things"


@pytest.fixture(autouse=True)
def server(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have an S3 server, whose own bucket is not the one of these tests."""
    monkeypatch.setenv("TOOLCHAIN_BUCKET", NAME)


def rules() -> list[dict[str, Any]]:
    return bucket._rules(s3.client(), NAME)


def expiring() -> dict[str, int]:
    return {rule["Filter"]["Prefix"]: rule["Expiration"]["Days"] for rule in rules()}


def test_a_bucket_is_made_with_its_rule_and_making_it_again_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert bucket.main(["--expire-after-days", "90"]) == 0
        assert expiring() == {"v2/artifacts/": 90, "checkpoints/": 14}
    assert capsys.readouterr().out == f"s3://{NAME} is there\n" * 2


def test_the_rule_follows_the_days_and_goes_with_them_while_others_stay() -> None:
    bucket.prepare(NAME, 90)
    other = {"ID": "mine", "Status": "Enabled", "Filter": {"Prefix": "mine/"}, "Expiration": {"Days": 3}}
    bucket._set_rules(s3.client(), NAME, [*rules(), other])
    bucket.prepare(NAME, 7)
    assert expiring() == {"mine/": 3, "v2/artifacts/": 7, "checkpoints/": 14}
    bucket.prepare(NAME, 0)
    assert expiring() == {"mine/": 3, "checkpoints/": 14}


def test_without_a_name_nothing_is_requested_of_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOOLCHAIN_BUCKET")
    with pytest.raises(ConfigError, match="TOOLCHAIN_BUCKET is not set"):
        bucket.name()


def test_a_name_that_s3_does_not_take_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOOLCHAIN_BUCKET", "Not A Bucket")
    assert bucket.main([]) == 1
    assert "Not A Bucket" in capsys.readouterr().err
