"""The errors of the toolchain, each with a one-line message that a user can act on."""

from toolchain.redaction import redact


class ToolchainError(Exception):
    """Base of all errors that the toolchain raises; the message is one line that says what to do.

    Secrets in URLs are redacted, since errors are printed, logged and recorded.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(redact(str(message)))


class ConfigError(ToolchainError):
    """A setting has an invalid value."""


class DataError(ToolchainError):
    """An input is not valid for the step."""


class ArtifactError(ToolchainError):
    """A dataset, a model or a report is missing, incomplete, changed, or not one of the toolchain's."""


class UnprunableError(ArtifactError):
    """A model has parts that pruning cannot remove."""


class ServiceError(ToolchainError):
    """An external service (S3, HTTP, a hub, MLflow, Kubernetes) is down, or denies the request."""


class ConflictError(ToolchainError):
    """The same object was changed concurrently."""


class StorageFullError(ToolchainError):
    """The disk or bucket of an artifact is full."""


class TrainingError(ToolchainError):
    """Training cannot continue, for example because the loss is NaN."""


def first_line(error: BaseException) -> str:
    """Return the first line of ``error``, cut to 200 characters; its class where it has no text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
