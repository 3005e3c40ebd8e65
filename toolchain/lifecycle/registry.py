"""Find registered versions, those that one run registered together, and their files and test rows.

A registration is a run in MLflow. It is marked last, so that an interrupted registration is never found.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from tempfile import TemporaryDirectory

from toolchain.artifacts.model import DESCRIPTION
from toolchain.artifacts.provenance import Provenance, lineage_from_json
from toolchain.errors import ConfigError
from toolchain.services.mlflow import Run, Tracker, Version

CANDIDATE = "candidate"  # the alias of the gate's winner; with "-" and a type of processor, of the winner on it
CHAMPION = "champion"  # the alias of the serving version, which follows the ledger
TAG_MODEL = "toolchain.model"  # of the run: the registered model's name
TAG_VERSIONS = "toolchain.versions"  # the version's number by variant, JSON
TAG_REGISTERED = "toolchain.registered"  # when, milliseconds since 1970, UTC
TAG_ROWS = "toolchain.test_rows"  # the digest of the run's test rows, "" for none
TAG_ENTRY = "toolchain.entry"  # of a version that is an entry of a ledger, not a model
TAG_VARIANT, TAG_DIGEST = "variant", "digest"  # of a version
TAG_REJECTION = "rejection"  # of a version that the gate rejected: the reason, a clause
TAG_APPROVAL = "approval"  # of a version that needs approval: the run that requested it
ORIGIN_TAGS = (TAG_DIGEST, "dataset", "source_sha256", "base_sha256", "lineage")  # of a version: they hold digests
DIGEST_CHARACTERS = 64  # SHA-256, hexadecimal
ROWS = "test_rows"  # where the test rows are in the run's artifacts


@dataclass(frozen=True)
class Registration:
    """The registered variants of one pipeline run."""

    model: str
    run: str  # the id of the pipeline's run, which holds the report and the test rows
    tags: dict[str, str]  # of that run
    versions: dict[str, Version]  # by variant


@dataclass(frozen=True)
class Named:
    """The version that a name refers to, with its model's versions and aliases."""

    version: Version
    alias: str  # that the name used, "" for a version number
    aliases: Mapping[str, str]  # of the model: a version's number by alias
    versions: Mapping[str, Version]  # of the model, by number


def complete(tracker: Tracker, run: str, model: str, versions: Mapping[str, Version], rows: str) -> None:
    """Mark ``run`` as registering ``versions`` (by variant) of ``model``; ``rows`` is its test rows' digest."""
    numbers = json.dumps({variant: version.number for variant, version in versions.items()})
    marks = {TAG_MODEL: model, TAG_ROWS: rows, TAG_VERSIONS: numbers, TAG_REGISTERED: str(int(time.time() * 1000))}
    tracker.log(run, tags=marks)


def find(tracker: Tracker, model: str) -> Registration | None:
    """Return the registration of "name" (the last one), "name@alias" or "name:version", or None."""
    name, number, alias = split_name(model)
    known = {version.number: version for version in tracker.versions(name)}
    if not known:
        return None
    wanted = tracker.version_of_alias(name, alias) if alias else number
    marked = [run for run in tracker.runs({TAG_MODEL: name}) if TAG_REGISTERED in run.tags]
    for run in sorted(marked, key=lambda run: _registered_at(run), reverse=True):
        numbers = _registered_versions(run)
        if numbers and set(numbers.values()) <= known.keys() and (not wanted or wanted in numbers.values()):
            return Registration(name, run.id, run.tags, {variant: known[one] for variant, one in numbers.items()})
    return None


def _registered_at(run: Run) -> int:
    """Return when ``run`` was registered, milliseconds since 1970; -1 when the tag is not valid."""
    at = run.tags[TAG_REGISTERED]
    return int(at) if at.isascii() and at.isdigit() else -1


def _registered_versions(run: Run) -> dict[str, str]:
    """Return the version's number by variant, {} when the tag is not valid."""
    try:
        numbers = json.loads(run.tags.get(TAG_VERSIONS, ""))
    except ValueError:
        return {}
    sound = isinstance(numbers, dict) and all(isinstance(number, str) for number in numbers.values())
    return dict(numbers) if sound else {}


def split_name(model: str) -> tuple[str, str, str]:
    """Return the name, the version and the alias in "name", "name:version" or "name@alias", "" for missing parts."""
    name, _, alias = model.partition("@")
    name, _, number = name.partition(":")
    return name, number, alias


