"""The chart on a real cluster: it comes up restricted, serves real clients, and keeps what it was given.

The tests run in their order, on one release for each S3 server: what one leaves, the next finds.
"""

import json
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cli.setup import deploy
from tests.support.cluster import Cluster
from toolchain.errors import ServiceError

CHART = Path(__file__).parents[2] / "charts" / "toolchain"
SMALL = CHART / "ci" / "small-values.yaml"
OURS = ["kfp.enabled=false", "argo.enabled=false", "prometheus.type=none"]  # what upstream's images are not needed for
SAME_SIZES = ["mysql.persistence.size=0.0009765625Ti", "storage.persistence.size=1048576Ki"]
MODEL = "sentiment"
OPERATOR = "apiVersion: monitoring.coreos.com/"  # whose kinds are not on this cluster


@pytest.fixture(scope="module", params=["minio", "seaweedfs"])
def release(request: pytest.FixtureRequest, cluster: Callable[[str], Cluster]) -> Cluster:
    found = cluster(f"chart-{request.param}")
    deploy.deploy(found.namespace, [SMALL], [*OURS, f"storage.type={request.param}"], timeout_minutes=6)
    return found


@contextmanager
def mlflow(release: Cluster) -> Iterator[Any]:
    """Yield MLflow's client, logged in as the steps are."""
    from mlflow import MlflowClient

    with release.reached("service/toolchain-mlflow", 5000) as address, pytest.MonkeyPatch.context() as environment:
        for key in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
            environment.setenv(key, release.secret("toolchain-steps", key))
        environment.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        yield MlflowClient(f"http://{address}", f"http://{address}")


@contextmanager
def s3(release: Cluster, secret: str = "toolchain-steps") -> Iterator[Any]:
    """Yield boto3's client with the keys of ``secret``."""
    import boto3
    from botocore.config import Config

    with release.reached("service/toolchain-storage", 9000) as address:
        yield boto3.client(
            "s3",
            endpoint_url=f"http://{address}",
            region_name="us-east-1",
            aws_access_key_id=release.secret(secret, "AWS_ACCESS_KEY_ID"),
            aws_secret_access_key=release.secret(secret, "AWS_SECRET_ACCESS_KEY"),
            config=Config(s3={"addressing_style": "path"}),
        )


def versions(release: Cluster) -> list[str]:
    with mlflow(release) as client:
        return [f"{one.name} {one.version} {one.source}" for one in client.search_model_versions(f"name='{MODEL}'")]


def secrets(release: Cluster) -> dict[str, Any]:
    found = json.loads(release.kubectl("get", "secrets", "--output=json"))["items"]
    return {one["metadata"]["name"]: one["data"] for one in found if one["metadata"]["name"].startswith("toolchain-")}


def run_now(release: Cluster, cron_job: str) -> str:
    """Run what ``cron_job`` runs and return what it said."""
    release.kubectl("create", "job", f"{cron_job}-now", f"--from=cronjob/{cron_job}")
    release.kubectl("wait", "--for=condition=complete", f"job/{cron_job}-now", "--timeout=120s")
    return release.kubectl("logs", f"job/{cron_job}-now", "--all-containers")


