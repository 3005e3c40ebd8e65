"""Checks before a deployment, its options and its progress; the rest is tested on a cluster."""

from pathlib import Path

import pytest

from cli.setup import deploy


def test_a_missing_values_file_is_an_error_before_anything_is_created(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploy.main(["--values", str(tmp_path / "mine.yaml")]) == 1
    assert "mine.yaml" in capsys.readouterr().err


def test_a_program_that_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert deploy.main([]) == 1
    assert "kubectl is not installed" in capsys.readouterr().err


def test_options_are_images_then_values_files_then_settings() -> None:
    options = deploy._options([Path("mine.yaml")], ["backup.enabled=false"], 15)
    assert options[0].startswith("--set=images.base=")
    assert options[1].startswith("--set=images.mlflow=")
    assert options[2:] == ["--values=mine.yaml", "--set=backup.enabled=false", "--timeout=15m"]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({"containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull"}}}]}, " (ErrImagePull)"),
        ({"initContainerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}, " (CrashLoopBackOff)"),
        ({"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}, ""),
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes: Insufficient cpu"}]},
            " (0/1 nodes: Insufficient cpu)",
        ),
    ],
)
def test_the_reason_of_a_waiting_pod(status: dict[str, object], reason: str) -> None:
    assert deploy._reason(status) == reason


def test_fields_changed_by_hand_are_overwritten_only_with_force(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Helm is a stand-in that fails like 4.3.1, unless it may force conflicts."""
    conflict = 'conflict occurred: Apply failed with 1 conflict: conflict with "kubectl" using apps/v1: .spec.replicas'
    write(tmp_path / "helm", f"case \"$*\" in *--force-conflicts*|get*) ;; *) echo '{conflict}' >&2; exit 1;; esac")
    write(tmp_path / "kubectl", """case "$*" in *pods*) echo '{"items": []}';; esac""")
    monkeypatch.setattr(deploy, "_program", lambda name: str(tmp_path / name))
    monkeypatch.setattr(deploy, "POLL_INTERVAL_S", 0.05)
    assert deploy.main([]) == 1
    assert "make deploy FORCE=1" in capsys.readouterr().err
    assert deploy.main(["--force-conflicts"]) == 0


def write(program: Path, script: str) -> None:
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
