"""Pipeline specifications, written by hand."""

from cli.compiled.spec import Specification, Task


def task(name: str, step: str = "data.one", **changes: object) -> Task:
    blank = {
        "component": f"comp-{name}",
        "code": "code",
        "image": "ghcr.io/toolchain/base:0.1.0-0123456789ab",
        "is_step": True,
        "constants": {},
        "parameters": {},
        "inputs": {},
    }
    return Task(**{"name": name, "step": step, **blank, "after": (), "outputs": {}, "cacheable": True, **changes})


def spec(*tasks: Task) -> Specification:
    return Specification("p", {}, tasks, {})
