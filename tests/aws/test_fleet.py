"""Many processes on one store: what a receiver sees is what the policy says, whoever sends."""

import bisect
import time
import uuid

import pytest
from test_dev import CREDENTIALS, around, endpoint  # noqa: F401 - fixtures

from harness.program import Server
from harness.wait import until

WORKERS = 8
# Eight processes and an emulator share two cores with the receiver, which sees some messages late, beside the next ones.
NOISE = 4
MESSAGES = 300
RATE = 20

POLICY = """
[[shaping]]
match = {{ domain = "{domain}" }}
rate = "{rate}/s"
connections = 3
messages_per_connection = 10
"""


class Counted:
    """What one receiver saw, as it saw it."""

    def __init__(self, around, domain):  # noqa: F811
        self.times, self.open, self.most = [], set(), 0
        self.host = around.receiver(f"mx.{domain}", domain, mail=self._mail)

    def _mail(self, session, _argument):
        self.times.append(time.monotonic())
        session.seen = getattr(session, "seen", 0) + 1

    def most_in_a_second(self):
        times = sorted(self.times)
        return max((bisect.bisect_left(times, t + 1.0) - n for n, t in enumerate(times)), default=0)

    def rate(self):
        times = sorted(self.times)
        return (len(times) - 1) / (times[-1] - times[0])

    def watch(self):
        """How many connections are open; kept is the most."""
        self.most = max(self.most, len(self.host._open))
        return len(self.host.taken)


@pytest.fixture
def fleet(around, endpoint, tmp_path):  # noqa: F811
    """That many `posthaste dev` on one endpoint."""
    def start(policy, count):
        servers = []
        for n in range(count):
            folder = tmp_path / f"worker{n}"
            folder.mkdir()
            servers.append(Server(folder, policy, arguments=["--aws-endpoint", endpoint], variables=CREDENTIALS))
        around.servers.extend(servers)
        for server in servers:
            server.start()
        return servers

    return start


def send(api, domain, count, case):
    messages = [{"to": [f"u{n}@{domain}"]} for n in range(count)]
    defaults = {"from": "Acme <hello@acme.example>", "subject": "s", "text": "t", "lane": "bulk", "tags": {"case": case}}
    answer = api.call("POST", "/v1/messages:batch", {"defaults": defaults, "messages": messages}, timeout_s=120)
    assert all(r["status"] == 202 for r in answer.expect(200).json["results"])


def test_eight_processes_are_one_sender(around, fleet, tell):  # noqa: F811
    domain = f"d{uuid.uuid4().hex[:8]}.example"
    seen = Counted(around, domain)
    servers = fleet(around.policy() + POLICY.format(domain=domain, rate=RATE), WORKERS)
    send(servers[0].api, domain, MESSAGES, domain)
    until(lambda: seen.watch() >= 100, "the first hundred came", 120, every_s=0.01)
    # One dies with whatever it holds; its connections are others' when its leases have lapsed.
    servers[3].kill()
    until(lambda: seen.watch() >= MESSAGES, lambda: f"all came, {len(seen.host.taken)} did", 300, every_s=0.01)
    recipients = {m.rcpt_to[0] for m in seen.host.taken}
    tell(f"{WORKERS} processes, one killed: {seen.rate():.1f}/s of {RATE}, at most {seen.most_in_a_second()} in a "
         f"second, {seen.most} connections, {len(seen.host.taken) - len(recipients)} copies")
    assert len(recipients) == MESSAGES
    assert seen.most_in_a_second() <= RATE + NOISE
    assert seen.most <= 3
    assert max(getattr(s, "seen", 0) for s in seen.host.sessions) <= 10
