"""Compiled pipelines, each compiled once for all tests of a process."""

from functools import cache

from cli.compiled.catalog import entries, find
from cli.compiled.spec import Specification, Task, compile_pipeline, read

PIPELINES = [entry.name for entry in entries()]


@cache
def compiled_text(pipeline: str, size: str = "medium") -> str:
    return compile_pipeline(find(pipeline), size)


@cache
def specification(pipeline: str) -> Specification:
    return read(compiled_text(pipeline))


def tasks(pipeline: str) -> dict[str, Task]:
    """Return the tasks of ``pipeline`` by step."""
    return {task.step: task for task in specification(pipeline).tasks}
