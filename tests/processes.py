"""What servers in processes of their own have in common."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.request


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
