"""Who may ask: keys from the first one on, tenants apart, quotas, and bodies too large for a request."""

import time

import pytest

from harness.program import Server, run


class Keyed:
    """A server that wants keys, and callers with one each."""

    def __init__(self, folder, policy=None):
        self.server = Server(folder, policy, arguments=["--require-key"])
        self.operator = self.offline("create", "--operator").stdout.strip()

    def offline(self, *arguments):
        return run("api-key", *arguments, "--state", self.server.state)

    def start(self):
        self.server.start()
        return self

    def key(self, tenant, *scopes):
        """A key made through the API, by the operator."""
        chosen = [part for scope in scopes for part in ("--scope", scope)]
        done = self.command(self.operator, "api-key", "create", "--tenant", tenant, *chosen)
        assert done.returncode == 0, done
        return done.stdout.strip()

    def command(self, key, *arguments):
        return run(*arguments, "--api", self.server.api.url, "--api-key", key)

    def call(self, key, method, path, body=None, **headers):
        given = {"Authorization": f"Bearer {key}"} if key else {}
        return self.server.api.call(method, path, body, {**given, **headers})


LETTER = {"from": "hello@acme.example", "to": ["success@example.net"], "subject": "s", "text": "t\n"}


@pytest.fixture
def keyed(tmp_path):
    made = []

    def make(policy=None):
        made.append(Keyed(tmp_path, policy))
        return made[-1]

    yield make
    for one in made:
        if one.server.process is not None:
            one.server.kill()


def test_without_a_key_nobody_could_ever_ask_so_it_does_not_start(tmp_path):
    done = run("dev", "--http", "0.0.0.0:0", "--state", tmp_path / "state")
    assert done.returncode == 2 and "api-key create --operator" in done.stderr, done


def test_the_first_key_is_made_beside_the_stack_and_the_others_through_it(keyed):
    stack = keyed().start()
    assert stack.call(None, "GET", "/v1/messages").expect(401).headers["www-authenticate"] == "Bearer"
    sender, reader = stack.key("acme", "send", "read"), stack.key("acme", "read")
    done = stack.command(sender, "send", "--from", "a@acme.example", "--to", "success@example.net", "--text", "t", "--wait")
    assert done.returncode == 0, done
    stack.call(reader, "GET", "/v1/messages").expect(200)
    stack.call(reader, "POST", "/v1/messages", LETTER).expect(403)
    stack.call(reader, "GET", "/v1/messages", Host="mail.example").expect(200)

    listed = stack.command(stack.operator, "api-key", "list", "--json")
    secrets = [key.rsplit("_", 1)[1] for key in (stack.operator, sender, reader)]
    assert listed.returncode == 0 and not any(secret in listed.stdout for secret in secrets)
    assert stack.command(stack.operator, "api-key", "revoke", reader).returncode == 0
    stack.call(reader, "GET", "/v1/messages").expect(401)
    # While it runs, its directory is its own.
    done = stack.offline("list")
    assert done.returncode == 1 and "in use" in done.stderr, done
    stack.server.stop()
    assert sender.split("_")[1] in stack.offline("list").stdout


def test_beyond_loopback_it_listens_once_there_is_a_key(keyed):
    stack = keyed()
    stack.server.arguments, stack.server.http = [], "0.0.0.0:0"
    stack.start()
    port = stack.server.api.url.rsplit(":", 1)[1]
    stack.server.api = type(stack.server.api)(f"http://127.0.0.1:{port}")
    stack.call(None, "GET", "/v1/queue").expect(401)
    stack.call(None, "GET", "/healthz").expect(200)
    stack.call(stack.key("acme", "read"), "GET", "/v1/queue").expect(200)


def test_one_tenant_sees_nothing_of_another(keyed):
    stack = keyed().start()
    one, two = (stack.key(tenant, "send", "read", "admin") for tenant in ("one", "two"))
    id = stack.call(one, "POST", "/v1/messages", LETTER).expect(202).json["id"]
    for method, path in [("GET", ""), ("DELETE", ""), ("POST", ":retry")]:
        stack.call(two, method, f"/v1/messages/{id}{path}").expect(404)
    assert stack.call(two, "GET", "/v1/messages").expect(200).json == {"messages": []}
    assert stack.call(two, "GET", "/v1/events").expect(200).json["events"] == []
    for path in ("/v1/dead-letters", "/v1/sandbox/messages"):
        stack.call(two, "GET", path).expect(403)
    assert stack.command(stack.operator, "dlq", "list").returncode == 0


def test_over_the_quota_it_is_said_when_to_come_again(keyed):
    stack = keyed("[sandbox]\nall = true\n[quota]\nrecipients_per_day = 2\n").start()
    key = stack.key("acme", "send")
    # A day may end in between.
    statuses = {stack.call(key, "POST", "/v1/messages", LETTER).status for _ in range(5)}
    assert statuses == {202, 429}
    refused = stack.call(key, "POST", "/v1/messages", LETTER).expect(429)
    assert refused.problem and 1 <= int(refused.headers["retry-after"]) <= 86_400


def test_a_body_too_large_for_a_request_is_uploaded_and_delivered(keyed):
    stack = keyed().start()
    key = stack.key("acme", "send", "read")
    line = b"a line of a body that is long enough to be one of very many, all alike\r\n"
    message = b"From: hello@acme.example\r\nSubject: large\r\n\r\n" + line * 400_000
    offer = stack.call(key, "POST", "/v1/uploads", {"size": len(message)}).expect(201).json
    path = "/v1/" + offer["url"].split("/v1/", 1)[1]
    began = time.monotonic()
    stack.call(None, "PUT", path, message, **offer["headers"]).expect(204)
    stack.call(None, "PUT", path, message, **offer["headers"]).expect(412)
    body = {"upload": offer["upload"], "envelope": {"rcpt_to": ["success@example.net"]}}
    id = stack.call(key, "POST", "/v1/messages", body).expect(202).json["id"]
    while stack.call(key, "GET", f"/v1/messages/{id}").expect(200).json["status"] != "delivered":
        assert time.monotonic() - began < 30, "not delivered"
        time.sleep(0.1)
    got = stack.call(stack.operator, "GET", "/v1/sandbox/messages").expect(200).json["messages"][0]
    raw = stack.call(stack.operator, "GET", f"/v1/sandbox/messages/{got['id']}/raw").expect(200).body
    assert raw.endswith(message.split(b"\r\n\r\n", 1)[1])
