"""Functions that die: what they had in hand comes again, and copies stay in the window that has a name."""

import threading

import pytest

from cloud.world import taken
from harness.api import attempts
from harness.receiver import After
from harness.wait import steady, until

# A crash is noticed when the row's lease (60 s) has lapsed and the queue shows the job again.
AFTER_CRASH_S = 180


class Crash:
    """Three messages, each held by its receiver at another moment, when every deliver function dies."""

    def __init__(self, world):
        self.world, self.api, self._held = world, world.api(), []
        self.before = world.receiver(rcpt=self._hold("250 2.1.5 ok", 20))
        self.in_window = world.receiver(dot=self._hold("250 2.0.0 taken", 5))
        self.at_most = world.receiver(dot=self._hold("250 2.0.0 taken", 5))
        self.ids = {
            self.before: self.api.send(f"ann@{self.before.domain}"),
            self.in_window: self.api.send(f"ann@{self.in_window.domain}"),
            self.at_most: self.api.send(f"ann@{self.at_most.domain}", guarantee="at-most-once")}
        for held in self._held:
            assert held.wait(30), "every receiver has begun"
        assert world.emulator.kill_functions(world.stack.physical("DeliverTransactional"))

    def _hold(self, reply, seconds):
        """A hook that answers so late the first time that the crash comes before."""
        held, first = threading.Event(), [True]
        self._held.append(held)

        def hook(session, argument):
            if first.pop() if first else False:
                held.set()
                return After(seconds, reply)
            return None

        return hook

    def end(self, receiver, status):
        """The message, when it has ended so."""
        return self.api.follow(self.ids[receiver], status, AFTER_CRASH_S)


@pytest.fixture(scope="module")
def crash(stack_world):
    if stack_world.emulator is None:
        pytest.skip("needs the emulator as a child process")
    crash = Crash(stack_world)
    yield crash
    for receiver in crash.ids:
        receiver.close()


def test_killed_before_the_dot_it_is_sent_again_once(crash):
    """Between MAIL and DATA nothing is ambiguous: the next attempt is the only delivery."""
    crash.end(crash.before, "delivered")
    assert len(crash.before.taken) == 1


def test_killed_in_the_window_it_arrives_and_at_most_twice(crash):
    """The receiver has the message, and nobody is left to hear so: at least once means that it is sent again."""
    message = crash.end(crash.in_window, "delivered")
    assert attempts(message)[-1]["action"] == "deliver"
    assert len(crash.in_window.messages) == 2
    assert len({m.header("Message-ID") for m in crash.in_window.messages}) == 1, "the copy is the same message"


def test_killed_in_the_window_at_most_once_is_not_sent_again(crash):
    crash.end(crash.at_most, "ambiguous")
    steady(lambda: len(crash.at_most.messages) == 1, "one transmission", 3)


def test_an_intake_killed_before_its_answer_leaves_one_message(own_world, case):
    """Who got no answer asks again under the same key."""
    world = own_world
    mx = world.receiver()
    api = world.api()
    api.get("/v1/messages").expect(200)
    with world.faults.at(1.0, ways=["hanging"], hang_s=2):
        thread = threading.Thread(target=lambda: api.submit(f"ann@{mx.domain}", key=case), daemon=True)
        thread.start()
        until(lambda: world.faults.state()["faults"], "the intake is in the middle of it")
        assert world.emulator.kill_functions(world.stack.physical("IntakeHttp"))
        thread.join(60)
    answer = until(lambda: (a := api.submit(f"ann@{mx.domain}", key=case)).status == 202 and a, "accepted")
    api.follow(answer.json["id"], "delivered")
    taken(mx, 1)
    steady(lambda: len(mx.taken) == 1, "one copy", 3)
