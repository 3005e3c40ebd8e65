"""What pip installs into an image: the requirements of extras of pyproject.toml, one a line.

Used by the Dockerfiles, where pip itself would add what every extra rests on (pyarrow is half of a serving image) and
an empty package of ours: ``python requirements.py core base``. ``core`` means what the project needs without extras.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

OWN = re.compile(r"dl-toolchain\[([\w,-]+)\]")  # an extra that takes another in


def requirements(project: dict, extra: str) -> Iterator[str]:
    """Yield the requirements of ``extra``, those of the extras that it takes in included."""
    for line in project["dependencies"] if extra == "core" else project["optional-dependencies"][extra]:
        inner = OWN.fullmatch(line)
        if inner is None:
            yield line
        else:
            for name in inner[1].split(","):
                yield from requirements(project, name)


if __name__ == "__main__":
    stated = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    print(*dict.fromkeys(line for extra in sys.argv[1:] for line in requirements(stated, extra)), sep="\n")
