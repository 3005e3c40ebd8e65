"""Serve a model over HTTP and gRPC, from a model's folder or a model repository.

A request passes the middleware (authentication and limits), a protocol (predict or inference_protocol), the router
(which selects a version), that version's batcher and its model. ``problems`` defines the error responses, ``telemetry``
the metrics and samples.
"""
