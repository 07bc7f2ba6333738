"""How well `posthaste parse-report` reads bounces from the world, beside what those who collected them say they are.

The collections are no part of the project; they are brought along:

    pip download --no-deps --no-binary :all: flufl.bounce    # unpack it
    measure.py flufl   UNPACKED_SDIST
    measure.py sisimai SET_OF_EMAILS EXPECTED.json

EXPECTED.json has, for each file below `maildir/` (`bsd/rfc3464-01.eml`), a list of what Sisimai itself says of it:
`{"recipient": "…", "reason": "…"}`. Its reasons are coarser than our categories in places and finer in others; MEANS says which
categories are taken for the same. The binary is `posthaste` on the path, or what POSTHASTE names. With `-v` every miss is told.
"""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

# A reason of Sisimai's, and the categories that mean the same or what a deliverability engineer could also say.
MEANS = {
    "authfailure": "auth policy content",
    "badreputation": "blocked rate-limited",
    "blocked": "blocked auth policy rate-limited content connection-limit",
    "contenterror": "content policy",
    "exceedlimit": "too-big mailbox-full",
    "expired": "network remote-fault dns other greylisted rate-limited bad-domain connection-limit",
    "filtered": "bad-mailbox policy content inactive blocked other network",
    "hasmoved": "bad-mailbox",
    "hostunknown": "bad-domain dns",
    "mailboxfull": "mailbox-full",
    "mailererror": "other policy remote-fault protocol bad-mailbox",
    "mesgtoobig": "too-big",
    "networkerror": "network dns remote-fault loop other",
    "norelaying": "relay-denied policy",
    "notaccept": "bad-domain policy blocked other",
    "notcompliantrfc": "content protocol auth policy",
    "policyviolation": "policy content blocked auth",
    "rejected": "policy auth blocked bad-domain content other",
    "requireptr": "auth blocked policy",
    "securityerror": "policy auth tls relay-denied content blocked other",
    "spamdetected": "content policy blocked",
    "speeding": "rate-limited",
    "suspend": "inactive mailbox-full bad-mailbox",
    "syntaxerror": "protocol policy other bad-mailbox",
    "systemerror": "other remote-fault protocol loop policy relay-denied network",
    "systemfull": "remote-fault mailbox-full",
    "toomanyconn": "connection-limit rate-limited connection-used-up too-many-recipients blocked",
    "userunknown": "bad-mailbox bad-domain inactive",
    "virusdetected": "content",
}


def read(files):
    binary = os.environ.get("POSTHASTE", "posthaste")
    told = subprocess.run([binary, "parse-report", *map(str, files)], capture_output=True, check=True)
    return [json.loads(line) for line in told.stdout.splitlines()]


def recipients(report):
    """By address, as we wrote it and as it was forwarded."""
    if report["kind"] == "complaint":
        return {address.lower(): None for address in report["recipients"]}
    found = {}
    for recipient in report.get("recipients", []):
        found[recipient["address"].lower()] = recipient
        if final := recipient.get("final_address"):
            found.setdefault(final.lower(), recipient)
    return found


def flufl(folder, miss):
    source = (folder / "tests/test_detectors.py").read_text()
    table = re.search(r"^DETECTORS = (\[.*?^\])", source, re.S | re.M).group(1)
    expected = {}
    for _, name, addresses, _ in ast.literal_eval(table):
        expected.setdefault(name, set()).update(address.decode().lower() for address in addresses)
    expected = {name: addresses for name, addresses in sorted(expected.items()) if addresses}
    found = 0
    for (name, addresses), report in zip(expected.items(), read(folder / "tests/data" / name for name in expected)):
        got = set(recipients(report))
        found += addresses <= got
        if not addresses <= got:
            miss(f"{name}: {sorted(addresses)} expected, {sorted(got)} found")
    print(f"{found} of {len(expected)} files: every failed recipient found ({found / len(expected):.1%})")


def sisimai(folder, expected_file, miss):
    expected = json.loads(Path(expected_file).read_text())
    expected = {name: told for name, told in sorted(expected.items()) if told and not name.startswith("mac/")}
    found = agreed = 0
    for (name, told), report in zip(expected.items(), read(folder / "maildir" / name for name in expected)):
        got = recipients(report)
        has_all = all(one["recipient"].lower() in got for one in told)
        agrees = has_all and all(agrees_on(one, got[one["recipient"].lower()]) for one in told)
        found += has_all
        agreed += agrees
        if not agrees:
            miss(f"{name}: {[(one['recipient'], one['reason']) for one in told]} expected, {report} found")
    count = len(expected)
    print(f"{found} of {count} files: every recipient found ({found / count:.1%})")
    print(f"{agreed} of {count} files: and a category that means the same ({agreed / count:.1%})")


def agrees_on(told, recipient):
    if told["reason"] == "feedback":
        return recipient is None
    if told["reason"] == "delivered":
        return recipient is not None and recipient["action"] == "delivered"
    means = MEANS.get(told["reason"])
    return recipient is not None and (means is None or recipient["category"] in means.split())


def main():
    given = [word for word in sys.argv[1:] if word != "-v"]
    miss = (lambda text: print(text, file=sys.stderr)) if "-v" in sys.argv else (lambda text: None)
    match given:
        case ["flufl", folder]:
            flufl(Path(folder), miss)
        case ["sisimai", folder, expected]:
            sisimai(Path(folder), expected, miss)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
