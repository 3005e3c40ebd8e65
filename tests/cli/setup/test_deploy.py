"""What a person is told before a deployment starts and while it waits; the rest is tested on a cluster."""

from pathlib import Path

import pytest

from cli.setup import deploy


def test_a_missing_file_of_values_is_named_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploy.main(["--values", str(tmp_path / "mine.yaml")]) == 1
    assert "mine.yaml does not exist; VALUES names" in capsys.readouterr().err


def test_a_program_that_is_not_installed_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert deploy.main([]) == 1
    assert "kubectl is not installed: install it" in capsys.readouterr().err


def test_the_images_of_this_checkout_are_named_and_settings_come_after_files() -> None:
    options = deploy._options([Path("mine.yaml")], ["backup.enabled=false"], 15)
    assert options[0].startswith("--set=images.base=")
    assert options[1].startswith("--set=images.mlflow=")
    assert options[2:] == ["--values=mine.yaml", "--set=backup.enabled=false", "--timeout=15m"]


@pytest.mark.parametrize(
    ("status", "said"),
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
def test_a_pod_that_waits_for_more_than_time_has_its_reason(status: dict[str, object], said: str) -> None:
    assert deploy._reason(status) == said


def test_a_field_that_somebody_changed_is_taken_back_only_when_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stand-ins for helm and kubectl: helm refuses as 4.3.1 does, unless it may force conflicts."""
    refused = 'conflict occurred: Apply failed with 1 conflict: conflict with "kubectl" using apps/v1: .spec.replicas'
    write(tmp_path / "helm", f"case \"$*\" in *--force-conflicts*|get*) ;; *) echo '{refused}' >&2; exit 1;; esac")
    write(tmp_path / "kubectl", """case "$*" in *pods*) echo '{"items": []}';; esac""")
    monkeypatch.setattr(deploy, "_program", lambda name: str(tmp_path / name))
    monkeypatch.setattr(deploy, "POLL_SECONDS", 0.05)
    assert deploy.main([]) == 1
    assert "make deploy FORCE=1" in capsys.readouterr().err
    assert deploy.main(["--force-conflicts"]) == 0


def write(program: Path, script: str) -> None:
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
