"""One tenant sees and touches nothing of another's; without a key nothing but health answers."""

import json

import pytest

from cloud.world import DeployedApi, taken
from harness.wait import steady, until

# A revoked key is refused everywhere within 30 s; and a little for a loaded machine.
REVOKED_S = 35


@pytest.fixture(scope="module")
def hers(stack_world):
    """A message of the tenant acme, with a tag, a key and a suppression."""
    mx = stack_world.receiver()
    api = stack_world.api("acme")
    id = api.submit(f"ann@{mx.domain}", key="hers", tags={"whose": "acmes"}).expect(202).json["id"]
    api.follow(id, "delivered")
    api.put("/v1/suppressions/blocked@acme.example", {"reason": "manual"})
    yield {"id": id, "domain": mx.domain, "mx": mx}
    mx.close()


def tagged(world, tenant, case):
    """Messages with the case's tag, as the tenant finds them."""
    return world.api(tenant).get("/v1/messages", tag=f"case:{case}").expect(200).json["messages"]


ATTEMPTS = {
    "read": lambda api, hers: api.get(f"/v1/messages/{hers['id']}").status == 404,
    "cancel": lambda api, hers: api.delete(f"/v1/messages/{hers['id']}").status == 404,
    "retry": lambda api, hers: api.post(f"/v1/messages/{hers['id']}:retry").status == 404,
    "find by tag": lambda api, hers: not api.get("/v1/messages", tag="whose:acmes").expect(200).json["messages"],
    "find by recipient": lambda api, hers: not api.get(
        "/v1/messages", recipient=f"ann@{hers['domain']}").expect(200).json["messages"],
    "list": lambda api, hers: hers["id"] not in api.get("/v1/messages").body.decode(),
    "events": lambda api, hers: not api.events(hers["id"]),
    "suppression": lambda api, hers: api.get("/v1/suppressions/blocked@acme.example").status == 404,
    "suppressions": lambda api, hers: "blocked@" not in api.get("/v1/suppressions").body.decode(),
    "queue": lambda api, hers: hers["domain"] not in api.get("/v1/queue").body.decode(),
}


@pytest.mark.parametrize("what", ATTEMPTS)
def test_another_tenants_things_are_not_there(world, hers, what):
    assert ATTEMPTS[what](world.api("evil"), hers)


def test_the_same_key_of_another_tenant_is_another_message(world, hers):
    id = world.api("evil").submit(f"ann@{hers['domain']}", key="hers").expect(202).json["id"]
    assert id != hers["id"]


def test_a_key_is_made_and_revoked_in_ones_own_house_only(world):
    acme, evil = world.api("acme"), world.api("evil")
    evil.post("/v1/api-keys", {"scopes": ["read"], "tenant": "acme"}).expect(403)
    evil.post("/v1/api-keys", {"scopes": ["operator"]}).expect(403)
    made = acme.post("/v1/api-keys", {"scopes": ["read"], "name": "for a test"}).expect(201).json
    assert made["id"] not in evil.get("/v1/api-keys").expect(200).body.decode()
    evil.delete(f"/v1/api-keys/{made['id']}").expect(404)
    DeployedApi(acme.url, made["key"]).get("/v1/messages").expect(200)
    acme.delete(f"/v1/api-keys/{made['id']}").expect(204)
    revoked = DeployedApi(acme.url, made["key"])
    until(lambda: revoked.get("/v1/messages").status == 401, "the key is refused", REVOKED_S)


def test_removing_a_suppression_touches_ones_own_list_only(world, hers):
    world.api("evil").delete("/v1/suppressions/blocked@acme.example")
    world.api("acme").get("/v1/suppressions/blocked@acme.example").expect(200)


@pytest.mark.parametrize("named", ["tenant", "from_tenant"])
def test_the_tenant_never_comes_from_the_body(world, case, named):
    mx = world.receiver()
    answer = world.api("evil").submit(f"ann@{mx.domain}", tags={"case": case}, **{named: "acme"})
    # A field nobody knows is refused; one that were taken would be found below.
    assert answer.status in (202, 400, 422)
    assert not tagged(world, "acme", case)


