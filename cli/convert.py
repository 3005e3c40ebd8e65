"""Convert annotations to another format, and print what the target format cannot represent."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from cli.output.summary import print_table
from toolchain import annotations
from toolchain.annotations import Conversion, Finding
from toolchain.errors import ArtifactError, ConfigError, DataError


def convert(
    source: str,
    target: Path,
    target_format: str,
    *,
    source_format: str,
    images: str,
    origin: str,
    task: str,
    fix: bool,
    invalid_shape: str,
) -> Conversion:
    """Convert ``source`` to ``target``, print a summary, and return the result.

    Raises:
        ConfigError: the source is not valid, or the target exists.
        ServiceError: the service that holds the source is down or denies access.
        StorageFullError: the disk is full.
    """
    try:
        result = annotations.convert(
            source,
            target,
            target_format,
            source_format=source_format,
            images=images,
            origin=origin,
            task=task,
            fix=fix,
            invalid_shape=invalid_shape,
        )
    except (ArtifactError, DataError) as error:
        raise ConfigError(str(error)) from error
    _print_summary(result)
    print(f"written: {target}")
    print(f"report:  {annotations.report_path(target)}")
    return result


def to_json(result: Conversion, target: Path) -> dict[str, Any]:
    """Return the fields of ``--json``."""
    return {
        "source_format": result.source_format,
        "target_format": result.target_format,
        "task": result.task,
        "images": result.images,
        "objects": result.objects,
        "dropped": dict(result.dropped),
        "problems": [asdict(finding) for finding in result.findings],
        "unsupported": [asdict(finding) for finding in result.unsupported],
        "target": str(target),
        "report": str(annotations.report_path(target)),
    }


def _print_summary(result: Conversion) -> None:
    task = f" ({result.task})" if result.task else ""
    counts = f"{result.images:,} images, {result.objects:,} objects"
    print(f"{result.source_format} to {result.target_format}{task}: {counts}")
    if result.dropped:
        print(_dropped(result))
    if result.findings:
        print_table(_table("problems", result.findings))
    if result.unsupported:
        print_table(_table(f"not supported by {result.target_format}", result.unsupported))
    else:
        print(f"{result.target_format} represents everything {'else' if result.dropped else 'that was converted'}")


def _dropped(result: Conversion) -> str:
    """Return a line with the number of objects that were not written, and why."""
    dropped = sum(result.dropped.values())
    verb = "was" if dropped == 1 else "were"
    reasons = "; ".join(f"{reason} ({count:,})" for reason, count in result.dropped.items())
    return f"{dropped:,} of {result.objects + dropped:,} objects {verb} dropped: {reasons}"


def _table(title: str, findings: tuple[Finding, ...]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("problem" if title == "problems" else "feature")
    table.add_column("count", justify="right")
    table.add_column("examples", overflow="fold")
    for finding in findings:
        table.add_row(Text(finding.rule), f"{finding.count:,}", Text("\n".join(finding.examples)))
    return table
