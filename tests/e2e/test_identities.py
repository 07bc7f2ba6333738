"""Mail of a proved domain is signed, verifies with others' code, and nobody else may send as it."""

import gzip
import json
import time
from email.message import EmailMessage

import dkim

from harness.program import run
from harness.wait import steady, until
from test_postfix import postfix  # noqa: F401 (a fixture)


def publish(world, identity):
    """What its owner does: every TXT record that is needed, as it was told."""
    for record in identity["records"]:
        if record["required"]:
            assert record["type"] == "TXT"
            world.names.txt(record["name"], record["value"])


def prove(world, api, domain, **wish):
    registered = api.put(f"/v1/identities/{domain}", wish).expect(200).json
    assert registered["status"] == "pending" and registered["keys"]
    publish(world, registered)
    proved = api.post(f"/v1/identities/{domain}:verify").expect(200).json
    assert proved["status"] == "verified", proved
    return proved


def verifies(world, octets, index=0):
    """Whether somebody else's code finds a signature good."""
    answers = {name: text for name, text in world.names.texts.items()}
    look_up = lambda name, timeout=5: answers.get(name.decode().rstrip(".").lower(), "").encode() or None
    return dkim.verify(octets, dnsfunc=look_up) if index == 0 else dkim.DKIM(octets).verify(idx=index, dnsfunc=look_up)


def test_mail_of_a_proved_domain_verifies_and_a_flipped_byte_does_not(world):
    host = world.receiver("mx1.example.net", "example.net")
    api = world.server().api
    prove(world, api, "acme.example", ed25519=True)
    api.follow(api.send("ann@example.net", html="<p>hello</p>", headers={"X-Kind": "otp"}), "delivered")
    octets = host.taken[-1].data
    assert octets.count(b"DKIM-Signature:") == 2
    assert verifies(world, octets) and verifies(world, octets, 1)
    # RFC 5322 fields that matter, one octet, one more field.
    for forged in (octets.replace(b"hello", b"hellO", 1), octets.replace(b"Subject: a test", b"Subject: a tesT", 1),
                   b"From: evil@evil.example\r\n" + octets, octets.replace(b"Subject:", b"Cc: x@evil.example\r\nSubject:", 1)):
        assert forged != octets and not verifies(world, forged), forged[:80]


def test_a_trip_through_postfix_keeps_signatures_whole(world, postfix):  # noqa: F811
    api = world.server().api
    prove(world, api, "acme.example", ed25519=True)
    api.follow(api.send("ann@example.net", text="line\n\n.dots\n  spaces  \n"), "delivered")
    [mail] = until(lambda: list((postfix.folder / "mail/ann/new").glob("*")), "it is in the mailbox")
    octets = mail.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    octets = octets[octets.index(b"DKIM-Signature:"):]
    assert verifies(world, octets) and verifies(world, octets, 1)


def test_without_an_identity_a_strict_policy_takes_no_mail(world):
    host = world.receiver("mx1.example.net", "example.net")
    api = world.server(more="[auth]\nrequire_identity = true\nrequire_alignment = true\n").api
    refused = api.submit("ann@example.net").expect(403).problem
    assert "acme.example" in refused["detail"] and "identity add" in refused["detail"], refused
    registered = api.put("/v1/identities/acme.example", {}).expect(200).json
    api.submit("ann@example.net").expect(403)
    publish(world, registered)
    api.post("/v1/identities/acme.example:verify").expect(200)
    api.follow(api.send("ann@example.net"), "delivered")
    assert verifies(world, host.taken[-1].data)
    below = api.submit("ann@example.net", **{"from": "a@news.acme.example"}).expect(403).problem
    assert "news.acme.example" in below["detail"]
    api.put("/v1/identities/acme.example", {"subdomains": True}).expect(200)
    api.follow(api.send("ann@example.net", **{"from": "a@news.acme.example"}), "delivered")
    assert verifies(world, host.taken[-1].data)


