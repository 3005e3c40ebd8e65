"""Export a registered model for TorchServe on this machine, by the same component as on a cluster."""

from pathlib import Path
from tempfile import TemporaryDirectory

from cli.serving.serve import choose, repository_path
from cli.settings import Settings


def export(model: str, alias: str, output: Path, name: str, workers: int, settings: Settings) -> None:
    """Write the archive of ``model`` and a server's settings into the new folder ``output``.

    Raises:
        ArtifactError: something is in the folder, or what the registry holds is not what was registered.
        ConfigError: there is no such model, version or alias, or TorchServe takes no such name.
        DataError: the model is no classifier.
        ServiceError: the registry is away, and nothing of the model was served here before.
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
    print(f"version {chosen.number} of {chosen.name}: {output / 'model-store' / f'{name}-{chosen.number}.mar'}")
    print(f"cd {output} && torchserve --start --model-store model-store --ts-config config.properties")
