"""Read YAML files that people write: every fault is one line, and no key may appear twice."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from toolchain.errors import ConfigError

MERGE = "tag:yaml.org,2002:merge"  # the key "<<", which may repeat


def read_documents(path: Path) -> list[Any]:
    """Return the documents of the YAML file at ``path``.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or has a key twice, of which YAML would keep the last.
    """
    try:
        return list(_documents(path, path.read_text(encoding="utf-8")))
    except RecursionError as error:
        raise ConfigError(f"{path} is not a readable YAML file: its lists or keys are nested too deeply") from error
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: of encoding, of a date, of a number
        raise ConfigError(f"{path} is not a readable YAML file: {' '.join(str(error).split())}") from error


def _documents(path: Path, text: str) -> Iterator[Any]:
    loader = yaml.SafeLoader(text)
    while loader.check_node():
        node = loader.get_node()
        assert node is not None
        for repeated in _repeated_keys(node):
            line = repeated.start_mark.line + 1
            raise ConfigError(f"{path} has the key {repeated.value!r} twice (line {line}): remove one")
        yield loader.construct_document(node)


def _repeated_keys(root: yaml.Node) -> Iterator[yaml.ScalarNode]:
    """Yield each key that its mapping has already. An anchor may contain itself: each node is visited once."""
    left, visited = [root], set[int]()
    while left:
        node = left.pop()
        if id(node) in visited:
            continue
        visited.add(id(node))
        if isinstance(node, yaml.MappingNode):
            yield from _repeated(key for key, _ in node.value)
            left += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            left += node.value


def _repeated(keys: Iterator[yaml.Node]) -> Iterator[yaml.ScalarNode]:
    known = set[tuple[str, str]]()
    for key in keys:
        if isinstance(key, yaml.ScalarNode) and key.tag != MERGE:
            if (key.tag, key.value) in known:
                yield key
            known.add((key.tag, key.value))
