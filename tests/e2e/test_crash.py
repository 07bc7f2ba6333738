"""SIGKILL under load: what was promised is kept, and the one window that repeats is counted."""

import collections
import http.client
import random
import threading
import time

from harness.api import Api, attempts
from harness.wait import until

SUBMISSIONS = 500
THREADS = 8
KILLS = 3
# The window is from the final dot's line to our settlement, which a disk under load makes long: a second was seen.
WINDOW_S = 3.0
# What was on the wire at the kill is read by the receiver a little later.
LATE_S = 0.5


def test_every_202_is_delivered_whatever_is_killed(world, tell):
    mx = world.receiver("mx1.example.net", "example.net", dot=lambda s, m: time.sleep(0.02))
    server = world.server()
    url = [server.api.url]
    accepted, kills, stop = {}, [], threading.Event()
    todo = collections.deque(range(SUBMISSIONS))

    def submit():
        while True:
            try:
                n = todo.popleft()
            except IndexError:
                return
            # What a caller does who got no answer: the same again, under the same key.
            while not stop.is_set():
                try:
                    answer = Api(url[0]).submit("ann@example.net", key=f"n{n}", subject=f"number {n}")
                except (OSError, http.client.HTTPException):
                    time.sleep(0.05)
                    continue
                if answer.status == 202:
                    accepted[n] = answer.json["id"]
                    break
                assert answer.status in (429, 503), answer.body

    threads = [threading.Thread(target=submit, daemon=True) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    chance = random.Random(2)
    try:
        for k in range(KILLS):
            goal = (k + 1) * SUBMISSIONS // (KILLS + 1)
            until(lambda: len(accepted) >= goal or len(mx.taken) >= goal, f"{goal} accepted", 60)
            time.sleep(chance.uniform(0, 0.1))
            server.kill()
            kills.append(time.time())
            server.start()
            url[0] = server.api.url
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive(), "not everything was accepted within a minute"
    finally:
        stop.set()
    assert len(accepted) == SUBMISSIONS

    def numbers():
        return collections.Counter(m.header("Subject") for m in list(mx.taken))

    until(lambda: len(numbers()) == SUBMISSIONS, lambda: f"all delivered; {len(numbers())} are", 90)
    for id in accepted.values():
        # Whatever came twice was written down once: the other was lost in the window.
        told = [a["action"] for a in attempts(server.api.follow(id, "delivered"))]
        assert told.count("deliver") == 1, told
    copies = {s: c for s, c in numbers().items() if c > 1}
    for subject in copies:
        # Every copy but the last was lost to a kill that came after its dot, before it was written down.
        for at in sorted(m.at for m in mx.taken if m.header("Subject") == subject)[:-1]:
            assert any(at - LATE_S <= kill <= at + WINDOW_S for kill in kills), (
                f"{subject} came {copies[subject]} times, and no kill fell into its window")
    tell(f"{SUBMISSIONS} submissions, {KILLS} kills: {len(accepted)} accepted, {len(numbers())} delivered, "
         f"{sum(copies.values()) - len(copies)} copies, all in the window")
