"""Sender domains on the deployed stack: keys sealed by KMS, mail signed, another tenant refused."""

import time
import uuid

from cloud.world import taken
from harness.wait import until


def test_a_proved_domain_is_signed_for_and_is_its_tenants(world):
    mx, domain = world.receiver(), f"s{uuid.uuid4().hex[:8]}.example"
    api, other = world.api(), world.api(tenant="other")
    registered = api.put(f"/v1/identities/{domain}", {"ed25519": True}).expect(200).json
    assert registered["status"] == "pending"
    letter = {"from": f"a@{domain}", "subject": "s", "text": "t"}
    for record in registered["records"]:
        if record["required"]:
            world.names.txt(record["name"], record["value"])
    assert api.post(f"/v1/identities/{domain}:verify").expect(200).json["status"] == "verified"
    api.submit(f"ann@{mx.domain}", **letter).expect(202)
    [message] = taken(mx, 1)
    assert message.data.count(b"DKIM-Signature:") == 2 and f"d={domain};".encode() in message.data
    refused = other.submit(f"ann@{mx.domain}", **letter)
    assert refused.status == 403, refused.body
    kept = world.stack.dynamodb.get_item(TableName=world.stack.table, Key={
        "pk": {"S": "acme#identities"}, "sk": {"S": domain}})["Item"]
    assert "PRIVATE" not in str(kept)
    assert api.delete(f"/v1/identities/{domain}").status == 204


def test_drift_is_told_by_the_monitor_and_counted(world):
    api, domain = world.api(), f"s{uuid.uuid4().hex[:8]}.example"
    registered = api.put(f"/v1/identities/{domain}", {}).expect(200).json
    [key] = [record for record in registered["records"] if record["required"]]
    world.names.txt(key["name"], key["value"]).txt(f"_dmarc.{domain}", f"v=DMARC1; p=reject; rua=mailto:d@{domain}")
    assert api.post(f"/v1/identities/{domain}:verify").expect(200).json["status"] == "verified"
    world.stack.invoke("Monitor")
    checks = lambda: api.get(f"/v1/identities/{domain}").expect(200).json["watched"]["checks"]
    # The policy's return path is of another organization: DKIM alone has to pass.
    assert (checks()["dkim"], checks()["dmarc"]) == ("ok", "note")
    world.names.records.pop(f"_dmarc.{domain}")
    time.sleep(1.2)  # the policy's audit_every, and the record's TTL
    world.stack.invoke("Monitor")
    assert checks()["dmarc"] == "error"
    ours = lambda: [e for e in api.get("/v1/events", after=0, limit=1000).expect(200).json["events"]
                    if e["type"] == "auth.drifted" and e["domain"]["domain"] == domain]
    [drift] = until(ours, "it is told")
    assert (drift["domain"]["check"], drift["domain"]["was"], drift["domain"]["now"]) == ("dmarc", "note", "error"), drift
    until(lambda: '"AuthDrifted":' in world.stack.log("Monitor", 200), "it is counted")
    assert api.delete(f"/v1/identities/{domain}").status == 204
