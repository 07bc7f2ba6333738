"""A deployed stack, with a name server and receivers on loopback around it."""

import http.client
import itertools
import json
import threading
import uuid
from urllib.parse import urlsplit

from harness.api import Api
from harness.names import Names
from harness.receiver import Receiver
from harness.wait import until

from .deployment import Deployment
from .emulator import Emulator, free_port
from .faults import Faults
from .keys import operators_key, tenants_key

# Deferrals come again at once in the lane of passwords; in bulk so late that the wait is parked: past the 15 minutes
# of an SQS delay by what `PARKED_S` says.
PARKED_S = 2
# What a dead function had taken comes again after this; deployed, after the function's longest run and more (15 min).
HIDDEN_S = 15
POLICY = """
[mta]
hostname = "mta.posthaste.example"
return_path_domain = "bounces.acme.example"
[dns]
servers = ["{dns}"]
[smtp]
port = {port}
allow_private_addresses = true
[tls]
dane = false
mta_sts = false
[retry]
schedule = ["1s"]
jitter = 0.0
throttle = ["1s"]
ambiguous_after = "2s"
expire_after = "4d"
[retry.bulk]
schedule = ["{parked}s"]
[auth]
require_identity = false
require_alignment = false
audit_every = "1s"
[[shaping]]
match = "default"
rate = "unlimited"
connections = 10
"""


class DeployedApi(Api):
    """The HTTP API of a stack, with one key."""

    def __init__(self, url, key):
        super().__init__(url)
        self.prefix = url.split(self.netloc, 1)[1]
        self.key = key

    def call(self, method, path, body=None, headers=None, timeout_s=30):
        headers = dict(headers or {})
        if self.key:
            headers.setdefault("Authorization", f"Bearer {self.key}")
        return super().call(method, self.prefix + path, body, headers, timeout_s)


def says_try_again(answer):
    """Whether a caller may hope: ours, or the gateway's answer for a function that was killed or took too long."""
    if answer.status == 500:
        # AWS's gateway; the emulator's says 502. A 500 of ours would be a problem document.
        return answer.json == {"message": "Internal Server Error"}
    return answer.status in (429, 502, 503, 504)


class World:
    """Everything in it ends with `close`. Without an endpoint it brings an emulator, and a proxy before it."""

    def __init__(self, folder, bootstraps, endpoint=None, reachable_at=None):
        self.folder, self.bootstraps, self.given = folder, bootstraps, endpoint
        self.reachable_at = reachable_at
        self.names = Names(reachable_at or "127.0.0.1")
        self.receivers, self.emulator, self.faults, self.stack = [], None, None, None
        self._hosts = itertools.count(2)
        self._lock = threading.Lock()
        self.port = free_port()
        self._apis = {}

    def start(self, **parameters):
        """Deploys, and puts the policy in its place before anything is run."""
        endpoint = self.given
        if endpoint is None:
            self.emulator = Emulator(self.folder)
            self.faults = Faults(self.emulator.url)
            self.emulator.start(self.faults.url)
            endpoint = self.emulator.url
        self.stack = Deployment(endpoint)
        self.stack.deploy(self.bootstraps, **parameters)
        for lane in ("transactional", "bulk", "slow", "intake"):
            self.stack.hide_for(lane, HIDDEN_S)
        self.put_policy(POLICY.format(dns=self.names.address, port=self.port, parked=15 * 60 + PARKED_S))
        return self

    def close(self):
        for receiver in self.receivers:
            receiver.close()
        self.names.close()
        if self.given and self.stack:
            self.stack.remove()
        for part in (self.emulator, self.faults):
            if part is not None:
                part.stop()

    def put_policy(self, text):
        self.stack.s3.put_object(Bucket=self.stack.bucket, Key="policy.toml", Body=text.encode())

    def api(self, tenant="acme", scopes=("send", "read", "admin")):
        """The API as that tenant, with a key of those scopes; `tenant=None` is a stranger without one."""
        if tenant is None:
            return DeployedApi(self.stack.api_url(), None)
        if (tenant, scopes) not in self._apis:
            key = tenants_key(self.operator(), tenant, scopes)
            self._apis[tenant, scopes] = DeployedApi(self.stack.api_url(), key)
        return self._apis[tenant, scopes]

    def operator(self):
        """The API as the operator."""
        if "operator" not in self._apis:
            self._apis["operator"] = DeployedApi(self.stack.api_url(), operators_key(self.stack))
        return self._apis["operator"]

    def receiver(self, **behaviour):
        """A receiver, the only MX of a domain of its own, which is its `domain`."""
        with self._lock:
            ip = self.reachable_at or f"127.0.0.{next(self._hosts)}"
        domain = f"d{uuid.uuid4().hex[:8]}.example"
        receiver = Receiver(ip, self.port, name=f"mx.{domain}", **behaviour)
        receiver.domain = domain
        self.names.a(f"mx.{domain}", ip).mx(domain, (10, f"mx.{domain}"))
        self.receivers.append(receiver)
        return receiver

    def put_object(self, key, octets, **metadata):
        """An object where S3 takes mail in."""
        self.stack.s3.put_object(Bucket=self.stack.bucket, Key=key, Body=octets,
                                 Metadata={k.replace("_", "-"): v for k, v in metadata.items()})

    def put_presigned(self, place, octets):
        """Does the upload as it was told to."""
        url = urlsplit(place["url"])
        connection = http.client.HTTPConnection(url.netloc, timeout=60)
        try:
            connection.request("PUT", f"{url.path}?{url.query}", octets, place.get("headers", {}))
            answer = connection.getresponse()
            assert answer.status in (200, 204), answer.read()
        finally:
            connection.close()

    def put_on_bus(self, submission):
        """A submission on the inbound bus, as it came; the event's id."""
        [bus] = [b for b in self.stack.of_type("AWS::Events::EventBus") if b.endswith("-in")]
        entry = {"EventBusName": bus, "Source": "shop", "DetailType": "message.submit",
                 "Detail": json.dumps(submission)}
        answer = self.stack.events.put_events(Entries=[entry])
        assert answer["FailedEntryCount"] == 0, answer
        return answer["Entries"][0]["EventId"]

    def tap(self):
        """A queue that gets every event of the outbound bus from now on: a function that gives those so far."""
        stack, name = self.stack, f"tap-{uuid.uuid4().hex[:8]}"
        url = stack.sqs.create_queue(QueueName=name)["QueueUrl"]
        arn = stack.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        bus = stack.setting("POSTHASTE_BUS", of="DeliverTransactional")
        rules = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": arn,
                 "Principal": {"Service": "events.amazonaws.com"}}
        allowed = {"Version": "2012-10-17", "Statement": [rules]}
        stack.sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(allowed)})
        stack.events.put_rule(Name=name, EventBusName=bus, EventPattern=json.dumps({"source": ["posthaste"]}))
        stack.events.put_targets(Rule=name, EventBusName=bus, Targets=[{"Id": "tap", "Arn": arn}])
        seen = []

        def events():
            while got := stack.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
                for message in got:
                    seen.append(json.loads(message["Body"]))
                    stack.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            return seen

        return events


def taken(receiver, count, patience_s=60):
    """Waits until the receiver has taken that many; gives them."""
    until(lambda: len(receiver.taken) >= count, lambda: f"{count} taken; {len(receiver.taken)} are", patience_s)
    return receiver.taken
