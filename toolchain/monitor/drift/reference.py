"""Reference: the registered version that is watched, and the profile that travels with it."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from toolchain.artifacts.profile import FILE, Profile, read_profile
from toolchain.errors import ArtifactError, ConfigError
from toolchain.services import registry
from toolchain.services.mlflow import Tracker, Version
from toolchain.services.samples import Subject

ALIASES = ("champion", "candidate")  # what a bare name means: what serves, or what would serve first


@dataclass(frozen=True)
class Reference:
    """What is watched."""

    version: Version
    subject: Subject
    profile: Profile | None  # None: the version was registered before there were profiles


def find_reference(tracker: Tracker, model: str) -> Reference:
    """Return what ``model`` (name, name@alias or name:version) means; a bare name means what serves.

    Raises:
        ArtifactError: the profile in MLflow is damaged, or is another model's.
        ConfigError: there is no such model, version or alias.
        ServiceError: MLflow does not answer, or refuses.
    """
    version = _version(tracker, model)
    digest = version.tags[registry.TAG_DIGEST]
    subject = Subject(
        model=version.model,
        model_version=version.number,
        variant=version.tags.get(registry.TAG_VARIANT, ""),
        digest=digest,
    )
    return Reference(version, subject, _profile(tracker, version, digest))


def _version(tracker: Tracker, model: str) -> Version:
    name, number, alias = registry.split_name(model)
    versions = {version.number: version for version in tracker.versions(name)}
    if not versions:
        raise ConfigError(f"no model {name!r} is registered in {tracker.shown}; register one by a pipeline first")
    if not number:
        aliases = tracker.aliases(name)
        wanted = alias or next((one for one in ALIASES if one in aliases), ALIASES[0])
        if wanted not in aliases:
            raise ConfigError(f"{name} has no alias {wanted!r}; it has {', '.join(sorted(aliases)) or 'none'}")
        number = aliases[wanted]
    if number not in versions:
        raise ConfigError(f"{name} has no version {number}; it has {', '.join(versions)}")
    return versions[number]


def _profile(tracker: Tracker, version: Version, digest: str) -> Profile | None:
    path = f"{version.path}/{FILE}"
    if not tracker.holds(version.run, path):
        return None
    with TemporaryDirectory() as folder:
        profile = read_profile(tracker.download(version.run, path, Path(folder)).parent)
    if profile is None or profile.model != digest:
        raise ArtifactError(f"the profile of version {version.number} of {version.model} is another model's")
    return profile
