"""Memory does not grow with what waits."""

from harness.wait import until

WAITING = 20_000
RESIDENT_MAX = 100_000_000
# As many submissions as a batch holds.
BATCH = 500


def test_twenty_thousand_waiting_messages_fit(world, tell):
    world.names.mx("example.net", (10, "mx1.example.net"))
    world.dead_host("mx1.example.net")
    server = world.server(schedule='["10m"]')
    defaults = {"from": "hello@acme.example", "subject": "waits", "text": "x" * 2000}
    for start in range(0, WAITING, BATCH):
        batch = {"defaults": defaults,
                 "messages": [{"to": [f"u{start + n}@example.net"]} for n in range(BATCH)]}
        results = server.api.post("/v1/messages:batch", batch).expect(200).json["results"]
        assert {r["status"] for r in results} == {202}

    def in_line():
        """Where nobody is reached a few find that out, and the others wait for the site."""
        answer = server.api.get("/v1/sites/mx1.example.net")
        waiting = answer.json["now"]["waiting"] if answer.status == 200 else []
        return sum(line["recipients"] for line in waiting)

    until(lambda: in_line() > 0.9 * WAITING, lambda: f"nearly all stand in line, {in_line()} do", 120, every_s=0.25)
    assert server.api.get("/v1/queue").json["waiting"] == WAITING
    tell(f"{WAITING} waiting: {server.resident_bytes() / 1e6:.0f} MB resident, "
         f"{server.resident_bytes(peak=True) / 1e6:.0f} MB at the peak")
    assert server.resident_bytes(peak=True) < RESIDENT_MAX
