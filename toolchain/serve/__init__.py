"""Serve a model over HTTP and gRPC, from a model's folder or a model repository.

A request passes the middleware (authentication and limits), a protocol (predict or inference_protocol), the router (the
version that answers), its batcher and its model. problems describes errors, telemetry counts what happened.
"""
