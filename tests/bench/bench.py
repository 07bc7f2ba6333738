"""Posthaste beside Postfix, on this machine, in this run: one table, and `bench.json` at the project's root.

End to end: 5,000 messages of 10 KB from 20 clients until the last one has arrived at smtp-sink. Posthaste takes them
over HTTP from ab (keep-alive) and answers when they are durable; Postfix takes them over SMTP from smtp-source. The
same signed with RSA of 2048 bits, where Postfix asks opendkim. The hop alone: one connection straight into smtp-sink, beside smtp-source. Round trips: over a line of 50 ms.

Everything is on loopback, bounded in time, and ended by its pid.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/e2e")]

from accounting import Account, busy_s, prefer  # noqa: E402
from harness import postfix  # noqa: E402
from harness.names import Names  # noqa: E402
from harness.program import Server  # noqa: E402
from harness.receiver import Receiver  # noqa: E402
from sink import Latency, Sink, free_port, listens, wait  # noqa: E402

CLIENTS = 20
SIZE_BYTES = 10 * 1024
RTT_S = 0.050
# Longest one side may take; past it the run is broken, not slow.
LIMIT_S = 300
# Runs of the hop on each side, taken in turns; the median counts.
HOP_RUNS = 3

POLICY = """
[mta]
hostname = "mta.posthaste.example"
[dns]
servers = ["{dns}"]
[smtp]
port = {port}
allow_private_addresses = true
[tls]
dane = false
mta_sts = false
[[shaping]]
match = "default"
rate = "unlimited"
connections = {connections}
messages_per_connection = 1000
"""

# Postfix's own defaults for what limits it; only names, places and the one next hop are ours.
RELAY = """\
myhostname = relay.posthaste.example
smtpd_relay_restrictions = permit_mynetworks, reject
relayhost = [{sink_ip}]:{sink_port}
smtp_tls_security_level =
"""


# opendkim as Debian configures it, but for names, places, and what is signed: as much as Posthaste signs.
SIGNER = """\
Mode s
Domain acme.example
Selector bench
KeyFile {folder}/key.pem
Socket inet:{port}@127.0.0.1
Canonicalization relaxed/relaxed
InternalHosts 127.0.0.1
RequireSafeKeys no
UMask 007
OversignHeaders From,To,Subject,Date
PidFile {folder}/pid
Syslog no
"""
MILTER = """\
smtpd_milters = inet:127.0.0.1:{milter}
milter_default_action = tempfail
"""


def text_of(size):
    """Text that makes a message of about that size, in lines as people write them."""
    line = "The quick brown fox jumps over the lazy dog and back again, all day\n"
    return (line * (size // len(line) + 1))[: size - 500]


class Posthaste:
    """`posthaste dev`, durable, on a disk, with one MX."""

    def __init__(self, folder, mx_ip, mx_port, connections, account=None, signed=False):
        self.names = Names()
        self.names.mx("bench.example", (10, "mx.bench.example")).a("mx.bench.example", mx_ip)
        policy = POLICY.format(dns=self.names.address, port=mx_port, connections=connections)
        self.server = Server(folder, policy, before_exec=account.join if account else None).start()
        prefer(self.server.process.pid)
        if account:
            account.watch(self.server.process.pid)
        if signed:
            api = self.server.api
            for record in api.put("/v1/identities/acme.example", {}).expect(200).json["records"]:
                if record["required"]:
                    self.names.txt(record["name"], record["value"])
            proved = api.post("/v1/identities/acme.example:verify").expect(200).json
            if proved["status"] != "verified":
                raise RuntimeError(f"nothing would be signed: {proved}")
        self.request = Path(folder) / "request.json"
        self.request.write_text(json.dumps({"from": "hello@acme.example", "to": ["sink@bench.example"],
                                            "subject": "bench", "text": text_of(SIZE_BYTES)}))

    def close(self):
        self.server.stop()
        self.names.close()


def ab(posthaste, messages, account=None):
    """Submits; fails unless every answer was a 202."""
    done = subprocess.run(
        ["ab", "-k", "-q", "-s", "60", "-c", str(CLIENTS), "-n", str(messages), "-p", posthaste.request, "-T", "application/json",
         posthaste.server.api.url + "/v1/messages"],
        capture_output=True, text=True, timeout=LIMIT_S, check=True, preexec_fn=account.join if account else None)
    counted = dict(line.split(":", 1) for line in done.stdout.splitlines() if ":" in line)
    complete = int(counted["Complete requests"])
    if complete != messages or "Non-2xx responses" in counted:
        raise RuntimeError(f"ab was not answered 202 throughout:\n{done.stdout}")


def end_to_end(name, messages, folder, start):
    """`start(sink, account, folder)` gives (submit, close); measured from the first octet to the last arrival."""
    accounts = {part: Account(f"{name}_{part}") for part in ("mta", "sink", "load")}
    sink = Sink(accounts["sink"])
    submit, close = start(sink, accounts, folder)
    try:
        before = {part: a.seconds() for part, a in accounts.items()}
        busy, began = busy_s(), time.monotonic()
        submit()
        submitted = time.monotonic() - began
        wait(lambda: sink.messages >= messages, f"{name}: {messages} messages at the sink", LIMIT_S)
        took = sink.last_at - began
        # What it still does after the last arrival (settling) is its work too.
        time.sleep(0.5)
        used = {part: a.seconds() - before[part] for part, a in accounts.items()}
        if accounts["load"].how != "cgroup":
            used["load"] = 0.0
        busy = busy_s() - busy
    finally:
        close()
        sink.close()
        for account in accounts.values():
            account.close()
    return {
        "messages_per_s": round(messages / took, 1),
        "cpu_s_per_1000": round(used["mta"] * 1000 / messages, 3),
        "submitted_per_s": round(messages / submitted, 1),
        "sink_cpu_s_per_1000": round(used["sink"] * 1000 / messages, 3),
        "load_cpu_s_per_1000": round(used["load"] * 1000 / messages, 3),
        "others_cpu_s": round(max(busy - sum(used.values()), 0.0), 2),
        "accounting": accounts["mta"].how,
    }


def start_posthaste(messages, signed=False):
    def start(sink, accounts, folder):
        posthaste = Posthaste(folder, sink.ip, sink.port, CLIENTS, accounts["mta"], signed)
        return (lambda: ab(posthaste, messages, accounts["load"])), posthaste.close
    return start


def start_signer(account, folder):
    """opendkim with a key of its own: where it listens, and how to end it."""
    folder.mkdir()
    subprocess.run(["openssl", "genrsa", "-out", folder / "key.pem", "2048"], capture_output=True, check=True)
    port = free_port()
    (folder / "opendkim.conf").write_text(SIGNER.format(folder=folder, port=port))
    process = subprocess.Popen(["opendkim", "-f", "-x", folder / "opendkim.conf"], preexec_fn=account.join)
    account.watch(process.pid)
    prefer(process.pid)
    wait(lambda: listens("127.0.0.1", port), "opendkim listens", 10)

    def stop():
        process.terminate()
        process.wait(10)
    return port, stop


def start_postfix(messages, signed=False):
    def start(sink, accounts, folder):
        port, ends = free_port(), []
        settings = RELAY.format(sink_ip=sink.ip, sink_port=sink.port)
        if signed:
            milter, stop = start_signer(accounts["mta"], folder / "signer")
            settings += MILTER.format(milter=milter)
            ends.append(stop)
        relay = postfix.Postfix(folder / "relay", "127.0.0.1", port, settings, before_exec=accounts["mta"].join).start()
        accounts["mta"].watch(relay.master)
        prefer(relay.master)

        def submit():
            subprocess.run(["smtp-source", "-s", str(CLIENTS), "-m", str(messages), "-l", str(SIZE_BYTES), "-f",
                            "hello@acme.example", "-t", "sink@bench.example", f"127.0.0.1:{port}"], check=True,
                           timeout=LIMIT_S, preexec_fn=accounts["load"].join)

        def close():
            for end in [relay.stop, *ends]:
                end()
        return submit, close
    return start


def is_signed(folder, start):
    """Whether what leaves has a signature of acme.example: else a run would measure nothing."""
    folder.mkdir()
    accounts = {part: Account(f"proof_{part}") for part in ("mta", "load")}
    receiver = Receiver("127.0.0.1", free_port(), name="mx.bench.example")
    submit, close = start(receiver, accounts, folder)
    try:
        submit()
        wait(lambda: receiver.taken, "a message", 30)
    finally:
        close()
        receiver.close()
        for account in accounts.values():
            account.close()
    header = receiver.taken[0].data.split(b"\r\n\r\n", 1)[0].replace(b" ", b"")
    return b"DKIM-Signature:" in header and b"d=acme.example;" in header and b"a=rsa-sha256;" in header


def timed(command):
    """Seconds and CPU seconds of one program."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{command[0]} ended with {os.waitstatus_to_exitcode(status)}")
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime, output


