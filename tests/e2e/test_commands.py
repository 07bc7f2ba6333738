"""Commands: what they print, and what they exit with."""

import json
import subprocess

import pytest

from harness.program import binary, environment, run
from harness.wait import until

COMMANDS = ["demo", "dev", "send", "trace", "tail", "queue", "suppress", "cancel", "retry", "policy", "classify",
            "parse-report"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command):
    done = run(command, "--help")
    assert done.returncode == 0 and f"posthaste {command}" in done.stdout
    assert "example" in done.stdout.lower()


@pytest.mark.parametrize("arguments", [
    ["nonsense"], ["send"], ["send", "--from", "not an address", "--to", "a@example.net"], ["dev", "--http", "nowhere"],
    ["policy", "check", "/nonexistent.toml"], ["trace"], ["dev", "--policy", "/nonexistent.toml"],
], ids=" ".join)
def test_bad_usage_is_2_and_says_so(arguments):
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, ""), done
    assert done.stderr.strip()


def test_no_server_is_1():
    done = run("trace", "msg_x", "--api", "http://127.0.0.1:9")
    assert done.returncode == 1 and "127.0.0.1:9" in done.stderr


def test_classify_prints_a_line_each():
    replies = "\n".join([
        "250 2.0.0 ok",
        "550 5.1.1 user unknown",
        "451 4.7.1 Greylisted, try again later",
        r"550-5.7.1 low reputation\n550 5.7.1 blocked using zen.spamhaus.org",
        "452 4.2.2 mailbox full",
        "421 4.7.0 too many messages from your IP, rate limited",
    ]) + "\n"
    done = run("classify", "--stage", "rcpt", stdin=replies)
    assert done.returncode == 0, done
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert all(len(line) == 4 for line in lines) and len(lines) == 6, done.stdout
    assert lines[0][0] == "deliver"
    assert lines[1] == ["bounce", "bad-mailbox", "recipient", "90d"]
    assert lines[2] == ["retry", "greylisted", "message", "no"]
    assert lines[3] == ["bounce", "blocked", "egress", "no"]
    assert lines[4] == ["retry", "mailbox-full", "recipient", "no"]
    assert lines[5] == ["slow", "rate-limited", "egress", "no"]


def test_reports_are_read_from_files_and_stdin(tmp_path):
    bounce = (
        "From: MAILER-DAEMON@relay.example.net\nTo: hello@acme.example\nSubject: failure notice\n\n"
        "<ann@example.net>:\nRemote host said: 550 5.1.1 no such user\n\n"
        "--- Below this line is a copy of the message.\n\nMessage-ID: <1@acme.example>\n\nhello\n"
    )
    done = run("parse-report", stdin=bounce)
    assert done.returncode == 0, done
    assert json.loads(done.stdout) == {
        "kind": "dsn",
        "recipients": [{"address": "ann@example.net", "action": "failed", "status": "5.1.1",
                        "diagnostic": "550 5.1.1 no such user", "category": "bad-mailbox"}],
        "original_message_id": "1@acme.example",
    }
    (tmp_path / "a.eml").write_text(bounce)
    (tmp_path / "b.eml").write_text("Subject: Out of office\nAuto-Submitted: auto-replied\n\nI am away.\n")
    done = run("parse-report", str(tmp_path / "a.eml"), str(tmp_path / "b.eml"), str(tmp_path / "none.eml"))
    assert done.returncode == 2 and "none.eml" in done.stderr
    assert [json.loads(line)["kind"] for line in done.stdout.splitlines()] == ["dsn", "auto-reply"]


def test_what_is_no_reply_is_named_by_its_line():
    done = run("classify", stdin="550 5.1.1 no such user\nnonsense\n250 ok\n")
    assert done.returncode == 2 and "2" in done.stderr
    assert done.stdout.splitlines()[0].startswith("bounce\tbad-mailbox")


def test_policy_check_names_the_line(tmp_path):
    good = tmp_path / "good.toml"
    good.write_text('[mta]\nhostname = "mta.example.com"\n')
    assert run("policy", "check", good).returncode == 0
    for text, line, word in [
        ('[mta]\nhostnam = "x.example"\n', 2, "hostnam"),
        ('[retry]\njitter = 0.1\nschedule = ["soon"]\n', 3, "schedule"),
        ('[smtp]\nport = 99999\n', 2, "port"),
        ('[[shaping]]\nmatch = "default"\nrate = "fast"\n', 3, "rate"),
        ('[mta\n', 1, ""),
    ]:
        bad = tmp_path / "bad.toml"
        bad.write_text(text)
        done = run("policy", "check", bad)
        assert done.returncode == 2, (text, done)
        said = done.stdout + done.stderr
        assert f":{line}" in said or f"line {line}" in said, (text, said)
        assert word in said


