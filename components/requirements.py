"""The packages of an image: the requirements of extras in pyproject.toml, and the data packages in data.txt.

The Dockerfiles run this module on its own, because pip would add the core requirements (pyarrow is half of a serving
image) and an empty package of this project. ``python requirements.py core base`` prints the requirements of the
extra ``base`` and the core requirements; ``--data text`` prints the data packages of the image ``text``.
"""

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

CORE = "core"  # instead of an extra: the core requirements
NESTED = re.compile(r"dl-toolchain\[([\w,-]+)\]")  # an extra that includes others
IMAGE = re.compile(r"^# Image: (.+)$", re.MULTILINE)  # in a paragraph of data.txt


def requirements(project: Mapping[str, Any], extras: Sequence[str]) -> list[str]:
    """Return the requirements of ``extras`` without duplicates; ``project`` is that table of pyproject.toml."""
    return list(dict.fromkeys(line for extra in extras for line in _requirements(project, extra)))


def data_packages(text: str, image: str) -> list[str]:
    """Return the paragraphs of data.txt for ``image``, in the format of pip."""
    found = []
    for paragraph in text.split("\n\n"):
        named = IMAGE.search(paragraph)
        if named and image in named[1].split(", "):
            found.append("\n".join(line for line in paragraph.strip().splitlines() if not line.startswith("#")))
    return found


def _requirements(project: Mapping[str, Any], extra: str) -> Iterator[str]:
    for line in project["dependencies"] if extra == CORE else project["optional-dependencies"][extra]:
        nested = NESTED.fullmatch(line)
        if nested is None:
            yield line
        else:
            for name in nested[1].split(","):
                yield from _requirements(project, name)


def main(argv: list[str]) -> None:
    if argv[:1] == ["--data"]:
        lines = [line for image in argv[1:] for line in data_packages(Path("data.txt").read_text("utf-8"), image)]
    else:
        lines = requirements(tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"], argv)
    sys.stdout.writelines(f"{line}\n" for line in lines)


if __name__ == "__main__":
    main(sys.argv[1:])