def test_alignment_is_by_dkim_or_by_spf_strict_or_relaxed(world):
    """RFC 9989 4.4: who may send as what, by what its domain asks for; each row has a domain of its own."""
    api = world.server(more='[auth]\nrequire_alignment = true\n[[egress]]\nname = "default"\npublic_ip = ["192.0.2.25"]\n').api
    host = world.receiver("mx1.example.net", "example.net")
    passes, fails = "v=spf1 ip4:192.0.2.25 -all", "v=spf1 -all"
    table = [
        # From below the domain?, adkim, aspf, return path (below the domain, it, or elsewhere), its SPF: may it be sent?
        ("", "r", "r", "bounces.{d}", fails, True),
        ("news.", "r", "r", "bounces.{d}", fails, True),
        ("", "s", "s", "bounces.{d}", fails, True),
        ("news.", "s", "r", "bounces.{d}", passes, True),
        ("news.", "s", "r", "bounces.{d}", fails, False),
        ("news.", "s", "s", "bounces.{d}", passes, False),
        ("news.", "s", "s", "news.{d}", passes, True),
        ("news.", "s", "r", "bounces.elsewhere{n}.example", passes, False),
    ]
    for n, (below, adkim, aspf, envelope, spf, may) in enumerate(table):
        domain = f"align{n}.example"
        envelope = envelope.format(d=domain, n=n)
        world.names.txt(f"_dmarc.{domain}", f"v=DMARC1; p=reject; adkim={adkim}; aspf={aspf}").txt(envelope, spf)
        prove(world, api, domain, subdomains=True, return_path=envelope)
        answer = api.submit("ann@example.net", **{"from": f"a@{below}{domain}"})
        assert answer.status == (202 if may else 422), (table[n], answer.body)
        if not may:
            assert "DMARC" in str(answer.problem), answer.problem
    until(lambda: len(host.taken) == sum(row[-1] for row in table), "what may be sent arrives")
    # Another return path: what was seen of the one before says nothing of it.
    api.put("/v1/identities/align3.example", {"return_path": "bounces.elsewhere.example"}).expect(200)
    api.submit("ann@example.net", **{"from": "a@news.align3.example"}).expect(422)


def test_keys_are_rotated_without_an_unsigned_message(world):
    host = world.receiver("mx1.example.net", "example.net")
    api = world.server().api
    prove(world, api, "acme.example")
    states = lambda identity: [key["state"] for key in identity["keys"]]
    next_keys = api.post("/v1/identities/acme.example:rotate").expect(200).json
    assert states(next_keys) == ["active", "pending"]
    again = api.post("/v1/identities/acme.example:verify").expect(200).json
    assert states(again) == ["active", "pending"] and again["missing"][0]["selector"] == next_keys["keys"][1]["selector"]
    publish(world, next_keys)
    assert states(api.post("/v1/identities/acme.example:verify").expect(200).json) == ["retiring", "active"]
    api.follow(api.send("ann@example.net"), "delivered")
    assert f"s={next_keys['keys'][1]['selector']};".encode() in host.taken[-1].data
    assert verifies(world, host.taken[-1].data)


