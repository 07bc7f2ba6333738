"""The test suite of RFC 7208 through the evaluation that `doctor` uses: pyspf's copy of it, from its source package."""

import os
import subprocess
import sys
import tarfile

import pytest
import yaml

from harness.names import Names
from harness.program import ROOT

PACKAGE = "pyspf==2.0.14"
SUITE = "pyspf-2.0.14/test/rfc7208-tests.yml"
# Cases that are answered otherwise, each with why. One that passes is a failure here: take it off the list.
OTHERWISE = {
    # mail-auth stops at a name that no name server can be asked for, where the suite goes on as if it had no addresses.
    **dict.fromkeys(("invalid-domain-empty-label", "invalid-domain-long", "invalid-domain-long-via-macro"),
                    "a name too long, or with an empty label, is a temporary error"),
    **dict.fromkeys(("macro-mania-in-domain", "invalid-hello-macro", "hello-domain-literal"),
                    "a name with blanks, percent signs or brackets is a temporary error"),
    # mail-auth reads these records otherwise.
    **dict.fromkeys(("modifier-charset-good", "redirect-after-mechanisms2"),
                    "an unknown modifier with marks in its name, or such a record behind redirect, is not read"),
    **dict.fromkeys(("a-colon-domain", "a-colon-domain-ip4mapped", "mx-colon-domain", "mx-colon-domain-ip4mapped"),
                    "a name with a colon in it is not read"),
    # mail-auth evaluates these otherwise.
    **dict.fromkeys(("cidr6-0-ip4", "cidr6-ip4"), "an IPv4 address matches ::/0"),
    **dict.fromkeys(("ptr-match-implicit", "ptr-match-ip6"), "a name of the domain itself does not match ptr"),
    "exists-ip6only": "exists is content with an IPv6 address",
    "p-macro-multiple": "%{p} is `unknown`, the name of an address is not looked up for it",
    "void-over-limit": "names without addresses are not counted, which a receiver may but need not do (4.6.4)",
}


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pyspf")
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                "--no-binary", ":all:", "--dest", folder, PACKAGE]
    subprocess.run(download, check=True, timeout=120)
    [archive] = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        return [one for one in yaml.safe_load_all(tar.extractfile(SUITE).read()) if one]


def zone(names, records):
    """The suite's own words: a text of type SPF stands for TXT too, unless TXT is there; TIMEOUT says nothing, to
    whatever is not there."""
    for name, entries in records.items():
        kinds = {kind for entry in entries if isinstance(entry, dict) for kind in entry}
        for entry in entries:
            if entry == "TIMEOUT":
                if not any("TXT" in other and other["TXT"] != "NONE" for other in entries if other != "TIMEOUT"):
                    names.fail(name, None)
                continue
            [(kind, value)] = entry.items()
            if kind == "TIMEOUT":
                names.fail(name, None)
            elif kind == "TXT" and value != "NONE" or kind == "SPF" and "TXT" not in kinds:
                names.strings(name, (value if isinstance(value, list) else [value]) or [""])
            elif kind == "A":
                names.a(name, value)
            elif kind == "AAAA":
                names.aaaa(name, value)
            elif kind == "MX":
                names.mx(name, (value[0], value[1] or "."))
            elif kind == "PTR":
                names.pointer(name, value)
            elif kind == "CNAME":
                names.cname(name, value)


def test_the_suite_of_rfc_7208(suite, tell):
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    program = f"{target}/debug/examples/spf"
    passed, otherwise, total = 0, {}, 0
    for scenario in suite:
        names = Names()
        try:
            zone(names, scenario["zonedata"])
            cases = {name: case for name, case in scenario["tests"].items()}
            lines = [f"{c['host']}\t{c.get('helo') or ''}\t{c.get('mailfrom') or ''}" for c in cases.values()]
            done = subprocess.run([program, names.address], input="\n".join(lines) + "\n", capture_output=True, text=True,
                                  timeout=300, check=True)
        finally:
            names.close()
        for (name, case), got in zip(cases.items(), done.stdout.splitlines(), strict=True):
            total += 1
            wanted = case["result"] if isinstance(case["result"], list) else [case["result"]]
            if got in wanted:
                passed += 1
            else:
                otherwise[name] = f"{got}, not {' or '.join(wanted)}"
    tell(f"RFC 7208: {passed} of {total} as the suite has it; otherwise: {otherwise}")
    assert set(otherwise) == set(OTHERWISE), otherwise
    assert total > 200