def check_name(model: str) -> None:
    """Raise ConfigError unless ``model`` is "name", "name@alias" or "name:version"."""
    name, number, alias = split_name(model)
    if not name or "'" in model or (number and alias):
        raise ConfigError(f"model is {model!r}: give a registered model as name, name@alias or name:version")
    if number and not (number.isascii() and number.isdigit()):
        raise ConfigError(f"model is {model!r}: a version is a number, as in {name}:3")


def named(tracker: Tracker, model: str, *default_aliases: str) -> Named:
    """Return the version that "name", "name@alias" or "name:version" refers to; a bare name means the first of the
    ``default_aliases`` that the model has.

    Raises:
        ConfigError: there is no such model, version or alias, or another program registered the version.
        ServiceError: the server does not respond, or rejects the request.
    """
    name, number, alias = split_name(model)
    versions = {version.number: version for version in tracker.versions(name)}
    if not versions:
        raise ConfigError(unknown(tracker, name))
    aliases = tracker.aliases(name)
    if not number:
        alias = alias or next((one for one in default_aliases if one in aliases), default_aliases[0])
        if alias not in aliases:
            raise ConfigError(f"{name} has no alias {alias!r}; it has {', '.join(sorted(aliases)) or 'none'}")
        number = aliases[alias]
    if number not in versions:
        raise ConfigError(f"{name} has no version {number}; it has {', '.join(versions)}")
    if TAG_DIGEST not in versions[number].tags:
        raise ConfigError(
            f"version {number} of {name} has no tag {TAG_DIGEST!r}: it was not registered by a pipeline of this "
            "toolchain; name another version"
        )
    return Named(versions[number], alias, aliases, versions)


def unknown(tracker: Tracker, name: str) -> str:
    """Return the error for an unregistered model ``name``, with the most similar registered name, or all of them."""
    line = f"no model {name!r} is registered in {tracker.shown}"
    known = [model for model in tracker.models() if not model.endswith(".ledger")]
    if not known:
        return f"{line}; register one by a pipeline first"
    near = get_close_matches(name, known, n=1)
    return f"{line}; did you mean {near[0]!r}?" if near else f"{line}; registered models: {', '.join(sorted(known))}"


def registered_lineages(tracker: Tracker, model: str) -> dict[str, tuple[Provenance, ...]]:
    """Return the lineage of each variant of "name", "name@alias" or "name:version"; empty when there is no such model.

    Raises:
        ServiceError: the server does not respond, or rejects the request.
    """
    found = find(tracker, model)
    with TemporaryDirectory() as folder:
        return {
            variant: _lineage_at(tracker.download(version.run, f"{version.path}/{DESCRIPTION}", Path(folder)))
            for variant, version in (found.versions if found else {}).items()
        }


def find_digest(tracker: Tracker, digest: str, name: str) -> tuple[Version, tuple[Provenance, ...]] | None:
    """Return the version whose files have ``digest``, with its lineage; None when no model was registered with it.

    Where several models were, the one called ``name`` comes first.

    Raises:
        ServiceError: the server does not respond, or rejects the request.
    """
    models = sorted(tracker.models(), key=lambda model: model != name)
    for version in (version for model in models for version in tracker.versions(model)):
        if version.tags.get(TAG_DIGEST) == digest and TAG_ENTRY not in version.tags:
            with TemporaryDirectory() as folder:
                file = tracker.download(version.run, f"{version.path}/{DESCRIPTION}", Path(folder))
                return version, _lineage_at(file)
    return None


def digests_in_use(tracker: Tracker) -> dict[str, str]:
    """Return the digests of everything that registered models were made from, sources included, each with one such
    model as "name:version".

    Raises:
        ServiceError: the server does not respond, or rejects the request.
    """
    found: dict[str, str] = {}
    for version in (version for model in tracker.models() for version in tracker.versions(model)):
        digests = " ".join(version.tags.get(tag, "") for tag in ORIGIN_TAGS).split()
        found |= {one: f"{version.model}:{version.number}" for one in digests if len(one) == DIGEST_CHARACTERS}
    return found


def _lineage_at(file: Path) -> tuple[Provenance, ...]:
    return lineage_from_json(json.loads(file.read_text(encoding="utf-8"))["lineage"])