def test_commands_register_verify_and_audit(world, tmp_path):
    server = world.server(more='[[egress]]\nname = "default"\nhostname = "mta.posthaste.example"\npublic_ip = ["192.0.2.25"]\n')
    call = lambda *arguments: run(*arguments, "--api", server.api.url)
    added = call("identity", "add", "acme.example", "--return-path", "bounces.acme.example", "--json")
    assert added.returncode == 0, added.stderr
    publish(world, json.loads(added.stdout))
    verified = call("identity", "verify", "acme.example")
    assert verified.returncode == 0 and "verified" in verified.stdout
    names = world.names
    audit = lambda *more: run("doctor", "acme.example", "--api", server.api.url, "--policy", str(server.policy), "--json", *more)
    first = audit()
    findings = {f["check"]: f for f in json.loads(first.stdout)["audits"][0]["findings"] if f["severity"] == "error"}
    assert first.returncode == 1 and set(findings) == {"spf", "dmarc", "return-path", "ptr"}, findings
    assert "ip4:192.0.2.25" in findings["spf"]["mend"] and findings["spf"]["mend"].startswith("bounces.acme.example. IN TXT")
    names.txt("bounces.acme.example", "v=spf1 ip4:192.0.2.25 -all").mx("bounces.acme.example", (10, "in.acme.example"))
    names.txt("_dmarc.acme.example", "v=DMARC1; p=quarantine; rua=mailto:dmarc@acme.example")
    names.ptr("192.0.2.25", "mta.posthaste.example").a("mta.posthaste.example", "192.0.2.25")
    second = audit()
    assert second.returncode == 0, second.stdout
    everything = run("doctor", "--all", "--api", server.api.url, "--policy", str(server.policy))
    assert "acme.example" in everything.stdout and "✗" not in everything.stdout, everything.stdout
    made = run("keys", "--domain", "acme.example", "--selector", "k1", "--out", str(tmp_path / "k1.pem"))
    assert made.returncode == 0 and "k1._domainkey.acme.example. IN TXT" in made.stdout and "PRIVATE" not in made.stdout
    imported = call("identity", "add", "other.example", "--key", f"k1={tmp_path / 'k1.pem'}", "--json")
    assert json.loads(imported.stdout)["keys"][0]["selector"] == "k1", imported.stderr
    assert "PRIVATE" not in imported.stdout + server.log.read_text()


def test_a_change_for_the_worse_is_told_and_an_outage_of_dns_is_not(world):
    server = world.server(more='[auth]\naudit_every = "1s"\n')
    api, names = server.api, world.names
    prove(world, api, "acme.example")
    names.txt("acme.example", "v=spf1 -all").txt("_dmarc.acme.example", "v=DMARC1; p=reject; rua=mailto:dmarc@acme.example")
    checks = lambda: api.get("/v1/identities/acme.example").expect(200).json.get("watched", {}).get("checks", {})
    drifts = lambda: [event for event in api.get("/v1/events", after=0).expect(200).json["events"] if event["type"] == "auth.drifted"]
    until(lambda: checks().get("dmarc") == "ok" and checks().get("dkim") == "ok", "both are fine")
    # Nobody answers for a while: that is no news of the domain.
    silent = [f"{name}acme.example" for name in ("_dmarc.", "")]
    for name in silent:
        names.fail(name, None)
    since = api.get("/v1/identities/acme.example").json["watched"]["at"]
    looked = lambda: api.get("/v1/identities/acme.example").json["watched"]
    until(lambda: any(f["check"] == "dmarc" and f["severity"] == "unknown" for f in looked()["findings"]) and looked()["at"] > since,
          "it was looked at in vain", 60)
    assert checks()["dmarc"] == "ok" and drifts() == []
    names.failing.clear()
    # Somebody takes the record away.
    names.records.pop("_dmarc.acme.example")
    [drift] = until(drifts, "it is told", 30)
    change = drift["domain"]
    assert (change["domain"], change["check"], change["was"], change["now"]) == ("acme.example", "dmarc", "ok", "error"), drift
    assert "v=DMARC1" in change["mend"] and drift["tenant"] == "default" and "message_id" not in drift and "recipient" not in drift
    until(lambda: checks()["dmarc"] == "error", "it stands so")
    steady(lambda: len(drifts()) == 1, "once", 3)
    shown = run("identity", "show", "acme.example", "--api", api.url)
    assert "dmarc        error" in shown.stdout, shown.stdout


