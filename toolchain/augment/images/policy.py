"""Parse a policy: a YAML list of Albumentations transforms, each with arguments and a probability ``p``."""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from toolchain.augment.images.presets import PRESETS
from toolchain.errors import ConfigError
from toolchain.services.locations import local_path

ONE_OF = "OneOf"  # a group of which one transform is applied, chosen in proportion to its own p
PROBABILITY = "p"
EXAMPLE = "a policy is a YAML list such as '- HorizontalFlip: {p: 0.5}'"


@dataclass(frozen=True)
class Step:
    """One transform of a policy, as written."""

    name: str  # of an Albumentations class
    arguments: dict[str, Any]  # including p if the policy gives it


@dataclass(frozen=True)
class OneOf:
    """Steps of which one is applied, with probability ``p``."""

    steps: tuple[Step, ...]
    p: float  # 0..1


def text_of(policy: str) -> str:
    """Return the YAML of ``policy``: a preset's name, the path of a YAML file, or YAML itself.

    Raises:
        ConfigError: it is an unknown preset, or a file that cannot be read.
    """
    stripped = policy.strip()
    if stripped in PRESETS:
        return PRESETS[stripped]
    if is_file(stripped):
        return _read_file(stripped)
    if stripped and not any(character in stripped for character in "-:[{\n"):
        raise ConfigError(
            f"policy {stripped!r} is not a preset{nearest(stripped, list(PRESETS))}; presets are {', '.join(PRESETS)}, "
            f"and {EXAMPLE}"
        )
    return policy


def _read_file(path: str) -> str:
    try:
        return (local_path(path) or Path(path)).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"policy file {path} cannot be read: {error}; give its path, or the YAML itself") from error


def is_file(policy: str) -> bool:
    """Return whether ``policy`` is the path of a YAML file."""
    return "\n" not in policy.strip() and policy.strip().endswith((".yaml", ".yml"))


def parse(text: str) -> tuple[Step | OneOf, ...]:
    """Return the steps of the policy ``text``, in order, without checking that transforms and arguments exist.

    Raises:
        ConfigError: it is not YAML, not a list, or empty, or an entry is not a transform with arguments.
    """
    try:
        entries = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"the policy is not YAML ({_yaml_problem(error)}); {EXAMPLE}") from error
    if not isinstance(entries, list):
        raise ConfigError(f"the policy is {_describe(entries)}, not a list; {EXAMPLE}")
    if not entries:
        raise ConfigError(f"the policy has no transforms; {EXAMPLE}")
    return tuple(_entry(entry) for entry in entries)


def nearest(name: str, known: list[str]) -> str:
    """Return ", did you mean X?" with the name in ``known`` most similar to ``name``; "" if none is similar."""
    lower = {candidate.lower(): candidate for candidate in known}
    found = get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
    return f", did you mean {lower[found[0]]}?" if found else ""


def _entry(entry: object) -> Step | OneOf:
    name, arguments = _named(entry)
    if name != ONE_OF:
        if not isinstance(arguments, dict):
            raise ConfigError(
                f"{name} of the policy has {_describe(arguments)} as arguments, expected a mapping; {EXAMPLE}"
            )
        _check_probability(name, arguments.get(PROBABILITY, 0.5))
        return Step(name, arguments)
    return _group(arguments)


def _group(arguments: Any) -> OneOf:
    group = {"transforms": arguments} if isinstance(arguments, list) else arguments
    if not isinstance(group, dict) or not isinstance(group.get("transforms"), list) or not group["transforms"]:
        raise ConfigError(
            f"{ONE_OF} of the policy needs a list, such as '{ONE_OF}: {{p: 0.3, transforms: [GaussianBlur, ...]}}'"
        )
    if unknown := set(group) - {"transforms", PROBABILITY}:
        raise ConfigError(f"{ONE_OF} of the policy has no argument {min(unknown)!r}; it has transforms and p")
    steps = [_entry(child) for child in group["transforms"]]
    if not all(isinstance(step, Step) for step in steps):
        raise ConfigError(f"{ONE_OF} of the policy contains another {ONE_OF}; list all transforms in one")
    p = group.get(PROBABILITY, 0.5)
    _check_probability(ONE_OF, p)
    return OneOf(tuple(step for step in steps if isinstance(step, Step)), float(p))


def _named(entry: object) -> tuple[str, Any]:
    if isinstance(entry, str):
        return entry, {}
    if isinstance(entry, dict) and len(entry) == 1:
        name, arguments = next(iter(entry.items()))
        if isinstance(name, str):
            return name, {} if arguments is None else arguments
    raise ConfigError(f"the policy has the entry {_short(entry)}, expected one transform with its arguments; {EXAMPLE}")


def _check_probability(name: str, p: object) -> None:
    if isinstance(p, bool) or not isinstance(p, int | float) or not 0 <= p <= 1:
        raise ConfigError(f"{name} of the policy has p={_short(p)}, expected a probability between 0 and 1")


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "not readable"
    return f"line {mark.line + 1}: {problem}" if mark else str(problem)


def _describe(value: object) -> str:
    if value is None:
        return "empty"
    names = {"dict": "a mapping", "str": "a string", "list": "a list"}
    return names.get(type(value).__name__, _short(value))


def _short(value: object) -> str:
    return text if len(text := repr(value)) <= 60 else text[:57] + "..."
