"""Every way in, until a receiver has the message: once, however often the same thing comes."""

import json

import pytest

from cloud.world import taken
from harness.wait import steady

# How long a second copy would have had to arrive.
COPY_S = 3.0


def submission(to, case, **fields):
    return {"from": "Acme <hello@acme.example>", "to": [to], "subject": f"case {case}", "text": "hello\n",
            "tags": {"case": case}, **fields}


def raw(to, case):
    return f"From: hello@acme.example\r\nTo: {to}\r\nSubject: case {case}\r\n\r\nhello\r\n".encode()


def by_http(world, to, case):
    world.api().submit(to, subject=f"case {case}").expect(202)


def by_http_raw(world, to, case):
    world.api().raw(raw(to, case), to).expect(202)


def by_bus(world, to, case):
    world.put_on_bus(submission(to, case))


def by_s3_raw(world, to, case):
    world.put_object(f"incoming/acme/{case}.eml", raw(to, case), mail_from="hello@acme.example", rcpt_to=to)


def by_s3_json(world, to, case):
    world.put_object(f"incoming/acme/{case}.json", json.dumps(submission(to, case)).encode())


def by_queue(world, to, case):
    world.stack.sqs.send_message(QueueUrl=world.stack.queue("intake"), MessageBody=json.dumps(submission(to, case)))


WAYS = {"http": by_http, "http-raw": by_http_raw, "bus": by_bus, "s3-raw": by_s3_raw, "s3-json": by_s3_json,
        "queue": by_queue}


@pytest.mark.parametrize("way", WAYS)
def test_mail_comes_in_and_is_delivered(world, case, way):
    mx = world.receiver()
    WAYS[way](world, f"ann@{mx.domain}", case)
    [message] = taken(mx, 1)
    assert message.rcpt_to == [f"ann@{mx.domain}"]
    assert message.header("Subject") == f"case {case}"
    assert message.data.endswith(b"hello\r\n")


def test_the_answer_tells_what_became_of_it(world):
    mx = world.receiver()
    api = world.api()
    message = api.follow(api.send(f"ann@{mx.domain}", tags={"release": "v42"}), "delivered")
    [attempt] = message["recipients"][0]["attempts"]
    assert (attempt["host"], attempt["reply"]["code"], attempt["action"]) == (f"mx.{mx.domain}", 250, "deliver")
    assert (message["lane"], message["tags"]) == ("transactional", {"release": "v42"})


def test_what_came_otherwise_is_found_as_what_came_by_http(world, case):
    mx = world.receiver()
    tenant = world.stack.setting("POSTHASTE_INTAKE_TENANT", of="IntakeEvents")
    by_queue(world, f"ann@{mx.domain}", case)
    taken(mx, 1)
    found = world.api(tenant).get("/v1/messages", tag=f"case:{case}").expect(200).json["messages"]
    assert len(found) == 1


def test_a_batch_goes_to_everybody(world):
    mx = world.receiver()
    to = [f"u{n}@{mx.domain}" for n in range(40)]
    answer = world.api().post("/v1/messages:batch", {
        "defaults": {"from": "hello@acme.example", "subject": "news", "text": "news\n", "lane": "bulk"},
        "messages": [{"to": [address]} for address in to]}).expect(200)
    assert [r["status"] for r in answer.json["results"]] == [202] * 40
    assert sorted(m.rcpt_to[0] for m in taken(mx, 40)) == sorted(to)


def test_the_same_key_is_delivered_once(world, case):
    mx = world.receiver()
    ids = {world.api().submit(f"ann@{mx.domain}", key=case).expect(202).json["id"] for _ in range(3)}
    assert len(ids) == 1
    taken(mx, 1)
    steady(lambda: len(mx.taken) == 1, "one copy", COPY_S)
    world.api().submit(f"bob@{mx.domain}", key=case).expect(409)


@pytest.mark.parametrize("way", ["bus", "s3-raw", "s3-json", "queue"])
def test_the_same_event_twice_is_delivered_once(world, case, way):
    mx = world.receiver()
    with world.stack.held_back("IntakeEvents"):
        WAYS[way](world, f"ann@{mx.domain}", case)
        record = world.stack.record("intake")
        for _ in range(2):
            answer = world.stack.invoke("IntakeEvents", {"Records": [record]})
            assert answer["batchItemFailures"] == []
    taken(mx, 1)
    steady(lambda: len(mx.taken) == 1, "one copy", COPY_S)


def test_two_events_alike_are_two_messages(world, case):
    mx = world.receiver()
    for _ in range(2):
        by_bus(world, f"ann@{mx.domain}", case)
    taken(mx, 2)


def test_a_large_message_comes_by_upload(world):
    mx = world.receiver()
    api = world.api()
    octets = raw(f"ann@{mx.domain}", "large") + b"0123456789abcdef" * 4 + b"\r\n"
    octets += (b"x" * 70 + b"\r\n") * 100_000
    place = api.post("/v1/uploads", {"size": len(octets)}).expect(201).json
    world.put_presigned(place, octets)
    api.post("/v1/messages", {"upload": place["upload"], "envelope": {
        "mail_from": "hello@acme.example", "rcpt_to": [f"ann@{mx.domain}"]}}).expect(202)
    [message] = taken(mx, 1)
    assert len(message.data) > len(octets)