def hop(program, messages):
    """One connection, both sides in turns, each against a sink of its own."""
    runs = {"posthaste": [], "smtp_source": []}
    for _ in range(HOP_RUNS):
        sink = Sink()
        address = f"{sink.ip}:{sink.port}"
        took, cpu, _ = timed(["smtp-source", "-d", "-s", "1", "-m", str(messages), "-l", str(SIZE_BYTES), "-f",
                              "hop@example.com", "-t", "sink@example.net", address])
        runs["smtp_source"].append((messages / took, cpu * 1000 / messages))
        sink.close()
        sink = Sink()
        took, cpu, _ = timed([program, f"{sink.ip}:{sink.port}", "--messages", str(messages), "--size", str(SIZE_BYTES)])
        runs["posthaste"].append((messages / took, cpu * 1000 / messages))
        sink.close()
    return {side: {"messages_per_s": round(statistics.median(r for r, _ in values), 1),
                   "cpu_s_per_1000": round(statistics.median(c for _, c in values), 4),
                   "runs_messages_per_s": [round(r, 1) for r, _ in values]}
            for side, values in runs.items()}


def round_trips(program, folder):
    """What a message costs on a reused connection, in round trips of a 50 ms line: the hop, and the whole pipeline."""
    sink = Sink()
    line = Latency((sink.ip, sink.port), RTT_S / 2)
    rtt_s = line.round_trip_s()
    counted = json.loads(timed([program, f"{line.ip}:{line.port}", "--messages", "60", "--size", str(SIZE_BYTES)])[2])
    hop_trips = counted["seconds"] / counted["messages"] / rtt_s
    sink.close()
    line.close()
    sink = Sink()
    line = Latency((sink.ip, sink.port), RTT_S / 2)
    rtt_s = line.round_trip_s()
    posthaste = Posthaste(folder, line.ip, line.port, 1)
    try:
        ab(posthaste, 100)
        wait(lambda: sink.messages >= 100, "100 messages over the slow line", 60)
        whole = (sink.last_at - sink.first_at) / (sink.messages - 1) / rtt_s
        connections = line.connections
    finally:
        posthaste.close()
        sink.close()
        line.close()
    return {"hop": round(hop_trips, 2), "rtt_ms": round(rtt_s * 1000, 1),
            "hop_own_count": counted["round_trips_per_message"],
            "end_to_end": round(whole, 2), "end_to_end_connections": connections}


