"""The bucket that everything is kept in, made and given its rules: ``python -m toolchain.services.storage.bucket``.

Environment: TOOLCHAIN_BUCKET (its name), AWS_DEFAULT_REGION, and what ``s3`` reads.
"""

import argparse
import os
import sys
from typing import Any

from toolchain.errors import ConfigError, ToolchainError
from toolchain.services.storage import s3, s3_errors

ARTIFACTS = "v2/artifacts/"  # of Kubeflow Pipelines; what MLflow keeps is under mlflow/, and no rule is for that
CHECKPOINTS = "checkpoints/"  # a training at work writes its own anew every few minutes
CHECKPOINT_DAYS = 14  # a training that was killed and has not gone on for so long has been given up
ARTIFACTS_RULE, CHECKPOINTS_RULE = "toolchain-old-artifacts", "toolchain-abandoned-checkpoints"


def main(argv: list[str] | None = None) -> int:
    """Make the bucket and set its rules; return the exit status."""
    parser = argparse.ArgumentParser(description="Make the bucket and set what expires in it.")
    parser.add_argument("--expire-after-days", type=int, default=0, metavar="N", help=f"under {ARTIFACTS}; 0: never")
    try:
        bucket = name()
        prepare(bucket, parser.parse_args(argv).expire_after_days)
    except ToolchainError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"s3://{bucket} is there")
    return 0


def name() -> str:
    """Return the bucket's name; raises ConfigError when the environment has none."""
    bucket = os.environ.get("TOOLCHAIN_BUCKET", "")
    if not bucket:
        raise ConfigError("TOOLCHAIN_BUCKET is not set; give it the name of the bucket")
    return bucket


def prepare(bucket: str, expire_after_days: int) -> None:
    """Make ``bucket`` unless it is there; let artifacts and abandoned checkpoints expire. Other rules stay as they are.

    Args:
        bucket: Its name.
        expire_after_days: Days from an artifact's writing, at least 1; 0 keeps artifacts.

    Raises:
        ServiceError: S3 is down or denies access.
    """
    client = s3.client()
    with s3_errors.reported(f"s3://{bucket}", "written"):
        if not _exists(client, bucket):
            client.create_bucket(Bucket=bucket, **_location(client.meta.region_name))
        others = [one for one in _rules(client, bucket) if one.get("ID") not in (ARTIFACTS_RULE, CHECKPOINTS_RULE)]
        artifacts = [_expiry(ARTIFACTS_RULE, ARTIFACTS, expire_after_days)] if expire_after_days else []
        _set_rules(client, bucket, [*others, _expiry(CHECKPOINTS_RULE, CHECKPOINTS, CHECKPOINT_DAYS), *artifacts])


def _exists(client: Any, bucket: str) -> bool:
    try:
        client.head_bucket(Bucket=bucket)
    except client.exceptions.ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
        return False
    return True


def _location(region: str) -> dict[str, Any]:
    """Return what ``create_bucket`` needs; S3 rejects its own first region as a constraint."""
    return {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}


def _rules(client: Any, bucket: str) -> list[dict[str, Any]]:
    try:
        return list(client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"])
    except client.exceptions.ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchLifecycleConfiguration":
            raise
        return []


def _expiry(name: str, prefix: str, days: int) -> dict[str, Any]:
    return {"ID": name, "Status": "Enabled", "Filter": {"Prefix": prefix}, "Expiration": {"Days": days}}


def _set_rules(client: Any, bucket: str, rules: list[dict[str, Any]]) -> None:
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})


if __name__ == "__main__":
    sys.exit(main())
