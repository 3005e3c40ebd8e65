"""What goes wrong, each with one line that a user can act on."""

from toolchain.redaction import redact


class ToolchainError(Exception):
    """Base of every error that the toolchain raises on purpose; its text is one line that says what to do.

    The secrets of a URL in it are removed: errors are printed, logged and recorded.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(redact(str(message)))


class ConfigError(ToolchainError):
    """A setting has a value that cannot work."""


class DataError(ToolchainError):
    """An input is not what the step needs."""


class ArtifactError(ToolchainError):
    """A folder that should be a dataset, a model or a report is missing, foreign, incomplete or changed."""


class UnprunableError(ArtifactError):
    """A model has parts that pruning cannot remove."""


class ServiceError(ToolchainError):
    """An outside service (S3, HTTP, a hub, MLflow, Kubernetes) is down, or refuses."""


class ConflictError(ToolchainError):
    """Somebody else changed the same thing at the same time, and was first."""


class StorageFullError(ToolchainError):
    """No space is left where an artifact is written."""


class TrainingError(ToolchainError):
    """Training went wrong in a way that more of it cannot mend: a loss that is not a number, say."""
