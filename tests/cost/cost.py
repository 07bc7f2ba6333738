"""What a million messages cost on AWS: requests as measured, prices as published, one table for three ways.

`cost.py`: starts the emulator, sends mail through the use cases with the driver (`COST_DRIVER`, an example of
posthaste-aws), and prices what was asked. `--measured FILE` prices a run that was kept; `--keep FILE` keeps one. Exit
status 1 where a target of prices.toml is missed. What stands in a line is measured but for what [assumed] names.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
WAYS = ("sparse", "sustained", "batches")
TITLES = {"sparse": "sparse", "sustained": "sustained", "batches": "batches of 100"}
GB = 1e9
MILLION = 1e6
# Longest the emulator may take to start, and the driver for all three ways.
START_S, RUN_S = 60, 900


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


class Emulator:
    """ministack on a port of its own, gone with all it kept."""

    def __enter__(self):
        self.folder, port = tempfile.mkdtemp(prefix="posthaste-cost-"), free_port()
        self.url = f"http://127.0.0.1:{port}"
        kept = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        environment = {**kept, "GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "LOG_LEVEL": "WARNING",
                       "AWS_ENDPOINT_URL": self.url, "TMPDIR": self.folder, "SFTP_ENABLED": "0",
                       "IOT_MTLS_ENABLED": "0"}
        self.process = subprocess.Popen([str(Path(sys.executable).with_name("ministack"))], env=environment,
                                        cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        give_up = time.monotonic() + START_S
        while not self._healthy():
            if time.monotonic() > give_up or self.process.poll() is not None:
                raise SystemExit("the emulator does not start")
            time.sleep(0.1)
        return self

    def _healthy(self):
        try:
            return urllib.request.urlopen(f"{self.url}/_ministack/health", timeout=2).status == 200
        except OSError:
            return False

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)


def measure(messages):
    """One measurement a way, by way."""
    with Emulator() as emulator:
        environment = {**os.environ, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
                       "AWS_REGION": "us-east-1"}
        command = [os.environ["COST_DRIVER"], emulator.url, str(messages)]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, timeout=RUN_S, check=True)
    return {way["way"]: way for way in map(json.loads, done.stdout.splitlines())}


def calls(measured, prices):
    """Lines of what was asked of the stores: name, requests, dollars; all of one run."""
    by_name = {}
    for who in ("intake", "deliver", "poller"):
        for service, operations in measured[who]["calls"].items():
            for operation, count in operations.items():
                dollars = of_call(service, operation, count, prices)
                name = f"{who}: {service} {operation}"
                detail = f"{count['writes']:.0f}w {count['reads']:.0f}r" if service == "DynamoDB" else ""
                by_name[name] = (count["requests"], dollars, detail)
    return by_name


def of_call(service, operation, count, prices):
    match service:
        case "DynamoDB":
            return count["writes"] * prices["dynamodb"]["write"] + count["reads"] * prices["dynamodb"]["read"]
        case "SQS":
            return count["pieces"] * prices["sqs"]["request"] + count["fair"] * prices["sqs"]["fair"]
        case "S3":
            return count["requests"] * prices["s3"]["get" if operation.startswith(("Get", "Head")) else "put"]
        case "EventBridge":
            return count["pieces"] * prices["eventbridge"]["event"]
    raise SystemExit(f"no price is known for {service} {operation}")


def functions(measured, prices):
    """Calls and time of functions, and the API before them."""
    assumed, lines = prices["assumed"], {}
    for who in ("intake", "deliver"):
        invocations = measured[who]["invocations"]
        seconds = (invocations * assumed[f"{who}_ms"] + measured["messages"] * assumed[f"{who}_message_ms"]) / 1000
        lines[f"{who}: Lambda calls"] = (invocations, invocations * prices["lambda"]["request"], "")
        dollars = seconds * assumed[f"{who}_gb"] * prices["lambda"]["gb_second"]
        lines[f"{who}: Lambda time"] = (0, dollars, f"{1000 * seconds / invocations:.0f} ms a call")
        octets = (measured[who]["line_octets"] + invocations * assumed["platform_log_octets"]
                  + invocations * (1 + assumed["platform_log_lines"]) * assumed["log_line_octets"])
        lines[f"{who}: logs and metrics"] = (0, octets / GB * prices["cloudwatch"]["log_gb"],
                                             f"{octets / invocations:.0f} B a call")
    calls_in = measured["intake"]["invocations"]
    pieces = calls_in * -(-measured["octets_out"] // calls_in // prices["http_api"]["request_octets"])
    lines["HTTP API"] = (calls_in, pieces * prices["http_api"]["request"], "")
    return lines


def transfer(measured, prices):
    """Octets on the way out, by NAT and to the internet, and octets that stay."""
    assumed, messages = prices["assumed"], measured["messages"]
    out = (measured["octets_out"] + measured["connections"] * assumed["connection_octets_out"]) * (
        1 + assumed["packet_overhead"])
    back = measured["connections"] * assumed["connection_octets_in"] + messages * assumed["message_octets_in"]
    rows = measured["item_octets"]
    ledger = assumed["ledger_months"] * (prices["dynamodb"]["gb_month"] + prices["dynamodb"]["pitr_gb_month"])
    return {
        "egress to the internet": (0, out / GB * prices["network"]["egress_gb"], f"{out / messages:.0f} B a message"),
        "NAT, both ways": (0, (out + back) / GB * prices["network"]["nat_gb"], ""),
        "bodies kept": (0, measured["octets_out"] / GB * prices["s3"]["gb_month"] * assumed["spool_months"], ""),
        "rows and events kept": (0, rows / GB * ledger, f"{rows / messages:.0f} B a message"),
    }


def idle(prices):
    """What a month costs in which nobody sends."""
    standing, sqs = prices["idle"], prices["sqs"]
    hours, watch, net = standing["hours"], prices["cloudwatch"], prices["network"]
    clock = standing["calls_of_clock"]
    return {
        "NAT gateway and its address": hours * (net["nat_hour"] + net["public_ipv4_hour"]),
        "metrics, alarms, dashboard": standing["metrics"] * watch["metric_month"]
        + standing["alarms"] * watch["alarm_month"] + standing["dashboards"] * watch["dashboard_month"],
        "the key that seals keys": standing["keys"] * prices["kms"]["key_month"],
        "clock": clock * (prices["lambda"]["request"] + standing["clock_gb_seconds"] * prices["lambda"]["gb_second"]
                          + standing["clock_reads"] * prices["dynamodb"]["read"]),
        "polling of empty queues": standing["queues"] * standing["receives_a_minute"] * 60 * hours * sqs["request"],
    }


def table(runs, prices):
    """Prints the table; the totals by way."""
    lines = {way: calls(run, prices) | functions(run, prices) | transfer(run, prices) for way, run in runs.items()}
    names = sorted({name for way in lines.values() for name in way},
                   key=lambda name: -lines["sustained"].get(name, (0, 0, ""))[1])
    print(f"Dollars per million messages (10 KB, one recipient), prices of {prices['dated']}, us-east-1\n")
    print(f"{'':38}" + "".join(f"{TITLES[way]:>30}" for way in runs))
    print(f"{'':38}" + f"{'requests/message':>20}{'$':>10}" * len(runs))
    totals = dict.fromkeys(runs, 0.0)
    for name in names:
        cells = ""
        for way, run in runs.items():
            requests, dollars, detail = lines[way].get(name, (0, 0.0, ""))
            scale = MILLION / run["messages"]
            totals[way] += dollars * scale
            said = f"{requests / run['messages']:.3f}" if requests else detail
            cells += f"{said:>20}{dollars * scale:>10.2f}"
        print(f"{name:38}{cells}")
    print(f"{'all':38}" + "".join(f"{'':20}{totals[way]:>10.2f}" for way in runs))
    return totals, lines


SERVICES = ("S3", "DynamoDB", "SQS", "EventBridge", "Lambda", "HTTP API", "logs", "egress", "NAT", "kept")


def by_service(lines, runs):
    """Where each dollar goes."""
    print(f"\n{'Where it goes':38}" + "".join(f"{TITLES[way]:>30}" for way in runs))
    for service in SERVICES:
        dollars = {way: sum(line[1] for name, line in lines[way].items() if service in name) * MILLION / run["messages"]
                   for way, run in runs.items()}
        if any(dollars.values()):
            print(f"  {service:36}" + "".join(f"{dollars[way]:>30.2f}" for way in runs))


def savings(runs, prices):
    """What could be spared next, a million messages."""
    print(f"\n{'What could be spared next':38}" + "".join(f"{TITLES[way]:>30}" for way in runs))
    assumed = prices["assumed"]
    for saving in prices["next"]:
        spared = {}
        for way, run in runs.items():
            puts = run["intake"]["calls"]["S3"]["PutObject"]["requests"] / run["messages"]
            calls_made = (run["intake"]["invocations"] + run["deliver"]["invocations"]) / run["messages"]
            octets = assumed["platform_log_octets"] + assumed["platform_log_lines"] * assumed["log_line_octets"]
            spared[way] = MILLION * (
                saving.get("writes", 0) * prices["dynamodb"]["write"]
                + (puts * (prices["s3"]["put"] - saving["put"]) if "put" in saving else 0)
                + (calls_made * octets / GB * prices["cloudwatch"]["log_gb"] if saving.get("platform_log") else 0))
        print(f"  {saving['what']}\n{'':38}" + "".join(f"{spared[way]:>30.2f}" for way in runs))


def units(runs):
    print("\nUnits a message")
    for way, run in runs.items():
        counts = [count for who in ("intake", "deliver", "poller") for operations in run[who]["calls"].values()
                  for count in operations.values()]
        said = {unit: sum(count[unit] for count in counts) / run["messages"]
                for unit in ("requests", "writes", "reads", "retries", "throttles")}
        print(f"  {way:10}" + ", ".join(f"{number:.3f} {unit}" for unit, number in said.items())
              + f"; {run['messages'] / run['deliver']['invocations']:.1f} messages a call of deliver,"
              + f" {run['messages'] / run['connections']:.1f} a connection")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=300, help="a way")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--measured", type=Path)
    arguments = parser.parse_args()
    prices = tomllib.loads((HERE / "prices.toml").read_text())
    runs = json.loads(arguments.measured.read_text()) if arguments.measured else measure(arguments.messages)
    if arguments.keep:
        arguments.keep.write_text(json.dumps(runs, indent=1) + "\n")
    totals, lines = table(runs, prices)
    by_service(lines, runs)
    savings(runs, prices)
    units(runs)
    print("\nNot in it: tokens where the policy gives a rate, quotas and keys of the API, tags (a write unit each), deferrals, and"
          " what\nthe function of the transactional lane asks to hide its jobs by (0.04 to 0.40).")
    print("\nA month in which nobody sends")
    for name, dollars in idle(prices).items():
        print(f"  {name:36}{dollars:>8.2f}")
    missed = [way for way, target in prices["targets"].items() if totals[way] >= target]
    for way, target in prices["targets"].items():
        print(f"{'missed' if way in missed else 'met'}: {way} {totals[way]:.2f}, target under {target:.2f}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
