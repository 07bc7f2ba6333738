"""Sender domains on the deployed stack: keys sealed by KMS, mail signed, another tenant refused."""

import uuid

from cloud.world import taken


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