def test_keys_are_rotated_by_the_clock(world):
    host = world.receiver("mx1.example.net", "example.net")
    api = world.server(more='[auth]\naudit_every = "1s"\nrotate_after = "2s"\n').api
    first = prove(world, api, "acme.example")["keys"][0]["selector"]
    keys = lambda: api.get("/v1/identities/acme.example").json["keys"]
    until(lambda: [key["state"] for key in keys()] == ["active", "pending"], "the next key is made")
    told = lambda: [e["domain"] for e in api.get("/v1/events", after=0).json["events"] if e["type"] == "auth.drifted"]
    [asked] = until(told, "its owner is asked to publish it")
    assert (asked["check"], asked["now"]) == ("dkim", "warning") and keys()[1]["selector"] in asked["mend"], asked
    api.follow(api.send("ann@example.net"), "delivered")
    assert f"s={first};".encode() in host.taken[-1].data
    world.names.txt(keys()[1]["name"], keys()[1]["value"])
    until(lambda: keys()[1]["state"] == "active" and keys()[0]["state"] == "retiring", "it is used")


AGGREGATE = """<?xml version="1.0"?><feedback><report_metadata><org_name>mx.example</org_name><email>d@mx.example</email>
<report_id>{id}</report_id><date_range><begin>{begin}</begin><end>{end}</end></date_range></report_metadata><policy_published>
<domain>{domain}</domain><p>none</p></policy_published>{rows}</feedback>"""


def aggregate(id, domain, rows, pack=gzip.compress):
    """A DMARC aggregate as it comes by mail; each row `(address, messages, dkim, spf)`."""
    begin = int(time.time()) // 86_400 * 86_400 - 86_400
    records = "".join(
        f"<record><row><source_ip>{ip}</source_ip><count>{count}</count><policy_evaluated><disposition>none</disposition>"
        f"<dkim>{dkim}</dkim><spf>{spf}</spf></policy_evaluated></row><identifiers><header_from>{domain}</header_from>"
        "</identifiers><auth_results/></record>" for ip, count, dkim, spf in rows)
    xml = AGGREGATE.format(id=id, begin=begin, end=begin + 86_399, domain=domain, rows=records).encode()
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "d@mx.example", "dmarc@acme.example", f"Report Domain: {domain} Submitter: mx.example"
    mail.add_attachment(pack(xml), "application", "gzip", filename=f"mx.example!{domain}!{begin}!{begin + 86_399}.xml.gz")
    return mail.as_bytes()


def test_what_receivers_report_is_summed_up(world, tmp_path):
    server = world.server(more='[[egress]]\nname = "default"\npublic_ip = ["192.0.2.25"]\n')
    api = server.api
    prove(world, api, "acme.example")
    take = lambda raw: api.call("POST", "/v1/feedback", raw, {"Content-Type": "message/rfc822"}).expect(200).json
    rows = [("192.0.2.25", 90, "pass", "fail"), ("192.0.2.25", 10, "fail", "fail"), ("203.0.113.9", 7, "fail", "fail")]
    first = take(aggregate("r1", "acme.example", rows))
    assert first["outcome"] == "reported" and first["domain"] == "acme.example", first
    assert take(aggregate("r1", "acme.example", rows)) == first
    take(aggregate("r2", "news.acme.example", [("192.0.2.25", 5, "pass", "pass")]))
    reports = api.get("/v1/identities/acme.example/reports").expect(200).json
    assert reports["reports"] == 2 and [(d["messages"], d["passed"]) for d in reports["days"]] == [(112, 95)], reports
    assert [(s["ip"], s["messages"], s["passed"], s["ours"]) for s in reports["sources"]] == \
        [("192.0.2.25", 105, 95, True), ("203.0.113.9", 7, 0, False)]
    shown = run("identity", "reports", "acme.example", "--api", api.url)
    assert shown.returncode == 0 and "203.0.113.9" in shown.stdout and "not ours" in shown.stdout, shown.stdout
    # Of nobody's domain, and what unpacks to more than any report has.
    foreign = take(aggregate("r3", "other.example", rows))
    assert foreign["outcome"] == "kept" and "nobody here has proved" in foreign["why"], foreign
    bomb = take(aggregate("r4", "acme.example", [], pack=lambda _xml: gzip.compress(b" " * (256 << 20))))
    assert bomb["outcome"] == "kept" and "larger than" in bomb["why"], bomb
    file = tmp_path / "report.eml"
    file.write_bytes(aggregate("r1", "acme.example", rows))
    told = json.loads(run("parse-report", str(file)).stdout)
    assert told["kind"] == "dmarc" and told["summary"]["sources"][0]["messages"] == 100, told


