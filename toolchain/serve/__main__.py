"""The server's command line: ``python -m toolchain.serve MODEL``; what the serving images run."""

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
NUMBERS = {
    "port": "where to listen; 0 for any port that is free",
    "threads": "of one inference",
    "streams": "inferences side by side; 0: as many as there are cores for",
    "batch-rows": "rows of one length that run at once",
    "batch-wait-ms": "how long the oldest row waits for others",
    "queue-rows": "rows that may wait",
    "request-rows": "texts or pictures in one request",
    "body-bytes": "of one request with pictures",
    "text-body-bytes": "of one request with texts",
    "held-bytes": "of all requests at once",
    "connections": "open at once",
    "body-seconds": "in which a request must have come",
    "deadline-seconds": "in which a request must be answered",
    "drain-seconds": "for which the server answers after SIGTERM",
    "look-seconds": "between looks at the shelf",
    "sample-percent": "of requests, in the sample",
    "sample-days": "that samples are kept",
    "sample-bytes": "of a model's samples; the oldest go first",
}


def main(words: list[str] | None = None) -> int:
    """Serve, and return the exit status."""
    given = vars(parser().parse_args(words))
    for one in (signal.SIGTERM, signal.SIGINT):  # the first process of a container would not hear SIGTERM otherwise
        signal.signal(one, _end_early)
    try:
        settings = Settings(**given)
        from toolchain.serve.server import serve  # after the settings are known to be good: it takes half a second

        serve(settings)
    except ToolchainError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_USAGE if isinstance(error, ConfigError) else FAILED
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar."""
    defaults = {field.name: field.default for field in fields(Settings)}
    top = argparse.ArgumentParser(prog="python -m toolchain.serve", description="Answer over HTTP with a model.")
    top.add_argument("model", type=Path, nargs="?", metavar="MODEL", help="a model's folder; or:")
    shelf = "a folder or s3://BUCKET/PREFIX whose traffic.json says what is served, and is followed"
    top.add_argument("--traffic", default="", metavar="SHELF", help=shelf)
    top.add_argument("--cache", type=Path, default=defaults["cache"], metavar="FOLDER", help="for what comes from S3")
    top.add_argument("--name", default="model", help="what callers know it by; a shelf's traffic.json says it itself")
    top.add_argument("--version", default="", help="default: the first digits of its digest")
    top.add_argument("--host", default="127.0.0.1", help="0.0.0.0 for all addresses")
    hosts = "names that callers may use for this server, with commas; .NAME for all below it, * for all; "
    hosts += "default: all, but at an address of this machine alone localhost"
    top.add_argument("--allowed-hosts", default="", metavar="NAMES", help=hosts)
    top.add_argument("--parity", type=Path, metavar="FOLDER", help="where expected.json is; default: in the model")
    grpc = "where gRPC listens too; 0 for any port that is free; default: nowhere"
    top.add_argument("--grpc-port", type=int, metavar="N", help=grpc)
    metrics = (
        "where /metrics is served alone, for a network policy to open; 0 for any port that is free; default: nowhere"
    )
    top.add_argument("--metrics-port", type=int, metavar="N", help=metrics)
    mounted = "a folder that a Secret with TOOLCHAIN_SERVE_TOKENS may be mounted at; else the environment has it"
    top.add_argument("--tokens-dir", type=Path, metavar="FOLDER", help=mounted)
    top.add_argument("--require-tokens", action="store_true", help="do not start without bearer tokens")
    top.add_argument("--certificate", type=Path, metavar="FILE", help="PEM; with --key, for TLS")
    top.add_argument("--key", type=Path, metavar="FILE", help="PEM")
    sampled = "a folder or s3://BUCKET/PREFIX for samples of what is asked, as numbers and answers; default: none"
    top.add_argument("--samples", default="", metavar="PLACE", help=sampled)
    top.add_argument("--sample-rows", action="store_true", help="put texts and pictures themselves aside too")
    for name, text in NUMBERS.items():
        default = defaults[name.replace("-", "_")]
        top.add_argument(f"--{name}", type=type(default), default=default, metavar="N", help=f"{text} ({default})")
    return top


def _end_early(sig: int, frame: FrameType | None) -> None:
    """End while nothing answers yet; once something does, uvicorn hears the signal in place of this."""
    os.write(1, b"told to end before anything was served\n")  # print may be under way, and cannot be entered twice
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
