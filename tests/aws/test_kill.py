"""Functions that die: what they had in hand comes again, and copies stay in the window that has a name."""

import threading

from cloud.world import taken
from harness.api import attempts
from harness.receiver import After
from harness.wait import steady, until

# A crash is noticed when the row's lease (60 s) has lapsed and the queue shows the job again.
AFTER_CRASH_S = 180


def test_killed_before_the_dot_it_is_sent_again_once(own_world):
    """Between MAIL and DATA nothing is ambiguous: the next attempt is the only delivery."""
    world, asked = own_world, threading.Event()
    slow = [True]

    def rcpt(session, address):
        if slow.pop() if slow else False:
            asked.set()
            return After(20, "250 2.1.5 ok")
        return None

    mx = world.receiver(rcpt=rcpt)
    api = world.api()
    id = api.send(f"ann@{mx.domain}")
    assert asked.wait(30), "the first attempt has begun"
    assert world.emulator.kill_functions(world.stack.physical("DeliverTransactional"))
    api.follow(id, "delivered", AFTER_CRASH_S)
    assert len(mx.taken) == 1


def test_killed_in_the_window_it_arrives_and_at_most_twice(own_world):
    """The receiver holds its final reply: it has the message, and nobody is left to hear so."""
    world, asked = own_world, threading.Event()
    slow = [True]

    def dot(session, message):
        if slow.pop() if slow else False:
            asked.set()
            return After(5, "250 2.0.0 taken")
        return None

    mx = world.receiver(dot=dot)
    api = world.api()
    id = api.send(f"ann@{mx.domain}")
    assert asked.wait(30), "the final reply is waited for"
    assert world.emulator.kill_functions(world.stack.physical("DeliverTransactional"))
    message = api.follow(id, "delivered", AFTER_CRASH_S)
    assert attempts(message)[-1]["action"] == "deliver"
    assert len(mx.messages) == 2, "at least once: sent again, since nobody heard the reply"
    copies = {m.header("Message-ID") for m in mx.messages}
    assert len(copies) == 1, "the copy is the same message"


def test_killed_in_the_window_at_most_once_is_not_sent_again(own_world):
    world, asked = own_world, threading.Event()

    def dot(session, message):
        asked.set()
        return After(5, "250 2.0.0 taken")

    mx = world.receiver(dot=dot)
    api = world.api()
    id = api.send(f"ann@{mx.domain}", guarantee="at-most-once")
    assert asked.wait(30), "the final reply is waited for"
    assert world.emulator.kill_functions(world.stack.physical("DeliverTransactional"))
    api.follow(id, "ambiguous", AFTER_CRASH_S)
    steady(lambda: len(mx.messages) == 1, "one transmission", 3)


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
