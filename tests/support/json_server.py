"""What servers that stand in for KFP's API share: JSON in, JSON out, and no word on the test's output."""

import json
from http.server import BaseHTTPRequestHandler
from typing import Any


class JsonHandler(BaseHTTPRequestHandler):
    """Handles requests as http.server has it: ``do_GET`` and its like ask ``body`` and ``answer``."""

    def body(self) -> dict[str, Any]:
        """Return the request's body, {} when there is none."""
        length = int(self.headers["Content-Length"] or 0)
        return dict(json.loads(self.rfile.read(length))) if length else {}

    def answer(self, content: dict[str, Any], status: int = 200) -> None:
        """Answer ``content``."""
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        """Keep the test's output clean."""
