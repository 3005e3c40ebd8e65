"""``toolchain compile``: the YAML that Kubeflow Pipelines runs."""

import argparse
from pathlib import Path

from cli.exit_status import SUCCESS
from toolchain.errors import ConfigError

SUMMARY = "Compile a pipeline to Kubeflow Pipelines YAML."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pipeline", metavar="PIPELINE", help="Name of a pipeline, or all.")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="PATH",
        help="File to write, or a directory with all. Default: standard output.",
    )


def run(pipeline: str, output: Path | None) -> int:
    from cli.compiled import catalog
    from cli.compiled.spec import compile_pipeline
    from toolchain.artifacts.folder import write_file

    if pipeline == "all" and output is None:
        raise ConfigError("compile all writes a file for each pipeline: set the directory with -o DIRECTORY")
    for entry in catalog.entries() if pipeline == "all" else [catalog.find(pipeline)]:
        text = compile_pipeline(entry)
        if output is None:
            print(text, end="")
        else:
            target = output / f"{entry.name}.yaml" if pipeline == "all" else output
            if not target.name or target.is_dir():
                raise ConfigError(f"{str(output)!r} is a folder; set the file to write with -o FILE")
            target.parent.mkdir(parents=True, exist_ok=True)
            write_file(target, text.encode())
    return SUCCESS
