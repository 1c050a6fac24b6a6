"""What the servers of tests have in common, in this process and in processes of their own."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class QuickServer(ThreadingHTTPServer):
    """Takes many clients at once: of Python's five in the queue a sixth would connect a whole second later."""

    request_queue_size = 256
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        """A client that went away is what some tests are about."""


class QuietHandler(BaseHTTPRequestHandler):
    """Answers in JSON over connections that are kept, and logs nothing."""

    protocol_version = "HTTP/1.1"

    def posted(self) -> bytes:
        """The body of the request."""
        return self.rfile.read(int(self.headers["Content-Length"]))

    def reply(
        self, body: Any, status: int = 200, headers: Mapping[str, str] | None = None, reason: str | None = None
    ) -> None:
        """Send ``body``, which is JSON already where it is bytes."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status, reason)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing of the server belongs between the lines of a test."""


@contextmanager
def answering(handler: type[BaseHTTPRequestHandler], port: int = 0) -> Iterator[str]:
    """The root URL of a server in a thread of this process."""
    server = QuickServer(("127.0.0.1", port), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def healthy(process: subprocess.Popen[bytes], url: str, seconds: float) -> bool:
    """Wait until the server answers ``/health``; False when its process ended before, or the time did."""
    ends = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < ends:
        try:
            urllib.request.urlopen(f"{url}/health", timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return True
    return False
