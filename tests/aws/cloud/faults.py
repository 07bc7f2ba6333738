"""The proxy as a process: what a test tells it, and what it has counted."""

import collections
import contextlib
import http.client
import json
import os
import subprocess
import sys
from pathlib import Path

from harness.wait import until

from .emulator import free_port

HERE = Path(__file__).resolve().parents[1]


class Faults:
    """Stands before `upstream`; nothing goes wrong until it is told to."""

    def __init__(self, upstream):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen([sys.executable, "-m", "cloud.proxy", str(self.port), upstream], cwd=HERE,
                                        env={**os.environ, "PYTHONPATH": str(HERE)}, stdin=subprocess.DEVNULL,
                                        start_new_session=True)
        until(self._there, "the proxy listens")

    def stop(self):
        self.process.kill()
        self.process.wait(20)

    def _there(self):
        try:
            return self.state()
        except OSError:
            return None

    def _control(self, method, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, "/_faults", json.dumps(body) if body is not None else None)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def state(self):
        return self._control("GET")

    def counts(self):
        """Requests by `service.Operation` since `forget`."""
        return collections.Counter(self.state()["counts"])

    def forget(self):
        self._control("DELETE")

    @contextlib.contextmanager
    def at(self, rate, **how):
        """That share of requests is spoiled meanwhile."""
        self._control("PUT", {"rate": rate, **how})
        try:
            yield self
        finally:
            self._control("PUT", {})

    @contextlib.contextmanager
    def outage(self, *names, **how):
        """Those services answer nothing of use meanwhile."""
        self._control("PUT", {"down": list(names), **how})
        try:
            yield self
        finally:
            self._control("PUT", {})
