"""The HTTP API as a caller sees it."""

import http.client
import json
from urllib.parse import quote, urlencode, urlsplit

from .wait import PATIENCE_S, until

FINAL = {"delivered", "bounced", "expired", "suppressed", "cancelled", "ambiguous"}


class Answer:
    """One answer."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def problem(self):
        """The body of a refusal, which must be RFC 9457."""
        kind = self.headers.get("content-type", "")
        assert kind.startswith("application/problem+json"), f"{self.status} {kind}: {self.body[:300]!r}"
        problem = self.json
        assert problem.get("status", self.status) == self.status, problem
        return problem

    def expect(self, status):
        assert self.status == status, f"{self.status}, not {status}: {self.body[:600]!r}"
        return self


class Api:
    """A client of one server; safe to use from several threads."""

    def __init__(self, url):
        self.url = url.rstrip("/")
        self.netloc = urlsplit(self.url).netloc

    def call(self, method, path, body=None, headers=None, timeout_s=30):
        headers = dict(headers or {})
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        if isinstance(body, str):
            body = body.encode()
        connection = http.client.HTTPConnection(self.netloc, timeout=timeout_s)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def get(self, path, **params):
        return self.call("GET", path + ("?" + urlencode(params, doseq=True) if params else ""))

    def post(self, path, body=None, **headers):
        return self.call("POST", path, body, {k.replace("_", "-"): v for k, v in headers.items()})

    def delete(self, path):
        return self.call("DELETE", path)

    def put(self, path, body=None):
        return self.call("PUT", path, body)

    def submit(self, to, *, key=None, **fields):
        """The answer to one JSON submission."""
        body = {"from": "Acme <hello@acme.example>", "to": [to] if isinstance(to, str) else to,
                "subject": "a test", "text": "hello\n", **fields}
        body = {k: v for k, v in body.items() if v is not None}
        return self.post("/v1/messages", body, **({"Idempotency-Key": key} if key else {}))

    def send(self, to, **fields):
        """Submits, and gives the id."""
        return self.submit(to, **fields).expect(202).json["id"]

    def raw(self, octets, to, *, mail_from="hello@acme.example", key=None, **params):
        """The answer to one raw submission."""
        query = urlencode({"mail_from": mail_from, "rcpt_to": [to] if isinstance(to, str) else to, **params}, doseq=True)
        headers = {"Content-Type": "message/rfc822", **({"Idempotency-Key": key} if key else {})}
        return self.call("POST", f"/v1/messages?{query}", octets, headers)

    def message(self, id):
        return self.get(f"/v1/messages/{quote(id)}").expect(200).json

    def follow(self, id, status, patience_s=PATIENCE_S):
        """Waits until the message has that status (or one of several); gives the message."""
        wanted = {status} if isinstance(status, str) else set(status)
        seen = {}

        def there():
            seen.update(self.message(id))
            return seen if seen["status"] in wanted else None

        return until(there, lambda: f"{id} {sorted(wanted)}; it is {json.dumps(seen, indent=1)}", patience_s)

    def follow_final(self, id, patience_s=PATIENCE_S):
        """Waits until every recipient is final; gives the message."""
        seen = {}

        def there():
            seen.update(self.message(id))
            return seen if all(r["status"] in FINAL for r in seen["recipients"]) else None

        return until(there, lambda: f"every recipient of {id} final; it is {json.dumps(seen, indent=1)}", patience_s)

    def recipients(self, id):
        """`address -> status`."""
        return {r["address"]: r["status"] for r in self.message(id)["recipients"]}

    def events(self, id=None):
        """Every event there is, or those of one message."""
        found, after = [], None
        while True:
            page = self.get("/v1/events", **({"after": after} if after else {})).expect(200).json
            found += page["events"]
            if not page["events"] or page.get("next") in (None, after):
                break
            after = page["next"]
        return [e for e in found if id is None or e["message_id"] == id]


def attempts(message, address=None):
    """The attempts of a message's first recipient, or of the one with that address."""
    for recipient in message["recipients"]:
        if address in (None, recipient["address"]):
            return recipient["attempts"]
    raise AssertionError(f"no recipient {address} in {message}")