def table(result):
    rows = [("", "messages/s", "CPU s per 1,000", "others' CPU s")]
    for part, by in (("end_to_end", "Postfix"), ("signed", "Postfix and opendkim")):
        what = ", signed" if part == "signed" else ""
        for side, label in (("posthaste", f"Posthaste{what}, HTTP to sink"), ("postfix", f"{by}, SMTP to sink")):
            if row := result[part].get(side):
                rows.append((label, row["messages_per_s"], row["cpu_s_per_1000"], row["others_cpu_s"]))
        if ratio := result[part].get("ratio"):
            rows.append((f"Posthaste{what} ÷ {by}", f"{ratio['messages_per_s']} ×", f"1/{ratio['cpu']}", ""))
    for side, label in (("posthaste", "hop: Posthaste"), ("smtp_source", "hop: smtp-source -d")):
        if row := result["hop"].get(side):
            rows.append((label, row["messages_per_s"], row["cpu_s_per_1000"], ""))
    widths = [max(len(str(row[i])) for row in rows) for i in range(4)]
    for row in rows:
        print("  ".join([str(row[0]).ljust(widths[0]), *(str(c).rjust(w) for c, w in zip(row[1:], widths[1:]))]))
    if trips := result.get("round_trips"):
        print(f"\nround trips a message at 50 ms on a reused connection: {trips['hop']} the hop, "
              f"{trips['end_to_end']} the whole pipeline ({trips['end_to_end_connections']} connections)")
    for note in result["not_measured"]:
        print(f"not measured: {note}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--messages", type=int, default=5000)
    parser.add_argument("--only", choices=["posthaste", "postfix", "signed", "hop", "round-trips"])
    arguments = parser.parse_args()
    for tool in ("smtp-sink", "smtp-source", "ab"):
        if not shutil.which(tool):
            sys.exit(f"{tool} is missing: make install-test-deps")
    program = os.environ.get("HOP", str(ROOT / "target/release/examples/hop"))
    result = {"messages": arguments.messages, "size_bytes": SIZE_BYTES, "clients": CLIENTS, "end_to_end": {}, "signed": {}, "hop": {},
              "preferred": prefer(os.getpid()), "not_measured": []}
    wanted = [arguments.only] if arguments.only else ["posthaste", "postfix", "signed", "hop", "round-trips"]
    # On the disk the project is on: a temporary folder may be memory.
    with tempfile.TemporaryDirectory(prefix="posthaste-bench-", dir=os.environ.get("BENCH_DIR", "/var/tmp")) as scratch:
        folder = Path(scratch)
        for side, start in (("posthaste", start_posthaste), ("postfix", start_postfix)):
            if side not in wanted:
                continue
            if side == "postfix" and (reason := postfix.why_not()):
                result["not_measured"].append(f"Postfix: {reason}")
                continue
            (folder / side).mkdir()
            result["end_to_end"][side] = end_to_end(side, arguments.messages, folder / side, start(arguments.messages))
        if "signed" in wanted:
            for side, start in (("posthaste", start_posthaste), ("postfix", start_postfix)):
                why_not = postfix.why_not() if side == "postfix" else None
                if side == "postfix" and not shutil.which("opendkim"):
                    why_not = "opendkim is not installed (make bench, as root)"
                if why_not:
                    result["not_measured"].append(f"signed by opendkim: {why_not}")
                    continue
                if not is_signed(folder / f"{side}-proof", start(CLIENTS, signed=True)):
                    sys.exit(f"{side}: what leaves is not signed")
                (folder / f"{side}-signed").mkdir()
                result["signed"][side] = end_to_end(f"{side}_signed", arguments.messages, folder / f"{side}-signed",
                                                    start(arguments.messages, signed=True))
        for part in ("end_to_end", "signed"):
            ours, theirs = (result[part].get(side) for side in ("posthaste", "postfix"))
            if ours and theirs:
                result[part]["ratio"] = {
                    "messages_per_s": round(ours["messages_per_s"] / theirs["messages_per_s"], 2),
                    "cpu": round(theirs["cpu_s_per_1000"] / max(ours["cpu_s_per_1000"], 0.001), 1)}
        ours, theirs = (result["end_to_end"].get(side) for side in ("posthaste", "postfix"))
        if ours and theirs:
            result["others_cpu_s"] = round(ours["others_cpu_s"] + theirs["others_cpu_s"], 2)
        if "hop" in wanted:
            result["hop"] = hop(program, arguments.messages)
        if "round-trips" in wanted:
            (folder / "line").mkdir()
            result["round_trips"] = round_trips(program, folder / "line")
            result["round_trips_per_message"] = result["round_trips"]["end_to_end"]
    table(result)
    if not arguments.only:
        (ROOT / "bench.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
