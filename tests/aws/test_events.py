"""What the outbound bus tells: a rule of anybody's brings it to a queue."""

from cloud.world import taken
from harness.wait import steady, until


def told(events, id, kind):
    """Events of a message of that kind, as a rule's target gets them."""
    return [e for e in events() if e["detail-type"] == kind and e["detail"]["message_id"] == id]


def test_a_deferral_and_a_bounce_are_told(world, case):
    mx = world.receiver(rcpt=["451 4.7.1 Greylisted, please try again later", "550 5.1.1 no such user"])
    events, api = world.tap(), world.api()
    id = api.send(f"ann@{mx.domain}", tags={"case": case})
    api.follow(id, "bounced")
    [deferred] = until(lambda: told(events, id, "delivery.deferred"), "the deferral is told")
    [bounced] = until(lambda: told(events, id, "delivery.bounced"), "the bounce is told")
    assert (bounced["source"], bounced["detail"]["tenant"]) == ("posthaste", "acme")
    assert bounced["detail"]["recipient"] == f"ann@{mx.domain}"
    assert bounced["detail"]["tags"] == {"case": case}
    assert bounced["detail"]["event_id"] != deferred["detail"]["event_id"]
    # What the bus tells is what the feed tells, a little later.
    on_the_bus = {deferred["detail"]["event_id"], bounced["detail"]["event_id"]}
    until(lambda: on_the_bus <= {e["event_id"] for e in api.events(id)}, "both stand in the feed")


def test_deliveries_stand_in_the_feed_and_on_the_bus_only_for_who_asked(world):
    mx = world.receiver()
    events, api = world.tap(), world.api()
    id = api.send(f"ann@{mx.domain}")
    taken(mx, 1)
    api.follow(id, "delivered")
    asked = world.stack.setting("POSTHASTE_EVENTS_DELIVERED", of="DeliverTransactional") == "true"
    steady(lambda: asked or not told(events, id, "delivery.delivered"), "not told", 2)
    assert [e["type"] for e in until(lambda: api.events(id), "it stands in the feed")] == ["delivery.delivered"]
