"""The Kubernetes resources of a model server with one version."""

from cli.serving.kubernetes.model_server import ModelServer
from toolchain.lifecycle.ledger import PROMOTED, Entry
from toolchain.lifecycle.routing import RoutingConfig, Target

OLD = Target(version="3", digest="3" * 64, variant="fp32")
REPOSITORY = "s3://toolchain/served/film_reviews"
VERDICT = "winner on avx2 (accuracy 0.8300, speedup 1.9)"
ENTRY = Entry(action=PROMOTED, version="3", digest=OLD.digest, variant="fp32", verdict=VERDICT)
ROUTING = RoutingConfig(model="film_reviews", stable=OLD, entry=ENTRY.sha256)
SERVER = ModelServer(
    namespace="toolchain",
    routing=ROUTING,
    model_repository=REPOSITORY,
    verdict=VERDICT,
    forced=False,
    image="ghcr.io/toolchain/serve:0.1.0",
    size="medium",
    gpus=0,
)
