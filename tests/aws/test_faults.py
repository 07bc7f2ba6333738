"""Two thousand messages while one AWS request in twenty goes wrong and functions are killed: all of them end."""

import collections
import http.client
import random
import threading
import time

from cloud.world import says_try_again
from harness.wait import until

MESSAGES = 2_000
# Submitted in batches of so many, each under a key.
BATCH = 50
THREADS = 4
RATE = 0.05
SEED = 20
KILLS = 2
# Longest the whole run may take: emulator, proxy and stack share two cores with it, and a crash costs a lease.
LIMIT_S = 300
# How long a hanging request hangs: longer than a function waits for one answer.
HANG_S = 6.0
# The window in which a copy may arise is from the final dot's line to our settlement. A settlement whose requests
# hang and are tried again takes as long as a call with all its tries may.
WINDOW_S = 14.0
# What was on the wire at the kill is read by the receiver a little later.
LATE_S = 0.5
# Messages of one page.
PAGE = 100


def submit(api, domain, n, case):
    """One batch, as a caller does it who gets no answer: the same again, under the same key. Its ids."""
    body = {"defaults": {"from": "hello@acme.example", "text": "hello\n", "tags": {"run": case}},
            "messages": [{"to": [f"u{i}@{domain}"], "subject": f"number {i}"} for i in range(n, n + BATCH)]}
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        try:
            answer = api.post("/v1/messages:batch", body, **{"Idempotency-Key": f"{case}-{n}"})
        except (OSError, http.client.HTTPException):
            continue
        if answer.status == 200:
            results = answer.json["results"]
            if all(r["status"] == 202 for r in results):
                return [r["id"] for r in results]
            assert all(r["status"] in (202, 429, 503) for r in results), results
        else:
            assert says_try_again(answer), f"{answer.status}: {answer.body!r}"
        time.sleep(0.2)
    raise AssertionError(f"batch {n} was not accepted within {LIMIT_S} s")


class Callers:
    """Threads that submit everything once."""

    def __init__(self, api, domain, case):
        self.ids, self.failed = [], []
        self._todo = collections.deque(range(0, MESSAGES, BATCH))
        self._threads = [threading.Thread(target=self._work, args=(api, domain, case), daemon=True)
                         for _ in range(THREADS)]
        for thread in self._threads:
            thread.start()

    def _work(self, api, domain, case):
        try:
            while True:
                self.ids.extend(submit(api, domain, self._todo.popleft(), case))
        except IndexError:
            pass
        except AssertionError as e:
            self.failed.append(e)

    def join(self):
        for thread in self._threads:
            thread.join(LIMIT_S)
        assert not self.failed, self.failed
        assert len(set(self.ids)) == MESSAGES


def statuses(api, case):
    """How many messages of the run have each status."""
    found, after = collections.Counter(), None
    while True:
        where = {"after": after} if after else {}
        page = api.get("/v1/messages", tag=f"run:{case}", limit=PAGE, **where).expect(200).json
        found.update(m["status"] for m in page["messages"])
        after = page.get("next")
        if not after or not page["messages"]:
            return found


def numbers(mx):
    return collections.Counter(m.header("Subject") for m in list(mx.taken))


def outside_the_window(mx, kills):
    """Copies that no kill explains: all but the last of a message were lost after their dot, before our settlement."""
    strange = []
    for subject, count in numbers(mx).items():
        if count > 1:
            for at in sorted(m.at for m in mx.taken if m.header("Subject") == subject)[:-1]:
                if not any(at - LATE_S <= kill <= at + WINDOW_S for kill in kills):
                    strange.append((subject, at))
    return strange


def test_every_message_ends_whatever_goes_wrong(own_world, case, tell):
    world = own_world
    # A reply as slow as an ordinary receiver's: kills find something in hand.
    mx = world.receiver(dot=lambda session, message: time.sleep(0.02))
    api, kills, killed = world.api(), [], 0
    # Other tests of this stack may have left some.
    dead = sum(world.stack.waiting("transactional", dead=True))
    started = time.monotonic()
    world.faults.forget()
    with world.faults.at(RATE, seed=SEED, hang_s=HANG_S):
        callers, chance = Callers(api, mx.domain, case), random.Random(SEED)
        for k in range(KILLS):
            goal = (k + 1) * MESSAGES // (KILLS + 1)
            until(lambda goal=goal: callers.failed or len(mx.taken) >= goal, lambda: f"{len(mx.taken)} taken", LIMIT_S)
            time.sleep(chance.uniform(0, 0.2))
            killed += world.emulator.kill_functions(world.stack.physical("DeliverTransactional"))
            kills.append(time.time())
        callers.join()
        until(lambda: len(numbers(mx)) == MESSAGES, lambda: f"all delivered; {len(numbers(mx))} are", LIMIT_S, 0.5)
        lasted = time.monotonic() - started
        state = world.faults.state()
    until(lambda: statuses(api, case) == {"delivered": MESSAGES}, lambda: f"all told; {statuses(api, case)}", 120, 3)
    assert outside_the_window(mx, kills) == []
    assert sum(world.stack.waiting("transactional", dead=True)) == dead, world.stack.letters("transactional")
    copies = sum(numbers(mx).values()) - MESSAGES
    tell(f"{MESSAGES} messages, {sum(state['counts'].values())} AWS requests, {sum(state['faults'].values())} of them "
         f"spoiled, {killed} processes killed: all delivered in {lasted:.0f} s, {copies} copies, each in the window")
