"""A machine's metadata service at 169.254.169.254: what a real machine finds there, as far as anybody asks here.

Version 2 only when the instance was made so: a token by PUT, then GET with it.
"""

from __future__ import annotations

import json
import secrets
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ADDRESS = ("169.254.169.254", 80)


class Metadata:
    """Answers in the namespace in which it is made; it may be used from any thread afterwards.

    Args:
        entries: Text by path below ``/latest/``.
        tokens_required: Whether version 1 is refused.
    """

    def __init__(self, entries: dict[str, str], tokens_required: bool) -> None:
        self._entries, self._tokens_required = dict(entries), tokens_required
        self._token = secrets.token_urlsafe(24)
        self._server = ThreadingHTTPServer(ADDRESS, _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="metadata", daemon=True).start()

    def give_notice(self, ends_at: float) -> None:
        """Announce that the machine is taken back then."""
        action = {"action": "terminate", "time": datetime.fromtimestamp(ends_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
        self._entries["meta-data/spot/instance-action"] = json.dumps(action)
        self._entries["meta-data/spot/termination-time"] = action["time"]

    def answer(self, method: str, path: str, token: str | None) -> tuple[int, str]:
        """Status and text."""
        path = path.removeprefix("/latest/").rstrip("/")
        if method == "PUT":
            return (200, self._token) if path == "api/token" else (405, "")
        if token != self._token and (token is not None or self._tokens_required):
            return 401, ""
        return (200, self._entries[path]) if path in self._entries else (404, "")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(metadata: Metadata) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._reply("GET")

        def do_PUT(self) -> None:
            self._reply("PUT")

        def _reply(self, method: str) -> None:
            status, text = metadata.answer(method, self.path, self.headers.get("X-aws-ec2-metadata-token"))
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return None

    return Handler
