"""Checkpoints on this machine and in a real S3 server, by trainings that are really killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from toolchain.artifacts.model import open_model
from toolchain.errors import ConfigError, ServiceError
from toolchain.frameworks.torch.checkpoint import Checkpoint, find_checkpoint
from toolchain.frameworks.torch.device import TrainingDevice
from toolchain.services.storage import exists, listing, s3, s3_errors
from toolchain.train.torch_image import Config, run

MODULE = "toolchain.train.torch_image"
CPU = torch.device("cpu")
DEVICE = TrainingDevice(CPU, None)
SETTINGS = {"epochs": 10, "patience": 10, "batch_size": 16, "checkpoint_batches": 2, "ema_decay": 0.9}

SAVES = 6  # of the training that is killed: it is in its second pass over 120 rows then
KILLED = """
import os, signal
from toolchain.frameworks.torch.checkpoint import Checkpoint
from toolchain.train.torch_image import *

save, saves = Checkpoint.save, []

def save_and_end(checkpoint, state):
    save(checkpoint, state)
    checkpoint.copies.wait()
    saves.append(state)
    if len(saves) == {saves}:
        os.kill(os.getpid(), signal.SIGKILL)

Checkpoint.save = save_and_end
run(Path({digits!r}), Path("killed"), Config({words}))
"""


@pytest.fixture
def location(s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Keep checkpoints in an empty scratch folder and an empty S3 location, which is returned."""
    monkeypatch.setattr(s3_errors, "MAX_RETRY_S", 0.2)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("TOOLCHAIN_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setenv("TOOLCHAIN_CHECKPOINTS", f"s3://{s3_bucket}/checkpoints")
    return f"s3://{s3_bucket}/checkpoints"


def on_a_fresh_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setenv("TOOLCHAIN_SCRATCH", str(tmp_path / name))


def saved(number: int) -> Checkpoint:
    """Save the state {"step": number} of one training, and wait for its copy."""
    made = find_checkpoint(MODULE, DEVICE, rows="digest")
    made.save({"step": number})
    assert made.copies
    made.copies.wait()
    return made


def test_another_machine_finds_the_checkpoint(location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    saved(3)
    on_a_fresh_disk(monkeypatch, tmp_path, "other")
    assert find_checkpoint(MODULE, DEVICE, rows="digest").load(CPU) == {"step": 3}
    assert find_checkpoint(MODULE, DEVICE, rows="others").load(CPU) is None


def test_the_newer_of_two_is_taken(location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    saved(1)
    on_a_fresh_disk(monkeypatch, tmp_path, "other")
    saved(2)
    on_a_fresh_disk(monkeypatch, tmp_path, "scratch")
    assert find_checkpoint(MODULE, DEVICE, rows="digest").load(CPU) == {"step": 2}, "S3 has a newer one"
    monkeypatch.delenv("TOOLCHAIN_CHECKPOINTS")
    find_checkpoint(MODULE, DEVICE, rows="digest").save({"step": 3})
    monkeypatch.setenv("TOOLCHAIN_CHECKPOINTS", location)
    assert find_checkpoint(MODULE, DEVICE, rows="digest").load(CPU) == {"step": 3}, "this machine has a newer one"


def test_a_training_that_is_done_leaves_nothing(location: str, tmp_path: Path):
    made = saved(1)
    made.save({"step": 2})
    made.remove()
    assert not listing(location)
    assert not list((tmp_path / "scratch" / "checkpoints").iterdir())


def test_a_copy_that_is_cut_off_leaves_the_former_one(location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Large files go in parts; the upload of this one ends before its last part."""
    made = saved(1)
    (tmp_path / "large").write_bytes(bytes(12 << 20))
    client, bucket = s3.client(), location.split("/")[2]
    assert made.copies
    key = made.copies.uri.removeprefix(f"s3://{bucket}/")
    begun = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    client.upload_part(Bucket=bucket, Key=key, UploadId=begun, PartNumber=1, Body=bytes(8 << 20))
    on_a_fresh_disk(monkeypatch, tmp_path, "other")
    assert find_checkpoint(MODULE, DEVICE, rows="digest").load(CPU) == {"step": 1}


def test_s3_that_is_down_costs_the_copy_and_not_the_training(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    made = find_checkpoint(MODULE, DEVICE, rows="digest")
    address = os.environ["AWS_ENDPOINT_URL"]
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    made.save({"step": 1})
    assert made.copies
    made.copies.wait()
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("checkpoint not copied to S3, training continues: s3://")]
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    assert made.load(CPU) == {"step": 1}
    saved(2)
    on_a_fresh_disk(monkeypatch, tmp_path, "other")
    assert find_checkpoint(MODULE, DEVICE, rows="digest").load(CPU) == {"step": 2}, "the next one is copied again"


def test_a_training_does_not_begin_again_while_s3_is_down(location: str, monkeypatch: pytest.MonkeyPatch):
    saved(1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(ServiceError, match=r"cannot be read from http://127\.0\.0\.1:9"):
        find_checkpoint(MODULE, DEVICE, rows="digest").load(CPU)


def test_a_location_that_cannot_be_is_rejected_before_training(location: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TOOLCHAIN_CHECKPOINTS", "/var/checkpoints")
    with pytest.raises(ConfigError, match="TOOLCHAIN_CHECKPOINTS"):
        find_checkpoint(MODULE, DEVICE, rows="digest")
    monkeypatch.setenv("TOOLCHAIN_CHECKPOINTS", "s3://nowhere/checkpoints")
    with pytest.raises(ServiceError, match="does not exist; check the bucket"):
        find_checkpoint(MODULE, DEVICE, rows="digest").load(CPU)
    monkeypatch.setenv("TOOLCHAIN_CHECKPOINTS", location)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(ServiceError, match="credentials are missing"):
        find_checkpoint(MODULE, DEVICE, rows="digest").load(CPU)


@pytest.mark.slow
def test_a_pod_that_was_killed_goes_on_elsewhere_to_the_same_result(
    location: str, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    words = ", ".join(f"{name}={value!r}" for name, value in SETTINGS.items())
    program = KILLED.format(digits=str(digits), words=words, saves=SAVES)
    pod = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert pod.returncode == -signal.SIGKILL
    (copy,) = listing(location)
    assert not (tmp_path / "killed").exists()

    on_a_fresh_disk(monkeypatch, tmp_path, "new pod")
    run(digits, tmp_path / "resumed", Config(**SETTINGS))
    assert f"resuming training from {copy.uri}" in capsys.readouterr().out
    assert not exists(copy.uri), "a checkpoint goes when the model is written"
    run(digits, tmp_path / "whole", Config(**SETTINGS))
    assert open_model(tmp_path / "resumed").files == open_model(tmp_path / "whole").files
