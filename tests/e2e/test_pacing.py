"""Rates, connections and messages a connection as a receiver counts them; what it says is heeded; nobody else waits."""

import bisect
import os
import signal
import time

from harness.api import Api
from harness.program import run
from harness.wait import until

POLICY = """
[[shaping]]
match = {{ domain = "{domain}" }}
rate = "{rate}"
connections = {connections}
messages_per_connection = {messages}
"""


# What leaves evenly is seen unevenly by a receiver that shares two busy cores with everything else: so many messages a
# second may be seen late, beside the next ones. A pacer that is wrong is wrong by more.
NOISE = 2


class Counted:
    """What one receiver saw: when each message came, over which session, and how many were open."""

    def __init__(self, world, name, domain, **hooks):
        self.most, self.open = 0, set()
        self.times = []
        self.host = world.receiver(name, domain, mail=self._mail, **hooks)

    def _mail(self, session, _argument):
        self.times.append(time.monotonic())

    def most_in(self, seconds):
        """The most messages in any window of that length."""
        times = sorted(self.times)
        return max((bisect.bisect_left(times, t + seconds) - n for n, t in enumerate(times)), default=0)

    def rate(self):
        times = sorted(self.times)
        return (len(times) - 1) / (times[-1] - times[0])

    def messages_a_session(self):
        return max(s.messages for s in self.host.sessions)


def send_all(api, count, domain, **more):
    """Submits in batches; the ids."""
    ids = []
    for start in range(0, count, 500):
        messages = [{"to": [f"u{n}@{domain}"]} for n in range(start, min(count, start + 500))]
        defaults = {"from": "Acme <hello@acme.example>", "subject": "s", "text": "t", **more}
        answer = api.call("POST", "/v1/messages:batch", {"defaults": defaults, "messages": messages}, timeout_s=120).expect(200)
        ids += [r["id"] for r in answer.json["results"]]
    return ids


def shaped(world, domain, rate, connections=3, messages=10):
    return world.policy() + POLICY.format(domain=domain, rate=rate, connections=connections, messages=messages)


def test_a_limited_receiver_never_sees_more_and_others_do_not_wait(world, tell):
    slow = Counted(world, "mx1.slow.example", "slow.example")
    other = world.receiver("mx1.quick.example", "quick.example")
    api = world.server(policy=shaped(world, "slow.example", "20/s")).api
    send_all(api, 300, "slow.example", lane="bulk")
    until(lambda: len(slow.times) > 20, "it has begun")
    began = time.monotonic()
    api.follow(api.send("ann@quick.example"), "delivered")
    waited = time.monotonic() - began
    until(lambda: len(slow.host.taken) == 300, "all came", 60)
    tell(f"20/s over 3 connections: {slow.rate():.1f}/s, at most {slow.most_in(1.0)} in a second, "
         f"another site waited {waited:.2f} s")
    assert slow.most_in(1.0) <= 20 + NOISE
    assert slow.rate() >= 15
    assert slow.messages_a_session() <= 10
    assert waited < 2 and len(other.taken) == 1


def test_a_stall_is_not_followed_by_a_burst(world, tell):
    slow = Counted(world, "mx1.slow.example", "slow.example")
    server = world.server(policy=shaped(world, "slow.example", "20/s", messages=100))
    send_all(server.api, 300, "slow.example", lane="bulk")
    until(lambda: len(slow.times) > 20, "it has begun")
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        time.sleep(5)
    finally:
        woken = time.monotonic()
        os.kill(server.process.pid, signal.SIGCONT)
    until(lambda: len([t for t in slow.times if t > woken]) >= 60, "it goes on", 30)
    tell(f"after a stall of 5 s: {len([t for t in slow.times if 0 < t - woken < 1])} in the first second of 20/s, "
         f"at most {slow.most_in(1.0)} in any")
    assert slow.most_in(1.0) <= 20 + NOISE


def test_a_password_does_not_wait_behind_a_campaign(world, tell):
    slow = Counted(world, "mx1.slow.example", "slow.example")
    api = world.server(policy=shaped(world, "slow.example", "20/s", connections=2, messages=100)).api
    send_all(api, 2000, "slow.example", lane="bulk")
    until(lambda: len(slow.times) > 20, "it has begun")
    began = time.monotonic()
    api.follow(api.send("otp@slow.example", lane="transactional"), "delivered")
    waited = time.monotonic() - began
    tell(f"a password behind a campaign of 2,000 at 20/s: {waited:.2f} s")
    assert waited < 5


def test_two_tenants_share_a_site(world, tell):
    """The first has brought many; the second is served as often as it from the moment it comes."""
    slow = Counted(world, "mx1.slow.example", "slow.example")
    server = world.server(policy=shaped(world, "slow.example", "20/s", messages=100), start=False)
    server.arguments.append("--require-key")
    operator = run("api-key", "create", "--operator", "--state", server.state).stdout.strip()
    server.start()

    class Keyed(Api):
        """The API as a tenant sees it."""

        def __init__(self, tenant):
            super().__init__(server.api.url)
            made = run("api-key", "create", "--tenant", tenant, "--scope", "send", "--api", self.url,
                       "--api-key", operator)
            self.key = made.stdout.strip()

        def call(self, method, path, body=None, headers=None, timeout_s=30):
            return super().call(method, path, body, {"Authorization": f"Bearer {self.key}", **(headers or {})}, timeout_s)

    send_all(Keyed("first"), 1000, "slow.example", lane="bulk")
    until(lambda: len(slow.times) > 20, "it has begun")
    ids = send_all(Keyed("second"), 60, "slow.example", lane="bulk", **{"from": "Other <hello@second.example>"})
    began = time.monotonic()
    until(lambda: sum("second.example" in str(m.header("From")) for m in list(slow.host.taken)) == 60, "all came", 60)
    took = time.monotonic() - began
    tell(f"60 messages of a second tenant beside 1,000 of the first at 20/s: {took:.1f} s")
    assert len(ids) == 60
    assert took < 25


def test_a_rate_that_is_cut_is_cut_at_once(world, tell):
    slow = Counted(world, "mx1.slow.example", "slow.example")
    server = world.server(policy=shaped(world, "slow.example", "20/s", messages=100))
    send_all(server.api, 1000, "slow.example", lane="bulk")
    until(lambda: len(slow.times) > 40, "it has begun")
    server.policy.write_text(shaped(world, "slow.example", "2/s", messages=100))
    cut = time.monotonic()
    time.sleep(16)
    after = [t for t in list(slow.times) if t > cut + 6]
    tell(f"20/s cut to 2/s: {len(after)} messages from the 6th to the 16th second after")
    assert 12 <= len(after) <= 20 + NOISE


def test_a_receiver_that_says_slow_down_is_slowed_and_one_may_see_why(world):
    replies = ["421 4.7.0 too many messages, slow down"] + [None] * 1000
    host = world.receiver("mx1.slow.example", "slow.example", mail=replies)
    api = world.server(policy=shaped(world, "slow.example", "20/s")).api
    api.follow(api.send("ann@slow.example"), {"deferred", "throttled", "delivered"})
    site = api.get("/v1/sites/mx1.slow.example").expect(200).json
    assert site["rate"] == "10/s"
    assert "slow down" in site["changes"][-1]["reply"]
    [event] = [e for e in api.events() if e["type"] == "site.slowed"]
    assert event["site"]["site"] == "mx1.slow.example"
    assert host.sessions
