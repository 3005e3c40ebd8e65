"""A bare session in a process of its own: a text behind its length comes in by a socket, scores go out, that is all.

Usage: python benchmarks/_bare_server.py MODEL PORT
"""

import socket
import struct
import sys
from pathlib import Path

from toolchain.artifacts.model import open_model
from toolchain.inference.predictor import Predictor

LENGTH = struct.Struct("<I")  # of a text, in bytes


def serve(folder: Path, port: int) -> None:
    """Answer one connection after the other."""
    predictor = Predictor(open_model(folder))
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection, connection.makefile("rb") as stream:
                while length := stream.read(LENGTH.size):
                    text = stream.read(LENGTH.unpack(length)[0]).decode()
                    connection.sendall(predictor.predict(predictor.prepare([text]))[0].tobytes())


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
