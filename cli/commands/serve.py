"""``toolchain serve``: a registered model behind HTTP and gRPC, on this machine."""

import argparse

from cli.commands.options import MODEL, add_engine
from cli.exit_status import SUCCESS

SUMMARY = "Serve a registered model on this machine."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help=f"A {MODEL}. A name alone follows later promotions.")
    parser.add_argument("--alias", default="", help="Alias to serve. Default: champion, else candidate.")
    parser.add_argument(
        "--host", default="127.0.0.1", help="Address to listen on; 0.0.0.0 for all. Default: %(default)s."
    )
    parser.add_argument("--port", type=int, default=8080, help="HTTP port; 0 for any free port. Default: %(default)s.")
    parser.add_argument(
        "--grpc-port", type=int, metavar="PORT", help="gRPC port; 0 for any free port. Default: no gRPC."
    )
    parser.add_argument(
        "--workers", type=int, default=0, metavar="N", help="Parallel inferences. Default: one per core."
    )
    parser.add_argument(
        "--require-tokens", action="store_true", help="Do not start unless TOOLCHAIN_SERVE_TOKENS sets bearer tokens."
    )
    parser.add_argument(
        "--samples",
        default="",
        metavar="LOCATION",
        help="Folder or s3://BUCKET/PREFIX for samples of requests and predictions. Default: no samples.",
    )
    parser.add_argument(
        "--sample-percent",
        type=float,
        default=10.0,
        metavar="N",
        help="Percent of requests to sample. Default: %(default)g.",
    )
    parser.add_argument(
        "--sample-rows", action="store_true", help="Also store the texts and images of sampled requests."
    )
    add_engine(parser, registry=True)


def run(
    model: str,
    alias: str,
    host: str,
    port: int,
    grpc_port: int | None,
    workers: int,
    require_tokens: bool,
    samples: str,
    sample_percent: float,
    sample_rows: bool,
    engine: str | None,
) -> int:
    from cli.serving.serve import ServerOptions, serve
    from cli.settings import read_settings

    options = ServerOptions(host, port, grpc_port, workers, require_tokens, samples, sample_percent, sample_rows)
    serve(model, alias, options, engine, read_settings())  # becomes the server
    return SUCCESS