def test_two_hundred_domains_are_audited_in_ten_seconds(world, tmp_path):
    names = world.names
    made = run("keys", "--domain", "acme.example", "--selector", "s1", "--out", str(tmp_path / "s1.pem"))
    key = next(line for line in made.stdout.splitlines() if "IN TXT" in line).split('IN TXT', 1)[1].replace('" "', "").strip(' "')
    domains = [f"d{nth}.example" for nth in range(200)]
    for domain in domains:
        names.txt(domain, f"v=spf1 include:_spf.{domain} -all").txt(f"_spf.{domain}", "v=spf1 ip4:192.0.2.25 -all")
        names.txt(f"s1._domainkey.{domain}", key).txt(f"_dmarc.{domain}", f"v=DMARC1; p=reject; rua=mailto:dmarc@{domain}")
        names.mx(domain, (10, f"mx.{domain}")).a(f"mx.{domain}", "192.0.2.80")
    names.txt("_dmarc.d7.example", "v=DMARC1; p=maybe")
    names.ptr("192.0.2.25", "mta.posthaste.example").a("mta.posthaste.example", "192.0.2.25")
    names.latency_s = 0.05
    policy = tmp_path / "policy.toml"
    policy.write_text(world.policy(more='[[egress]]\nname = "default"\nhostname = "mta.posthaste.example"\npublic_ip = ["192.0.2.25"]\n'))
    began = time.monotonic()
    audited = run("doctor", *domains, "--selector", "s1", "--policy", str(policy), "--json")
    took = time.monotonic() - began
    audits = {audit["domain"]: audit for audit in json.loads(audited.stdout)["audits"]}
    wrong = {domain for domain, audit in audits.items() if any(f["severity"] == "error" for f in audit["findings"])}
    assert sorted(audits) == sorted(domains) and wrong == {"d7.example"}, {d: audits[d] for d in sorted(wrong)[:2]}
    assert all(names.asked(f"_spf.{domain}", "TXT") for domain in domains)
    print(f"{len(domains)} domains, {len(names.queries)} queries of {names.latency_s} s: {took:.1f} s")
    assert took < 10, took


def test_a_sender_who_asked_for_it_is_told_what_was_not_delivered(world, tmp_path):
    world.receiver("mx1.example.net", "example.net", rcpt=lambda _session, line: "550 5.1.1 no such user" if "bad" in line else None)
    home = world.receiver("mx1.acme.example", "acme.example")
    elsewhere = world.receiver("mx1.other.example", "other.example")
    api = world.server().api
    prove(world, api, "acme.example", notify=True)
    id = api.send(["bad1@example.net", "bad2@example.net", "ann@example.net"], return_path="bounces@acme.example")
    api.follow_final(id)
    until(lambda: home.taken, "the notice")
    [notice] = home.taken
    assert (notice.mail_from, notice.rcpt_to) == ("", ["bounces@acme.example"])
    file = tmp_path / "notice.eml"
    file.write_bytes(notice.data)
    [report] = [json.loads(line) for line in run("parse-report", str(file)).stdout.splitlines()]
    assert report["kind"] == "dsn" and report["original_message_id"], report
    assert {(r["address"], r["action"], r["status"]) for r in report["recipients"]} == {
        ("bad1@example.net", "failed", "5.1.1"), ("bad2@example.net", "failed", "5.1.1")}
    # Nobody else's address gets a notice from us, and a notice none about itself.
    for return_path in ("x@other.example", ""):
        api.follow_final(api.send("bad3@example.net", return_path=return_path))
    # It expires: told, too.
    late = api.send("ann@gone.example", return_path="bounces@acme.example", expires_in="1s", send_at=None)
    api.follow_final(late, 30)
    until(lambda: len(home.taken) == 2, "the second notice", 30)
    assert elsewhere.taken == []