def test_a_policy_that_is_wrong_is_refused_by_dev(tmp_path):
    bad = tmp_path / "bad.toml"
    bad.write_text("[smtp]\nprot = 25\n")
    done = run("dev", "--policy", bad, "--http", "127.0.0.1:0", "--state", tmp_path / "state")
    assert done.returncode == 2 and "prot" in done.stderr


def test_send_waits_and_trace_tells(world):
    world.receiver("mx1.example.net", "example.net", rcpt=["451 4.7.1 greylisted", None])
    server = world.server()
    sent = server.command("send", "--from", "a@acme.example", "--to", "ann@example.net", "--subject", "hi", "--text", "hello",
                          "--wait")
    assert sent.returncode == 0, sent
    assert "delivered" in sent.stdout
    id = next(word for word in sent.stdout.replace("(", " ").replace(":", " ").split() if word.startswith("msg_"))
    trace = server.command("trace", id)
    assert trace.returncode == 0
    for told in ("mx1.example.net", "451", "greylisted", "250", "delivered"):
        assert told in trace.stdout, (told, trace.stdout)
    assert "\x1b[" not in trace.stdout, "colours only on a terminal"
    assert server.command_json("trace", id)["id"] == id


def test_send_takes_a_file_as_it_is(world, tmp_path):
    mx = world.receiver("mx1.example.net", "example.net")
    server = world.server()
    file = tmp_path / "mail.eml"
    file.write_bytes(b"From: a@acme.example\r\nSubject: from a file\r\n\r\n.as it is\r\n")
    done = server.command("send", "--from", "a@acme.example", "--to", "ann@example.net", "--wait", file)
    assert done.returncode == 0, done
    assert mx.taken[0].body == b".as it is\r\n"


def test_send_wait_fails_when_the_message_does(world):
    world.receiver("mx1.example.net", "example.net", rcpt="550 5.1.1 no such user")
    done = world.server().command("send", "--from", "a@acme.example", "--to", "ann@example.net", "--text", "x", "--wait")
    assert done.returncode == 1 and "5.1.1" in done.stdout + done.stderr


def test_queue_cancel_retry_and_suppress(world):
    mx = world.receiver("mx1.example.net", "example.net", rcpt=["451 4.7.1 greylisted", "451 4.7.1 greylisted", None])
    server = world.server(schedule='["1h"]')
    one, two = server.api.send("ann@example.net"), server.api.send("bob@example.net")
    server.api.follow(one, "deferred"), server.api.follow(two, "deferred")
    queue = server.command("queue")
    assert queue.returncode == 0 and "mx1.example.net" in queue.stdout and "example.net" in queue.stdout
    json.dumps(server.command_json("queue"))
    assert server.command("cancel", one).returncode == 0
    server.api.follow(one, "cancelled")
    assert server.command("retry", "--id", two).returncode == 0
    server.api.follow(two, "delivered")
    assert [m.rcpt_to for m in mx.taken] == [["bob@example.net"]]
    assert server.command("suppress", "add", "eve@example.net").returncode == 0
    assert server.command("suppress", "check", "eve@example.net").returncode == 0
    assert "eve@example.net" in server.command("suppress", "list").stdout
    assert server.command("suppress", "remove", "eve@example.net").returncode == 0
    server.api.get("/v1/suppressions/eve@example.net").expect(404)


def test_tail_tells_events_as_they_happen(world):
    world.receiver("mx1.example.net", "example.net")
    server = world.server()
    told = server.folder / "tail.txt"
    with told.open("wb") as out:
        tail = subprocess.Popen([binary(), "tail", "--api", server.api.url], stdout=out, env=environment())
    try:
        # It tells what happens from its start on, and nothing outside says when that was.
        until(lambda: server.api.send("bob@example.net") and "bob@" in told.read_text(), "anything", every_s=0.1)
        id = server.api.send("ann@example.net")
        until(lambda: id in told.read_text() and "ann@example.net" in told.read_text(), told.read_text)
    finally:
        tail.terminate()
        tail.wait(10)
    assert "delivered" in told.read_text()


def test_policy_explain_says_which_rule(world):
    world.receiver("mx1.example.net", "example.net")
    server = world.server()
    done = run("policy", "explain", "example.net", "--policy", server.policy)
    assert done.returncode == 0, done
    for told in ("mx1.example.net", "unlimited", "10"):
        assert told in done.stdout, (told, done.stdout)


def test_demo_ends_as_announced(tmp_path):
    done = run("demo", timeout_s=90, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for told in ("delivered", "deferred", "bounced", "suppressed", "throttled", "expired"):
        assert told in done.stdout, told


def test_send_tells_what_receivers_may_mind(sandbox):
    letter = ["send", "--from", "a@acme.example", "--to", "success@x.example", "--text", "hi", "--api", sandbox.url]
    told = run(*letter, "--lane", "bulk")
    assert told.returncode == 0 and "warning: headers.List-Unsubscribe" in told.stderr, told.stderr
    assert run(*letter).stderr == ""
