"""A payment service to try the example with: it charges once for each Idempotency-Key, and is often busy.

    python3 examples/http/service.py [port]

Each key is answered with 503 and `Retry-After` the first time. Orders above 100.00 are refused with 402.
GET /v1/charges shows what was charged.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "Bearer not-a-secret"
MAX_CENTS = 10_000
asked: set[str] = set()
charges: dict[str, dict[str, object]] = {}


class Payments(BaseHTTPRequestHandler):
    """The service."""

    def do_GET(self) -> None:
        """Show what was charged."""
        self.answer(200, list(charges.values()))

    def do_POST(self) -> None:
        """Charge for an order."""
        order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = self.headers["Idempotency-Key"]
        if self.headers["Authorization"] != TOKEN:
            self.answer(401, {"error": "who are you?"})
        elif key not in asked:
            asked.add(key)
            self.answer(503, {"error": "busy"}, {"Retry-After": "1"})
        elif order["cents"] > MAX_CENTS:
            self.answer(402, {"error": "the card is refused"})
        else:
            charge = charges.setdefault(key, {"id": f"ch-{len(charges) + 1}", **order})
            self.answer(201, charge)

    def answer(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        """Answer with JSON."""
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8181
    ThreadingHTTPServer(("127.0.0.1", port), Payments).serve_forever()
