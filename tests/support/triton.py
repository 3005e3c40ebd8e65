"""Triton's gRPC client, imported next to the server's own messages.

Both define the messages of the Open Inference Protocol, and a descriptor pool accepts one definition of a name. So the
client's messages get a separate pool.
"""

from unittest.mock import patch

from google.protobuf import descriptor_pool

POOL = descriptor_pool.DescriptorPool()
with patch.object(descriptor_pool, "Default", lambda: POOL):
    import tritonclient.grpc as client
    from tritonclient.grpc import service_pb2, service_pb2_grpc

__all__ = ["client", "service_pb2", "service_pb2_grpc"]
