"""Convert annotations of images from one format to another, and tell what the target cannot hold."""

import argparse

from rich.table import Table
from rich.text import Text

from cli.output.summary import console
from toolchain import annotations
from toolchain.annotations import Conversion, Finding
from toolchain.errors import ArtifactError, ConfigError, DataError


def convert(given: argparse.Namespace) -> None:
    """Do what the command line asks: SOURCE, TARGET, --to and the rest of ``given``.

    Raises:
        ConfigError: the source is not what is needed, or something is at the target.
        ServiceError: the service that holds the source is down or refuses.
        StorageFullError: the disk is full.
    """
    try:
        done = annotations.convert(
            given.source,
            given.target,
            given.to,
            source_format=given.from_,
            images=given.images,
            origin=given.origin,
            task=given.task,
            fix=given.fix,
            invalid_shape=given.invalid_shape,
        )
    except (ArtifactError, DataError) as error:
        raise ConfigError(str(error)) from error
    _tell(done)
    print(f"written: {given.target}")
    print(f"losses:  {annotations.report_path(given.target)}")


def _tell(done: Conversion) -> None:
    task = f" ({done.task})" if done.task else ""
    counts = f"{done.images:,} images, {done.objects:,} objects"
    print(f"{done.source_format} to {done.target_format}{task}: {counts}")
    if done.findings:
        console().print(_table("looked wrong, or was left out", done.findings))
    if done.unsupported:
        console().print(_table(f"{done.target_format} cannot hold", done.unsupported))
    else:
        print(f"{done.target_format} holds all that the source says of what was converted")


def _table(title: str, findings: tuple[Finding, ...]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("what")
    table.add_column("how many", justify="right")
    table.add_column("for example", overflow="fold")
    for finding in findings:
        table.add_row(Text(finding.rule), f"{finding.count:,}", Text("\n".join(finding.examples)))
    return table
