"""What nobody can do: put aside with its reason, told, and put back by a command."""

import json

from cloud.world import taken
from harness.wait import until


# The clock, each minute, looks through what lies there, and hides it for a while from others who look.
PATIENCE_S = 75


def refused(events, why):
    """`submission.refused` events with that in them."""
    return [e for e in events() if e["detail-type"] == "submission.refused" and why in json.dumps(e["detail"])]


def letters_with(world, lane, why):
    return [m for m in world.stack.letters(lane) if why in json.dumps(m)]


def test_a_job_that_cannot_be_read_is_put_aside_with_its_reason(world, case):
    world.stack.sqs.send_message(QueueUrl=world.stack.queue("transactional"), MessageBody=f"not a job {case}",
                                 MessageGroupId="acme")
    [letter] = until(lambda: letters_with(world, "transactional", case), "the dead letter", PATIENCE_S, 1.2)
    assert "reason" in json.dumps(letter), letter


def test_a_submission_that_cannot_be_accepted_is_put_aside_and_told(world, case):
    events = world.tap()
    world.put_object(f"incoming/acme/{case}.json", json.dumps({"from": "nobody", "to": [], "subject": case}).encode())
    until(lambda: letters_with(world, "intake", case), "the dead letter", PATIENCE_S, 1.2)
    until(lambda: refused(events, case), "the refusal is told")


def test_a_dead_letter_is_listed_and_put_back(world, case):
    """The row of the job is gone, and comes back."""
    mx = world.receiver()
    api, operator = world.api(), world.operator()
    with world.stack.held_back("DeliverTransactional"):
        id = api.send(f"ann@{mx.domain}", tags={"case": case})
        removed = world.stack.take_rows(id)
        assert removed
    [letter] = until(lambda: [x for x in operator.get("/v1/dead-letters").expect(200).json["dead_letters"]
                              if x.get("message_id") == id], "the dead letter is listed")
    assert letter["reason"]
    assert mx.commands("MAIL") == [], "a job without its row is never sent"
    world.stack.put_rows(removed)
    operator.post(f"/v1/dead-letters/{letter['job']}:redrive").expect(200)
    api.follow(id, "delivered")
    taken(mx, 1)
    until(lambda: id not in operator.get("/v1/dead-letters").body.decode(), "it is off the list")
