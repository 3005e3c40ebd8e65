"""Export a registered model for TorchServe, as the step does on a cluster, on this machine."""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from cli.serving.serve import choose, repository_path
from cli.settings import Settings


def export(given: argparse.Namespace, settings: Settings) -> None:
    """Write the archive of ``given.model`` and a server's settings into the folder ``given.output``.

    Raises:
        ArtifactError: something is in the folder, or what the registry holds is not what was registered.
        ConfigError: there is no such model, version or alias, or TorchServe takes no such name.
        DataError: the model is no classifier.
        ServiceError: the registry is away, and nothing of the model was served here before.
    """
    from kfp import dsl

    from components.export.torchserve import torchserve as component

    chosen = choose(given.model, given.alias, settings)
    name = given.name or chosen.name
    with TemporaryDirectory() as folder:
        component.python_func(
            model=dsl.Model(uri=str(repository_path(chosen.name, settings) / chosen.digest)),
            archive=dsl.Artifact(uri=str(given.output.absolute())),
            metrics=dsl.Metrics(uri=str(Path(folder) / "metrics")),
            name=name,
            version=chosen.number,
            workers=given.workers,
        )
    print(f"version {chosen.number} of {chosen.name} is {given.output / 'model-store' / f'{name}-{chosen.number}.mar'}")
    print(f"cd {given.output} && torchserve --start --model-store model-store --ts-config config.properties")
