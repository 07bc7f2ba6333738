"""DynamoDB is gone for a while: nothing is promised that is not kept, nothing is given up, all is delivered after."""

import http.client
import json
import threading
import time

from cloud.world import says_try_again, taken
from harness.wait import until

# An hour, shortened: long enough for several receipts of every job and every event, as an hour is on AWS, since the
# stack under test hides a failed message for seconds, where a deployed one hides it for minutes.
OUTAGE_S = 30.0
BEFORE = 30
DURING = 10
# How long everything may take to settle after it.
AFTER_S = 150


def test_an_outage_of_the_tables_loses_nothing(own_world, case, tell):
    world = own_world
    # Tried twice, so that there is something to do in the middle of the outage.
    seen, lock = set(), threading.Lock()

    def greylist(session, address):
        with lock:
            first = address not in seen
            seen.add(address)
        return "451 4.7.1 Greylisted, please try again later" if first else None

    mx = world.receiver(rcpt=greylist)
    api, refused, accepted = world.api(), 0, []
    # Other tests of this stack may have left some.
    lanes = ("transactional", "bulk", "slow", "intake")
    dead = {lane: sum(world.stack.waiting(lane, dead=True)) for lane in lanes}
    for n in range(BEFORE):
        accepted.append(api.send(f"before{n}@{mx.domain}"))
    world.faults.forget()
    with world.faults.outage("dynamodb", hang_s=1.0):
        end = time.monotonic() + OUTAGE_S
        for n in range(DURING):
            body = {"from": "hello@acme.example", "to": [f"during{n}@{mx.domain}"], "subject": case, "text": "t"}
            world.put_object(f"incoming/acme/{case}-{n}.json", json.dumps(body).encode())
            world.put_on_bus({**body, "to": [f"bus{n}@{mx.domain}"]})
        while time.monotonic() < end:
            try:
                answer = api.submit(f"refused@{mx.domain}")
                assert says_try_again(answer), f"{answer.status}: {answer.body!r}"
            except (OSError, http.client.HTTPException):
                pass
            refused += 1
            time.sleep(1)
        spoiled = world.faults.state()["faults"]["down dynamodb"]
    assert spoiled > BEFORE, f"only {spoiled} requests were refused: nothing was under way"
    started = time.monotonic()
    wanted = {f"before{n}@{mx.domain}" for n in range(BEFORE)}
    wanted |= {f"{kind}{n}@{mx.domain}" for n in range(DURING) for kind in ("during", "bus")}
    there = lambda: {r for m in list(mx.taken) for r in m.rcpt_to}  # noqa: E731
    until(lambda: wanted <= there(), lambda: f"all delivered; without {sorted(wanted - there())}", AFTER_S, 0.5)
    assert there() == wanted, "what was refused was not taken"
    assert len(taken(mx, len(wanted))) == len(wanted), "each once"
    for lane in lanes:
        assert sum(world.stack.waiting(lane, dead=True)) == dead[lane], f"dead letters of {lane}: {world.stack.letters(lane)}"
    for id in accepted:
        api.follow(id, "delivered")
    tell(f"DynamoDB gone for {OUTAGE_S:.0f} s: {spoiled} requests and {refused} submissions refused, "
         f"{len(wanted)} messages delivered within {time.monotonic() - started:.0f} s after it, no dead letter")