def test_every_pod_comes_up_where_only_restricted_ones_may(release: Cluster) -> None:
    labels = json.loads(release.kubectl("get", "namespace", release.namespace, "--output=json"))["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    pods = json.loads(release.kubectl("get", "pods", "--output=json"))["items"]
    assert {pod["status"]["phase"] for pod in pods} == {"Running", "Succeeded"}
    with pytest.raises(AssertionError, match="Read-only file system"):
        release.kubectl("exec", "deployment/toolchain-mlflow", "--", "touch", "/opt/venv/changed")


def test_mlflow_admits_no_client_without_a_password(release: Cluster) -> None:
    with release.reached("service/toolchain-mlflow", 5000) as address:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://{address}/api/2.0/mlflow/experiments/search?max_results=1", timeout=30)
        with urllib.request.urlopen(f"http://{address}/health", timeout=30) as answer:
            assert answer.read() == b"OK"
    assert refused.value.code == 401


def test_mlflow_accepts_its_own_names_only(release: Cluster) -> None:
    with release.reached("service/toolchain-mlflow", 5000) as address:
        stranger = urllib.request.Request(f"http://{address}/", headers={"Host": "evil.example.com"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(stranger, timeout=30)
    assert refused.value.code == 403


def test_a_client_logs_a_run_whose_files_are_in_s3_and_registers_its_model(release: Cluster, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text('{"weights": [1, 2]}')
    with mlflow(release) as client:
        run = client.create_run(client.create_experiment("films"))
        client.log_metric(run.info.run_id, "accuracy", 0.86)
        client.log_artifact(run.info.run_id, str(tmp_path / "model.json"), "model")
        client.create_registered_model(MODEL)
        client.create_model_version(MODEL, f"{run.info.artifact_uri}/model", run.info.run_id)
        assert client.get_run(run.info.run_id).data.metrics == {"accuracy": 0.86}
    with s3(release, "toolchain-storage-mlflow") as client:
        key = f"mlflow/{run.info.experiment_id}/{run.info.run_id}/artifacts/model/model.json"
        assert client.get_object(Bucket="toolchain", Key=key)["Body"].read() == b'{"weights": [1, 2]}'
    assert len(versions(release)) == 1


def test_old_artifacts_and_abandoned_checkpoints_expire_and_nothing_else_does(release: Cluster) -> None:
    with s3(release, "toolchain-storage") as client:
        rules = client.get_bucket_lifecycle_configuration(Bucket="toolchain")["Rules"]
    expiring = {rule["Filter"]["Prefix"]: rule["Expiration"]["Days"] for rule in rules}
    assert expiring == {"v2/artifacts/": 180, "checkpoints/": 14}


def test_the_model_is_there_after_the_database_restarted(release: Cluster) -> None:
    before = versions(release)
    release.kubectl("delete", "pod", "toolchain-mysql-0", "--grace-period=0", "--force")
    release.kubectl("rollout", "status", "statefulset/toolchain-mysql", "--timeout=120s")
    assert versions(release) == before


def test_the_model_is_there_again_after_its_database_was_lost_and_restored(release: Cluster) -> None:
    before = versions(release)
    assert "dumped mlflow" in run_now(release, "toolchain-backup")
    drop = 'MYSQL_PWD=$MYSQL_ROOT_PASSWORD mysql -h $HOSTNAME -u root -e "DROP DATABASE mlflow"'
    release.kubectl("exec", "toolchain-mysql-0", "--", "sh", "-c", drop)
    with pytest.raises(Exception, match=r"(?i)mlflow|database"):
        versions(release)
    assert "restored mlflow" in run_now(release, "toolchain-restore")
    assert versions(release) == before


def test_an_upgrade_keeps_passwords_and_data(release: Cluster) -> None:
    models, passwords, kind = versions(release), secrets(release), release.namespace.removeprefix("chart-")
    deploy.deploy(
        release.namespace, [SMALL], [*OURS, f"storage.type={kind}", "mlflow.workers=2", *SAME_SIZES], timeout_minutes=6
    )
    assert secrets(release) == passwords
    assert versions(release) == models


def test_rotated_passwords_hold_after_an_upgrade_and_after_a_rollback(release: Cluster) -> None:
    """As docs/operate/upgrade-and-restore.md says it: the Secrets are changed by kubectl, then deployed."""
    kind, models = release.namespace.removeprefix("chart-"), versions(release)
    revision = json.loads(helm("status", "toolchain", "--namespace", release.namespace, "--output=json"))["version"]
    rotated = {
        ("toolchain-mysql", "mlflow-password"): "rotated-for-mysql",
        ("toolchain-steps", "AWS_SECRET_ACCESS_KEY"): "rotated-for-s3-of-steps",
        ("toolchain-storage-mlflow", "AWS_SECRET_ACCESS_KEY"): "rotated-for-s3-of-mlflow",
        ("toolchain-steps", "MLFLOW_TRACKING_PASSWORD"): "rotated-for-mlflow",
    }
    for (name, key), value in rotated.items():
        release.kubectl("patch", "secret", name, f"--patch={json.dumps({'stringData': {key: value}})}")
    deploy.deploy(release.namespace, [SMALL], [*OURS, f"storage.type={kind}"], timeout_minutes=6)
    works(release, rotated, models)
    helm("rollback", "toolchain", str(revision), "--namespace", release.namespace, "--wait", "--timeout=6m")
    works(release, rotated, models)


def works(release: Cluster, passwords: dict[tuple[str, str], str], models: list[str]) -> None:
    """Check that ``passwords`` are those of the Secrets and of the services."""
    assert {names: release.secret(*names) for names in passwords} == passwords
    release.kubectl("rollout", "status", "deployment/toolchain-mlflow", "--timeout=180s")
    assert versions(release) == models
    with s3(release) as client:
        client.put_object(Bucket="toolchain", Key="v2/rotated", Body=b"x")


def test_what_was_changed_by_hand_is_named_and_taken_back_on_request(release: Cluster) -> None:
    """What ``kubectl scale`` set, as docs/operate/upgrade-and-restore.md stops what writes, comes back by itself."""
    kind = release.namespace.removeprefix("chart-")
    settings = [*OURS, f"storage.type={kind}"]
    release.kubectl("scale", "deployment", "--all", "--replicas=0")
    deploy.deploy(release.namespace, [SMALL], settings, timeout_minutes=6)
    release.kubectl("patch", "configmap", "toolchain-steps", '--patch={"data": {"TOOLCHAIN_BUCKET": "mine"}}')
    with pytest.raises(ServiceError, match=r"data\.TOOLCHAIN_BUCKET(.|\n)*make deploy FORCE=1"):
        deploy.deploy(release.namespace, [SMALL], settings, timeout_minutes=6)
    deploy.deploy(release.namespace, [SMALL], settings, timeout_minutes=6, force=True)
    found = release.kubectl("get", "configmap", "toolchain-steps", "--output=jsonpath={.data.TOOLCHAIN_BUCKET}")
    assert found == "toolchain"
    assert release.kubectl("get", "deployment/toolchain-mlflow", "--output=jsonpath={.status.readyReplicas}") == "1"


def test_a_key_of_steps_changes_neither_what_serves_nor_backups(release: Cluster) -> None:
    with s3(release) as client:
        for key in ("served/reviews/routing.json", "backups/mysql/x/complete", "mlflow/1/x", "ledger/reviews/1.json"):
            with pytest.raises(client.exceptions.ClientError, match=r"AccessDenied|Access Denied"):
                client.put_object(Bucket="toolchain", Key=key, Body=b"x")


def test_helm_tests_what_it_installed(release: Cluster) -> None:
    said = helm("test", "toolchain", "--namespace", release.namespace, "--logs")
    assert "a password is required" in said
    assert "was written, read and deleted" in said


def test_a_volume_of_another_size_is_rejected_with_what_to_do(release: Cluster) -> None:
    kind = release.namespace.removeprefix("chart-")
    settings = [*OURS, f"storage.type={kind}", "storage.persistence.size=2Gi"]
    with pytest.raises(
        ServiceError, match=rf"storage\.persistence\.size is 2Gi.*enlarge the claim data-toolchain-{kind}-0"
    ):
        deploy.deploy(release.namespace, [SMALL], settings, timeout_minutes=1)


def test_no_password_is_among_the_values_of_the_release(release: Cluster) -> None:
    values = helm("get", "values", "toolchain", "--all", "--namespace", release.namespace)
    keys = [("toolchain-mysql", "root-password"), ("toolchain-mlflow", "password")]
    assert not any(release.secret(name, key) in values for name, key in keys)


def test_uninstalling_leaves_the_data_and_its_passwords_and_nothing_else(release: Cluster) -> None:
    helm("uninstall", "toolchain", "--namespace", release.namespace, "--wait")
    kinds = release.kubectl("api-resources", "--verbs=list", "--namespaced", "--output=name").split()
    passing = {"events", "events.events.k8s.io", "pods"}  # what Kubernetes itself clears away
    listed = release.kubectl("get", ",".join(kind for kind in kinds if kind not in passing), "--output=name").split()
    left = {name for name in listed if name not in {"configmap/kube-root-ca.crt", "serviceaccount/default"}}
    claims = {f"persistentvolumeclaim/data-toolchain-{name}-0" for name in ("mysql", release.namespace[6:])}
    kept = {"mlflow", "mysql", "steps", "storage", "storage-mlflow", "storage-backup", "serving", "promoter"}
    assert left == claims | {f"secret/toolchain-{name}" for name in kept}


def test_a_server_takes_what_each_option_renders(cluster: Callable[[str], Cluster]) -> None:
    fresh = cluster("chart-options")
    fresh.kubectl("create", "namespace", fresh.namespace)
    fresh.kubectl("label", "namespace", fresh.namespace, deploy.POD_SECURITY)
    images = ("--set", "images.base=ghcr.io/toolchain/base:1,images.mlflow=ghcr.io/toolchain/mlflow:1")
    for path in sorted((CHART / "ci").glob("*-values.yaml")):
        chart = (
            "toolchain",
            str(CHART),
            "--skip-tests",
            "--namespace",
            fresh.namespace,
            *images,
            "--values",
            str(path),
        )
        known = "\n---\n".join(one for one in helm("template", *chart).split("\n---\n") if OPERATOR not in one)
        warnings = fresh.kubectl("create", "--dry-run=server", "--filename=-", given=known, errors=True)
        assert "Warning" not in warnings, path.name


def helm(*words: str) -> str:
    program = shutil.which("helm", path=str(Path(sys.executable).parent)) or "helm"
    answer = subprocess.run([program, *words], capture_output=True, text=True, timeout=300, check=False)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout
