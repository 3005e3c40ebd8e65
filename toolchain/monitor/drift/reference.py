"""Find the registered version to monitor, and the profile that was registered with it."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from toolchain.artifacts.profile import FILE, Profile, read_profile
from toolchain.errors import ArtifactError
from toolchain.lifecycle import registry
from toolchain.lifecycle.request_samples import SampledVersion
from toolchain.services.mlflow import Tracker, Version


@dataclass(frozen=True)
class Reference:
    """The monitored version and its profile."""

    version: Version
    subject: SampledVersion
    profile: Profile | None  # None: the version was registered by a toolchain that wrote no profiles


def find_reference(tracker: Tracker, model: str) -> Reference:
    """Return the version that ``model`` (name, name@alias or name:version) names.

    A bare name means the champion, else the candidate.

    Raises:
        ArtifactError: the profile in MLflow is damaged, or belongs to another model.
        ConfigError: there is no such model, version or alias.
        ServiceError: MLflow is not available.
    """
    version = registry.named(tracker, model, registry.CHAMPION, registry.CANDIDATE).version
    digest = version.tags[registry.TAG_DIGEST]
    subject = SampledVersion(
        model=version.model,
        model_version=version.number,
        variant=version.tags.get(registry.TAG_VARIANT, ""),
        digest=digest,
    )
    return Reference(version, subject, _profile(tracker, version, digest))


def _profile(tracker: Tracker, version: Version, digest: str) -> Profile | None:
    path = f"{version.path}/{FILE}"
    if not tracker.has_artifact(version.run, path):
        return None
    with TemporaryDirectory() as folder:
        profile = read_profile(tracker.download(version.run, path, Path(folder)).parent)
    if profile is None or profile.model != digest:
        raise ArtifactError(
            f"the profile of {version.model}, version {version.number}, belongs to another model; register it again"
        )
    return profile