def test_the_prefix_says_whose_an_object_is(world, case):
    mx = world.receiver()
    body = {"from": "a@acme.example", "to": [f"ann@{mx.domain}"], "subject": "s", "text": "t", "tags": {"case": case}}
    world.put_object(f"incoming/evil/{case}.json", json.dumps(body).encode())
    taken(mx, 1)
    assert not tagged(world, "acme", case)
    assert tagged(world, "evil", case)


def test_the_queue_says_whose_a_submission_is(world, case):
    """Neither a submission nor an event that names a tenant is that tenant's. (What has the very form of the inbound
    rule's template speaks for the rule: who may send to this queue may do that, as the deployment page says.)"""
    mx = world.receiver()
    body = {"from": "a@acme.example", "to": [f"ann@{mx.domain}"], "subject": "s", "text": "t", "tags": {"case": case}}
    event = {"version": "0", "id": case, "source": "shop", "account": "000000000000", "time": "2026-11-25T00:00:00Z",
             "region": "us-east-1", "resources": [], "detail-type": "message.submit", "detail": body}
    named = {"tenant": "acme", **body}
    for forged in (named, {"tenant": "acme", **event}, {**event, "detail": named}):
        world.stack.sqs.send_message(QueueUrl=world.stack.queue("intake"), MessageBody=json.dumps(forged))
    steady(lambda: not tagged(world, "acme", case), "nothing of it is acme's", 4)


@pytest.mark.parametrize("key", ["../acme/x.json", "/x.json", "Acme Inc/x.json", "x.json"])
def test_an_object_without_a_tenants_prefix_is_nobodys(world, case, key):
    mx = world.receiver()
    body = {"from": "hello@acme.example", "to": [f"ann@{mx.domain}"], "subject": case, "text": "t"}
    world.put_object(f"incoming/{key}", json.dumps(body).encode())
    steady(lambda: not mx.taken, "nothing is sent", 2)


ROUTES = [("GET", "/v1/messages"), ("POST", "/v1/messages"), ("POST", "/v1/messages:batch"),
          ("GET", "/v1/messages/msg_x"), ("DELETE", "/v1/messages/msg_x"), ("GET", "/v1/queue"),
          ("GET", "/v1/suppressions"), ("GET", "/v1/events"), ("POST", "/v1/uploads"), ("GET", "/v1/sandbox/messages"),
          ("GET", "/v1/dead-letters"), ("GET", "/v1/api-keys"), ("POST", "/v1/api-keys")]


@pytest.mark.parametrize("method, path", ROUTES, ids=[f"{m}{p}" for m, p in ROUTES])
def test_without_a_key_nothing_is_answered(world, method, path):
    body = {"from": "a@acme.example", "to": ["b@example.net"], "text": "t"} if method == "POST" else None
    assert world.api(tenant=None).call(method, path, body).status == 401
    stranger = world.api(tenant=None)
    assert stranger.call(method, path, body, {"Authorization": "Bearer ph_unknown"}).status == 401


def test_health_is_open(world):
    world.api(tenant=None).get("/healthz").expect(200)


@pytest.mark.parametrize("scopes, method, path", [
    (("read",), "POST", "/v1/messages"), (("send",), "GET", "/v1/messages"),
    (("send", "read"), "PUT", "/v1/suppressions/x@example.net"),
    (("send", "read", "admin"), "GET", "/v1/dead-letters"), (("send", "read"), "GET", "/v1/api-keys")])
def test_a_key_is_good_for_its_scopes_only(world, scopes, method, path):
    body = {"from": "a@acme.example", "to": ["b@example.net"], "subject": "s", "text": "t"} if method != "GET" else None
    world.api("acme", scopes).call(method, path, body).expect(403)
