"""Run the model server: ``python -m toolchain.serve MODEL``, the entry point of the serving images."""

import argparse
import os
import signal
import sys
from dataclasses import fields
from pathlib import Path
from types import FrameType

from toolchain.errors import ConfigError, ToolchainError
from toolchain.serve.settings import Settings

FAILED, BAD_USAGE = 1, 2  # exit status
DEFAULTS = {field.name: field.default for field in fields(Settings)}
NUMBERS = {
    "port": "port to listen on; 0 for any free port",
    "threads": "threads of one inference",
    "workers": "concurrent inferences; 0: one per core and thread",
    "max-batch-size": "rows of equal length in a batch",
    "max-batch-wait-ms": "how long the oldest row waits for its batch to fill",
    "max-queue-rows": "rows in the queue",
    "max-request-rows": "texts or images in a request",
    "max-body-bytes": "size of a request with images",
    "max-text-body-bytes": "size of a request with texts",
    "max-inflight-bytes": "size of all requests in flight",
    "max-connections": "open connections",
    "body-timeout": "seconds to receive a request",
    "request-timeout": "seconds to respond to a request",
    "drain-seconds": "seconds to keep serving after SIGTERM",
    "poll-interval": "seconds between checks of the model repository",
    "sample-percent": "percentage of requests to sample",
    "sample-retention-days": "days to keep samples",
    "max-sample-bytes": "size of a model's samples; the oldest are deleted first",
}


def main(argv: list[str] | None = None) -> int:
    """Serve, and return the exit status."""
    options = vars(parser().parse_args(argv))
    for number in (signal.SIGTERM, signal.SIGINT):  # a container's first process ignores SIGTERM without a handler
        signal.signal(number, _exit_early)
    try:
        settings = Settings(**options)
        from toolchain.serve.server import serve  # imported once the settings are valid: it takes half a second

        serve(settings)
    except ToolchainError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_USAGE if isinstance(error, ConfigError) else FAILED
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the command-line parser."""
    top = argparse.ArgumentParser(prog="python -m toolchain.serve", description="Serve a model over HTTP and gRPC.")
    _add_model_options(top)
    _add_network_options(top)
    _add_sampling_options(top)
    for name, text in NUMBERS.items():
        default = DEFAULTS[name.replace("-", "_")]
        top.add_argument(f"--{name}", type=type(default), default=default, metavar="N", help=f"{text} ({default})")
    return top


def _add_model_options(top: argparse.ArgumentParser) -> None:
    top.add_argument("model", type=Path, nargs="?", metavar="MODEL", help="folder of a model; or:")
    repository = "folder or s3://BUCKET/PREFIX whose routing.json names the versions to serve; it is polled for changes"
    top.add_argument("--model-repository", default="", metavar="URI", help=repository)
    cache = "local cache of a model repository in S3"
    top.add_argument("--cache", type=Path, default=DEFAULTS["cache"], metavar="FOLDER", help=cache)
    name = "name of the model in the API; a model repository's routing.json overrides it"
    top.add_argument("--name", default="model", help=name)
    top.add_argument("--version", default="", help="default: the first digits of the model's digest")
    parity = "folder with expected.json, the recorded predictions; default: the model's folder"
    top.add_argument("--parity", type=Path, metavar="FOLDER", help=parity)


def _add_network_options(top: argparse.ArgumentParser) -> None:
    top.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all interfaces")
    hosts = "comma-separated Host names to accept; .NAME for subdomains, * for all; "
    hosts += "default: localhost on a loopback address, all names otherwise"
    top.add_argument("--allowed-hosts", default="", metavar="NAMES", help=hosts)
    grpc = "also serve gRPC on this port; 0 for any free port"
    top.add_argument("--grpc-port", type=int, metavar="N", help=grpc)
    metrics = "serve only /metrics on this port, so that a network policy can open it; 0 for any free port"
    top.add_argument("--metrics-port", type=int, metavar="N", help=metrics)
    tokens = "folder where a Secret with TOOLCHAIN_SERVE_TOKENS may be mounted; default: the environment variable"
    top.add_argument("--tokens-dir", type=Path, metavar="FOLDER", help=tokens)
    top.add_argument("--require-tokens", action="store_true", help="exit unless bearer tokens are configured")
    top.add_argument("--certificate", type=Path, metavar="FILE", help="TLS certificate, PEM; requires --key")
    top.add_argument("--key", type=Path, metavar="FILE", help="TLS private key, PEM")


def _add_sampling_options(top: argparse.ArgumentParser) -> None:
    samples = "folder or s3://BUCKET/PREFIX for samples of requests (descriptors and predictions); default: no sampling"
    top.add_argument("--samples", default="", metavar="URI", help=samples)
    top.add_argument("--sample-rows", action="store_true", help="include the texts and images in samples")


def _exit_early(number: int, frame: FrameType | None) -> None:
    """Exit before the server has started; uvicorn installs its own handlers when it starts."""
    os.write(1, b"signal received before the server was ready\n")  # print is not reentrant
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
