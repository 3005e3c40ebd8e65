"""``toolchain images``: the container images of steps and services."""

import argparse

from cli.commands.options import add_json
from cli.exit_status import SUCCESS

SUMMARY = "Build the container images of steps and services."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="Images of components/images.py. Default: all.")
    parser.add_argument("--push", action="store_true", help="Push to the registry of TOOLCHAIN_REGISTRY.")
    parser.add_argument(
        "--builder", default="", metavar="COMMAND", help="Build command. Default: docker build or podman build."
    )
    parser.add_argument(
        "--python-image",
        default="docker.io/library/python:3.11-slim-bookworm",
        metavar="NAME[@sha256:...]",
        help="Base image. Default: %(default)s.",
    )
    parser.add_argument(
        "--torch-index", default="", metavar="URL", help="Package index of PyTorch for the training image."
    )
    parser.add_argument(
        "--platforms", default="", metavar="PLATFORM,...", help="Platforms of the image serve: linux/amd64,linux/arm64."
    )
    add_json(parser)


def run(
    names: list[str], push: bool, builder: str, python_image: str, torch_index: str, platforms: str, as_json: bool
) -> int:
    from cli.output.machine import print_json
    from cli.setup import images

    by = images.builder(builder, python_image, torch_index, platforms)
    done = list(images.build(images.selected(names), by, push))
    sizes = [images.size_bytes(full, by) for full, _ in done]
    if as_json:
        rows = zip(done, sizes, strict=True)
        print_json([{"image": full, "state": state, "size_bytes": size} for (full, state), size in rows])
        return SUCCESS
    width = max(len(full) for full, _ in done)
    for (full, state), size in zip(done, sizes, strict=True):
        print(f"{full:<{width}}  {'' if size is None else f'{size / 1e6:,.0f} MB':>9}  {state}")
    return SUCCESS
