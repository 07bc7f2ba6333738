"""ministack as a process of our own: it runs the functions' bootstraps as its children."""

import http.client
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from harness.wait import until

# How long a start may take on a loaded machine; two seconds are usual.
START_S = 60.0
# How long it may take to write its state down at SIGTERM.
STOP_S = 20.0


def free_port():
    """A port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


class Emulator:
    """Everything it keeps is below `folder`; a restart finds it again."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = self.folder / "emulator.log"
        self.process = None

    def start(self, functions_endpoint=None):
        """`functions_endpoint` is what functions are told is AWS; the emulator itself by default."""
        scratch = self.folder / "scratch"
        scratch.mkdir(parents=True, exist_ok=True)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("POSTHASTE_", "RUST_", "AWS_"))}
        environment = {
            **kept,
            "GATEWAY_PORT": str(self.port), "BIND_HOST": "127.0.0.1", "LOG_LEVEL": "WARNING",
            # What the functions inherit: whatever they are told in the template, this endpoint wins.
            "AWS_ENDPOINT_URL": functions_endpoint or self.url,
            # Functions act under their own roles, and may do what the template lets them do, no more.
            "AUTH": "true",
            "PERSIST_STATE": "1", "STATE_DIR": str(self.folder / "state"),
            "S3_PERSIST": "1", "S3_DATA_DIR": str(self.folder / "s3"),
            "TMPDIR": str(scratch), "SFTP_ENABLED": "0", "IOT_MTLS_ENABLED": "0", "RUST_BACKTRACE": "1",
        }
        # Its own session: it and its functions end by one process group, and no signal for us is for them.
        self.process = subprocess.Popen([str(Path(sys.executable).with_name("ministack"))], env=environment,
                                        stdin=subprocess.DEVNULL, stdout=self.log.open("ab"),
                                        stderr=subprocess.STDOUT, cwd=scratch, start_new_session=True)
        until(lambda: self._healthy() or self.process.poll() is not None, lambda: f"the emulator; {self.tail()}",
              START_S)
        assert self.process.poll() is None, f"the emulator ended with {self.process.returncode}: {self.tail()}"
        return self

    def stop(self):
        """Lets it write its state down, then ends whatever of its group is left."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                pass
        self._end_group()

    def _end_group(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(STOP_S)
        self.process = None

    def _healthy(self):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
            connection.request("GET", "/_ministack/health")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def functions(self, name):
        """Processes that run that function now: its pids."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or not _is_of_group(entry, self.process.pid):
                continue
            try:
                variables = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if f"AWS_LAMBDA_FUNCTION_NAME={name}".encode() in variables:
                found.append(int(entry.name))
        return found

    def kill_functions(self, name):
        """SIGKILL for every process of that function; gives how many there were."""
        pids = self.functions(name)
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return len(pids)

    def tail(self, lines=60):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""


def _is_of_group(entry, group):
    """Whether the process in that directory of /proc belongs to the group (field 5 of `stat`)."""
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[2]) == group
    except (OSError, ValueError, IndexError):
        return False
