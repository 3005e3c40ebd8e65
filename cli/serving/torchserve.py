"""Export a registered model for TorchServe on this machine, by the same component as on a cluster."""

from pathlib import Path
from tempfile import TemporaryDirectory

from cli.serving.serve import choose, repository_path
from cli.settings import Settings


def export(model: str, alias: str, output: Path, name: str, workers: int, settings: Settings) -> dict[str, str]:
    """Write the archive of ``model`` and a server's configuration into the new folder ``output``.

    Returns the fields of ``--json``.

    Raises:
        ArtifactError: the folder is not empty, or the registered files were changed.
        ConfigError: there is no such model, version or alias, or the name is not valid in TorchServe.
        DataError: the model is not a classifier.
        ServiceError: the registry does not respond, and the model was not served on this machine before.
    """
    from kfp import dsl

    from components.export.torchserve import torchserve as component

    chosen = choose(model, alias, settings)
    name = name or chosen.name
    with TemporaryDirectory() as folder:
        component.python_func(
            model=dsl.Model(uri=str(repository_path(chosen.name, settings) / chosen.digest)),
            archive=dsl.Artifact(uri=str(output.absolute())),
            metrics=dsl.Metrics(uri=str(Path(folder) / "metrics")),
            name=name,
            version=chosen.number,
            workers=workers,
        )
    archive = output / "model-store" / f"{name}-{chosen.number}.mar"
    print(f"version {chosen.number} of {chosen.name}: {archive}")
    print(f"to serve it: cd {output} && torchserve --start --model-store model-store --ts-config config.properties")
    return {"model": chosen.name, "version": chosen.number, "archive": str(archive)}
