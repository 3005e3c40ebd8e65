"""Read a policy: a YAML list of transforms by their Albumentations names, each with arguments and a chance ``p``."""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from toolchain.augment.images.presets import PRESETS
from toolchain.errors import ConfigError
from toolchain.services.locations import local_path

ONE_OF = "OneOf"  # a group of which one is taken, each with a chance in proportion to its own p
CHANCE = "p"
FORM = "a policy is a YAML list such as '- HorizontalFlip: {p: 0.5}'"


@dataclass(frozen=True)
class Step:
    """One transform of a policy, as written."""

    name: str  # of a class of Albumentations
    arguments: dict[str, Any]  # p included where it is given


@dataclass(frozen=True)
class OneOf:
    """Steps of which one is applied, with the chance ``p``."""

    steps: tuple[Step, ...]
    p: float  # 0..1


def text_of(policy: str) -> str:
    """Return the YAML of ``policy``: a preset's name, the path of a YAML file, or YAML itself.

    Raises:
        ConfigError: it is a word that is no preset, or a file that cannot be read.
    """
    word = policy.strip()
    if word in PRESETS:
        return PRESETS[word]
    if is_file(word):
        try:
            return (local_path(word) or Path(word)).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"policy file {word} cannot be read: {error}; give its path, or the YAML itself"
            ) from error
    if word and not any(character in word for character in "-:[{\n"):
        known = ", ".join(PRESETS)
        raise ConfigError(
            f"policy {word!r} is no preset{nearest(word, list(PRESETS))}; presets are {known}, and {FORM}"
        )
    return policy


def is_file(policy: str) -> bool:
    """Return whether ``policy`` is meant as the path of a YAML file."""
    return "\n" not in policy.strip() and policy.strip().endswith((".yaml", ".yml"))


def parse(text: str) -> tuple[Step | OneOf, ...]:
    """Return the steps of the policy ``text``, in order; that transforms and arguments exist is not checked here.

    Raises:
        ConfigError: it is not YAML, no list, empty, or an entry is not a transform with arguments.
    """
    try:
        entries = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"the policy is not YAML ({_place(error)}); {FORM}") from error
    if not isinstance(entries, list):
        raise ConfigError(f"the policy is {_kind(entries)}, not a list; {FORM}")
    if not entries:
        raise ConfigError(f"the policy lists no transform; {FORM}")
    return tuple(_entry(entry) for entry in entries)


def nearest(name: str, known: list[str]) -> str:
    """Return ", did you mean X?" with the name in ``known`` that is most like ``name``; "" when none is."""
    lower = {candidate.lower(): candidate for candidate in known}
    found = get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
    return f", did you mean {lower[found[0]]}?" if found else ""


def _entry(entry: object) -> Step | OneOf:
    name, arguments = _named(entry)
    if name != ONE_OF:
        if not isinstance(arguments, dict):
            raise ConfigError(f"{name} of the policy has {_kind(arguments)} for arguments, a mapping is needed; {FORM}")
        _check_chance(name, arguments.get(CHANCE, 0.5))
        return Step(name, arguments)
    group = {"transforms": arguments} if isinstance(arguments, list) else arguments
    if not isinstance(group, dict) or not isinstance(group.get("transforms"), list) or not group["transforms"]:
        raise ConfigError(
            f"{ONE_OF} of the policy needs a list: '{ONE_OF}: {{p: 0.3, transforms: [GaussianBlur, ...]}}'"
        )
    if unknown := set(group) - {"transforms", CHANCE}:
        raise ConfigError(f"{ONE_OF} of the policy has no argument {min(unknown)!r}; it has transforms and p")
    steps = [_entry(child) for child in group["transforms"]]
    if not all(isinstance(step, Step) for step in steps):
        raise ConfigError(f"{ONE_OF} of the policy holds another {ONE_OF}; list all transforms in one")
    chance = group.get(CHANCE, 0.5)
    _check_chance(ONE_OF, chance)
    return OneOf(tuple(step for step in steps if isinstance(step, Step)), float(chance))


def _named(entry: object) -> tuple[str, Any]:
    if isinstance(entry, str):
        return entry, {}
    if isinstance(entry, dict) and len(entry) == 1:
        name, arguments = next(iter(entry.items()))
        if isinstance(name, str):
            return name, {} if arguments is None else arguments
    raise ConfigError(f"the policy has the entry {_short(entry)}, one transform with its arguments is needed; {FORM}")


def _check_chance(name: str, chance: object) -> None:
    if isinstance(chance, bool) or not isinstance(chance, int | float) or not 0 <= chance <= 1:
        raise ConfigError(f"{name} of the policy has p={_short(chance)}, a probability between 0 and 1 is needed")


def _place(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "not readable"
    return f"line {mark.line + 1}: {problem}" if mark else str(problem)


def _kind(value: object) -> str:
    if value is None:
        return "empty"
    names = {"dict": "a mapping", "str": "a text", "list": "a list"}
    return names.get(type(value).__name__, _short(value))


def _short(value: object) -> str:
    return text if len(text := repr(value)) <= 60 else text[:57] + "..."
