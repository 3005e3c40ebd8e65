"""The checks of the platform against real sockets, and what Prometheus' own parser reads of them."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from toolchain.services import platform_metrics
from toolchain.services.storage import backups

NOW = datetime(2026, 3, 31, 3, 17, tzinfo=UTC)
NOWHERE = "127.0.0.1:9"  # discard: nothing listens there
GREETING = b"\x4a\x00\x00\x00\x0a8.4.6\x00"  # the begin of MySQL's initial handshake, protocol 10
TOO_MANY = b"\x17\x00\x00\x00\xff\x10\x04Too many connections"


@contextmanager
def greeting(first: bytes) -> Iterator[str]:
    """Yield HOST:PORT of a server that sends ``first`` to each who connects."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_greet, args=(server, first), daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def _greet(server: socket.socket, first: bytes) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            connection.sendall(first)


@pytest.fixture
def platform(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of the bucket that the exporter looks into."""
    monkeypatch.setenv("TOOLCHAIN_BUCKET", s3_bucket)
    return s3_bucket


def found(**environment: str) -> dict[tuple[str, ...], float]:
    text = platform_metrics.exposition(platform_metrics.samples(environment, NOW.timestamp()))
    read = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(one.name, *one.labels.values()): one.value for one in read}


def test_dependencies_that_respond_are_up(platform: str, answering: Callable[..., str]):
    with greeting(GREETING) as mysql:
        samples = found(CHECK_MYSQL=mysql, CHECK_MLFLOW=answering(200, "OK"))
    assert {key[1]: value for key, value in samples.items() if key[0] == "toolchain_dependency_up"} == {
        "s3": 1,
        "mysql": 1,
        "mlflow": 1,
    }


def test_dependencies_that_do_not_respond_are_down(platform: str):
    samples = found(CHECK_MYSQL=NOWHERE, CHECK_MLFLOW=f"http://{NOWHERE}", CHECK_TLS=f"{NOWHERE},localhost:9")
    downs = {key[1] for key, value in samples.items() if key[0] == "toolchain_dependency_up" and value == 0}
    assert downs == {"mysql", "mlflow", f"tls {NOWHERE}", "tls localhost:9"}


@pytest.mark.parametrize("first", [TOO_MANY, b"SSH-2.0-x", b""])
def test_a_server_that_admits_no_client_is_no_mysql(first: bytes):
    with greeting(first) as address, pytest.raises(OSError, match="does not greet"):
        platform_metrics.check_mysql(address)


def test_the_age_of_the_newest_complete_backup_is_reported(platform: str, tmp_path: Path):
    (tmp_path / "mlflow.sql.gz").write_bytes(b"dump")
    assert found(BACKUP_MAX_AGE_HOURS="30")["toolchain_backups",] == 0
    for days in (2, 1):
        backups.store(tmp_path, f"s3://{platform}/backups/mysql", NOW - timedelta(days=days), 14)
    samples = found(BACKUP_MAX_AGE_HOURS="30")
    assert samples["toolchain_backups",] == 2
    assert NOW.timestamp() - samples["toolchain_backup_last_success_timestamp_seconds",] == 86_400
    assert samples["toolchain_backup_max_age_seconds",] == 108_000


def test_without_s3_nothing_is_reported_of_backups(platform: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TOOLCHAIN_BUCKET", "another-bucket")
    samples = found(BACKUP_MAX_AGE_HOURS="30")
    assert samples["toolchain_dependency_up", "s3"] == 0
    assert ("toolchain_backups",) not in samples


def test_minio_shows_how_full_its_volume_is(answering: Callable[..., str]):
    page = (
        "# TYPE minio_cluster_capacity_usable_free_bytes gauge\n"
        'minio_cluster_capacity_usable_free_bytes{server="127.0.0.1:9000"} 1.2e+10\n'
        'minio_cluster_capacity_usable_total_bytes{server="127.0.0.1:9000"} 4.0e+10\n'
    )
    endpoint = answering(200, page)
    assert [value for _, _, value in platform_metrics.storage_capacity(endpoint)] == [1.2e10, 4e10]
    assert list(platform_metrics.storage_capacity(f"http://{NOWHERE}")) == []


def test_a_certificate_shows_when_it_expires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    expiry = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
    certificate = write_certificate(tmp_path, expiry)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as plain, context.wrap_socket(plain, server_side=True) as server:
        threading.Thread(target=server.accept, daemon=True).start()
        found_expiry = platform_metrics.certificate_expiry(f"localhost:{server.getsockname()[1]}")
    assert found_expiry == expiry.timestamp()


def write_certificate(folder: Path, expiry: datetime) -> Path:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(expiry)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (file := folder / "server.pem").write_bytes(key.private_bytes(*plain) + made.public_bytes(plain[0]))
    return file


def test_labels_are_escaped_as_the_text_format_wants_it():
    text = platform_metrics.exposition([("up", {"host": 'a"b\\c\nd'}, 1.0)])
    (family,) = text_string_to_metric_families(text)
    assert family.samples[0].labels == {"host": 'a"b\\c\nd'}
