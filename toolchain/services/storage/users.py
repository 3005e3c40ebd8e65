"""Users of the chart's S3 server, one for each role: ``python -m toolchain.services.storage.users``.

``minio`` makes them on a running MinIO server; ``seaweedfs FILE`` writes the configuration that SeaweedFS starts with.
Environment: TOOLCHAIN_BUCKET, AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the administrator, and
for each role ROLE_ACCESS_KEY_ID and ROLE_SECRET_ACCESS_KEY: STEPS, MLFLOW, BACKUP, SERVING, PROMOTER.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from toolchain.artifacts.folder import write_file
from toolchain.errors import ConfigError, ServiceError, ToolchainError
from toolchain.progress import log_info
from toolchain.services.storage import bucket

READ = ("s3:GetObject",)
WRITE = ("s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")
LIST = ("s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads")


@dataclass(frozen=True)
class Role:
    """What the holder of a key may do in the bucket, by prefixes, which end with a slash."""

    reads: tuple[str, ...]
    writes: tuple[str, ...]


STEPS = ("v2/", "sources/", "checkpoints/", "samples/", "data/", "tests/")
ROLES = {
    # What serves, the record of promotions and the backups are not for a pipeline's code to change.
    "steps": Role(reads=(*STEPS, "served/", "ledger/"), writes=STEPS),
    "mlflow": Role(reads=("mlflow/",), writes=("mlflow/",)),
    "backup": Role(reads=("backups/",), writes=("backups/",)),
    "serving": Role(reads=("served/", "samples/"), writes=("samples/",)),
    "promoter": Role(reads=("served/", "ledger/", "samples/"), writes=("served/", "ledger/")),
}


@dataclass(frozen=True)
class Key:
    identifier: str
    secret: str


def main(argv: list[str] | None = None) -> int:
    """Make the users of a server, or the file that it reads; return the exit status."""
    parser = argparse.ArgumentParser(description="Make the users of the S3 server, one for each role.")
    parser.add_argument("server", choices=["minio", "seaweedfs"])
    parser.add_argument("file", type=Path, nargs="?", help="of seaweedfs: where its configuration is written")
    given = parser.parse_args(argv)
    try:
        name, keys = bucket.name(), keys_in(os.environ)
        if given.server == "minio":
            make_minio_users(name, keys)
        elif given.file is None:
            raise ConfigError("seaweedfs needs a FILE: where its configuration is written")
        else:
            write_file(given.file, json.dumps(identities(name, keys), indent=1).encode())
    except ToolchainError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def keys_in(environment: Mapping[str, str]) -> dict[str, Key]:
    """Return the administrator's key as "root" and that of each role; raises ConfigError where one is missing."""
    prefixes = {"root": "AWS", **{role: role.upper() for role in ROLES}}
    names = {role: (f"{prefix}_ACCESS_KEY_ID", f"{prefix}_SECRET_ACCESS_KEY") for role, prefix in prefixes.items()}
    if missing := [name for pair in names.values() for name in pair if not environment.get(name)]:
        raise ConfigError(f"{', '.join(missing)} not set; the chart sets them from its Secrets")
    return {role: Key(environment[first], environment[second]) for role, (first, second) in names.items()}


def policy(name: str, role: Role) -> dict[str, Any]:
    """Return what ``role`` may do in bucket ``name``, as a policy of AWS' language."""
    arn = f"arn:aws:s3:::{name}"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": [*LIST], "Resource": [arn]},
            {"Effect": "Allow", "Action": [*READ], "Resource": [f"{arn}/{prefix}*" for prefix in role.reads]},
            {"Effect": "Allow", "Action": [*WRITE], "Resource": [f"{arn}/{prefix}*" for prefix in role.writes]},
        ],
    }


def identities(name: str, keys: Mapping[str, Key]) -> dict[str, Any]:
    """Return SeaweedFS' configuration: the administrator, and each role with its prefixes in bucket ``name``."""
    actions = {"root": ["Admin", "Read", "Write", "List", "Tagging"]}
    for role, may in ROLES.items():
        reads = [f"Read:{name}/{prefix}*" for prefix in may.reads]
        actions[role] = [f"List:{name}", *reads, *(f"Write:{name}/{prefix}*" for prefix in may.writes)]
    return {
        "identities": [
            {
                "name": role,
                "credentials": [{"accessKey": keys[role].identifier, "secretKey": keys[role].secret}],
                "actions": granted,
            }
            for role, granted in actions.items()
        ]
    }


def make_minio_users(name: str, keys: Mapping[str, Key]) -> None:
    """Make the user of each role, or give it today's secret, and let it do what its role may.

    A key that a role had before, by another identifier, is disabled with the user that it belongs to.

    Raises:
        ServiceError: the server is down or denies access.
    """
    from minio.error import MinioException
    from urllib3.exceptions import HTTPError

    try:
        admin = _admin(keys["root"])
        before = json.loads(admin.user_list())
        for role, may in ROLES.items():
            admin.policy_add(f"toolchain-{role}", policy=policy(name, may))
            admin.user_add(keys[role].identifier, keys[role].secret)
            admin.policy_set(f"toolchain-{role}", user=keys[role].identifier)
        for identifier in _replaced(before, keys):
            admin.user_disable(identifier)
            log_info(f"disabled the key {identifier}, which was replaced")
    except (MinioException, HTTPError, ValueError) as error:
        raise ServiceError(f"MinIO's users cannot be made: {error}") from error
    log_info(f"users of {name}: {', '.join(ROLES)}")


def _replaced(before: Mapping[str, Any], keys: Mapping[str, Key]) -> list[str]:
    """Return the existing users ``before`` that have one of the roles' policies and no longer have a key."""
    ours, current = {f"toolchain-{role}" for role in ROLES}, {key.identifier for key in keys.values()}
    found = [(name, str(user.get("policyName", "")), user.get("status")) for name, user in before.items()]
    return [name for name, held, status in found if held in ours and name not in current and status == "enabled"]


def _admin(root: Key) -> Any:
    from minio import MinioAdmin
    from minio.credentials.providers import StaticProvider

    address = urlsplit(os.environ.get("AWS_ENDPOINT_URL", ""))
    if not address.netloc:
        raise ConfigError("AWS_ENDPOINT_URL is not set; give it the server's address, http://HOST:PORT")
    credentials = StaticProvider(root.identifier, root.secret)
    return MinioAdmin(endpoint=address.netloc, credentials=credentials, secure=address.scheme == "https")


if __name__ == "__main__":
    sys.exit(main())
