"""What AWS would refuse or regret in the templates, and neither linters nor an emulator say.

Reads files only. `make lint-infra` runs it beside the linters, without the fixtures of the deployed tests.
"""

import json
import re
import tomllib
from pathlib import Path

import pytest

from cloud.template import read

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = read(ROOT / "template.yaml")
NESTED = {path.stem: read(path) for path in sorted((ROOT / "infra").glob("*.yaml"))}
EVERYWHERE = {"template": TEMPLATE, **NESTED}

# SQS takes no longer delay; longer waits are parked in the table.
DELAY_MAX_S = 900
# A function that uses up its timeout still has time to say which messages failed.
VISIBILITY_BEYOND_TIMEOUT_S = 30
# Above it an event source needs a batching window.
BATCH_WITHOUT_WINDOW_MAX = 10
# Resources that the emulator of our tests refuses, and that cost money or need more than an account elsewhere.
BEHIND_CONDITIONS = {"AWS::Events::Connection", "AWS::Events::ApiDestination", "AWS::Events::EventBusPolicy"}
LANES = ("Transactional", "Bulk", "Slow")
SETTINGS = {
    "POSTHASTE_TABLE", "POSTHASTE_BUCKET", "POSTHASTE_POLICY", "POSTHASTE_BUS", "POSTHASTE_EVENTS_DELIVERED",
    "POSTHASTE_STACK", "POSTHASTE_KMS_KEY", "POSTHASTE_QUEUE_INTAKE", "POSTHASTE_DEAD_INTAKE", "RUST_LOG",
    *(f"POSTHASTE_{kind}_{lane.upper()}" for kind in ("QUEUE", "DEAD") for lane in LANES),
}
OWN_SETTINGS = {
    **{f"Deliver{lane}": {"POSTHASTE_LANE", "POSTHASTE_EGRESS", "POSTHASTE_SECRET_RELAY"} for lane in LANES},
    "IntakeEvents": {"POSTHASTE_INTAKE_TENANT"},
    "Feedback": {"POSTHASTE_DEAD_REPORTS"},
}
METRICS = {
    "Accepted", "Attempts", "Delivered", "Deferred", "Bounced", "Throttled", "Expired", "Suppressed", "Ambiguous",
    "Complained", "TimeToDelivery", "LedgerAge", "Waiting", "DeadLetters", "DnsTime", "TlsTime", "ConnectTime",
    "AwsCalls", "AwsThrottles", "StoreErrors", "Refused", "SiteChanges", "SitesShut",
    "AuthDrifted", "DomainsWrong", "DmarcOwn", "DmarcOwnFailed", "DmarcOthers", "DmarcOthersFailed", "TlsSessions",
    "TlsSessionsFailed",
}


def of_type(kind, template=TEMPLATE):
    return {name: it for name, it in template["Resources"].items() if it["Type"] == kind}


FUNCTIONS = of_type("AWS::Serverless::Function")
QUEUES = of_type("AWS::SQS::Queue")


def as_list(value):
    return value if isinstance(value, list) else [value]


def named(value):
    """The logical name a `!Ref` or `!GetAtt` stands for."""
    return value.get("Ref") or value["Fn::GetAtt"][0]


def sources(function):
    """SQS event sources: (queue's name, properties)."""
    events = function["Properties"].get("Events", {}).values()
    return [(named(e["Properties"]["Queue"]), e["Properties"]) for e in events if e["Type"] == "SQS"]


def statements():
    """Every IAM statement of a role or a managed policy: (where, resource, statement)."""
    for file, template in EVERYWHERE.items():
        for name, resource in template["Resources"].items():
            documents = [p["PolicyDocument"] for p in resource.get("Properties", {}).get("Policies", [])]
            if resource["Type"] == "AWS::IAM::ManagedPolicy":
                documents.append(resource["Properties"]["PolicyDocument"])
            for document in documents:
                for statement in document["Statement"]:
                    yield f"{file}:{name}", resource, statement


ALLOWED = [pytest.param(resource, s, id=f"{where}-{number}")
           for number, (where, resource, s) in enumerate(statements()) if s["Effect"] == "Allow"]


def attached(function):
    """Statements of a function's role, those of its managed policies too."""
    role = TEMPLATE["Resources"][named(function["Properties"]["Role"])]["Properties"]
    found = [s for p in role["Policies"] for s in p["PolicyDocument"]["Statement"]]
    for policy in role["ManagedPolicyArns"]:
        policy = policy["Fn::If"][1] if "Fn::If" in policy else policy
        found += TEMPLATE["Resources"][named(policy)]["Properties"]["PolicyDocument"]["Statement"]
    return found


@pytest.mark.parametrize("name", QUEUES)
def test_what_cannot_be_done_has_a_place_to_go(name):
    properties = QUEUES[name]["Properties"]
    if name.endswith("Dead"):
        assert "RedrivePolicy" not in properties
    else:
        assert named(properties["RedrivePolicy"]["deadLetterTargetArn"]) == f"{name}Dead"


@pytest.mark.parametrize("name", QUEUES)
def test_nothing_in_a_queue_is_forgotten_early_or_delayed_longer_than_sqs_can(name):
    properties = QUEUES[name]["Properties"]
    assert properties["MessageRetentionPeriod"] == 14 * 86_400
    assert properties.get("DelaySeconds", 0) <= DELAY_MAX_S
    assert properties["SqsManagedSseEnabled"] is True


@pytest.mark.parametrize("name", [n for n in FUNCTIONS if sources(FUNCTIONS[n])])
def test_a_message_stays_hidden_while_its_function_may_run(name):
    for queue, _ in sources(FUNCTIONS[name]):
        visibility_s = QUEUES[queue]["Properties"]["VisibilityTimeout"]
        assert visibility_s >= FUNCTIONS[name]["Properties"]["Timeout"] + VISIBILITY_BEYOND_TIMEOUT_S


@pytest.mark.parametrize("name", [n for n in FUNCTIONS if sources(FUNCTIONS[n])])
def test_batches_may_be_done_in_part_and_wait_only_with_a_window(name):
    for _, source in sources(FUNCTIONS[name]):
        assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        assert source["BatchSize"] <= BATCH_WITHOUT_WINDOW_MAX or source.get("MaximumBatchingWindowInSeconds", 0) > 0
        assert "MaximumConcurrency" in source["ScalingConfig"]


def test_every_lane_is_served_by_its_own_function():
    assert {name: [q for q, _ in sources(FUNCTIONS[name])] for name in FUNCTIONS if sources(FUNCTIONS[name])} == {
        **{f"Deliver{lane}": [lane] for lane in LANES}, "IntakeEvents": ["Intake"], "Feedback": ["Reports"]}


def test_every_function_has_a_role_of_its_own():
    roles = [named(f["Properties"]["Role"]) for f in FUNCTIONS.values()]
    assert sorted(roles) == sorted(f"{name}Role" for name in FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_writes_its_own_log_and_no_other(name):
    logs = [s for s in attached(FUNCTIONS[name]) if any(a.startswith("logs:") for a in as_list(s["Action"]))]
    assert [named(r) for s in logs for r in as_list(s["Resource"])] == [f"{name}Log"]
    assert FUNCTIONS[name]["Properties"]["LoggingConfig"] == {"LogGroup": {"Ref": f"{name}Log"}}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_takes_only_from_the_queues_it_is_fed_by(name):
    taken = {named(r) for s in attached(FUNCTIONS[name]) if "sqs:ReceiveMessage" in as_list(s["Action"])
             for r in as_list(s["Resource"])}
    # The clock brings what SQS gave up on to the list of dead letters.
    lanes_dead = {f"{lane}Dead" for lane in LANES} if name == "Clock" else set()
    assert taken == {q for q, _ in sources(FUNCTIONS[name])} | lanes_dead


@pytest.mark.parametrize("resource, statement", ALLOWED)
def test_no_role_may_do_everything(resource, statement):
    assert "NotAction" not in statement and "NotResource" not in statement
    for action in as_list(statement["Action"]):
        assert "*" not in action


@pytest.mark.parametrize("resource, statement", ALLOWED)
def test_no_role_may_do_it_to_everything_without_saying_why(resource, statement):
    if "*" in as_list(statement["Resource"]):
        assert resource.get("Metadata", {}).get("reason", {}).get("all-resources")


@pytest.mark.parametrize("file", EVERYWHERE)
def test_every_log_is_kept_for_a_time_that_was_chosen(file):
    for name, log in of_type("AWS::Logs::LogGroup", EVERYWHERE[file]).items():
        assert log["Properties"].get("RetentionInDays"), name


def test_everything_in_the_bucket_goes_by_itself_in_the_end():
    [bucket] = of_type("AWS::S3::Bucket").values()
    rules = {r.get("Prefix"): r for r in bucket["Properties"]["LifecycleConfiguration"]["Rules"]}
    assert [rules[prefix]["ExpirationInDays"] for prefix in ("spool/", "uploads/", "incoming/")] == [{"Ref": "SpoolDays"}, 3, 7]
    for prefix in ("spool/", "uploads/", "incoming/", "policy.toml"):
        assert rules[prefix]["NoncurrentVersionExpiration"], "versions that were replaced would be kept for ever"


@pytest.mark.parametrize("kind", ["AWS::S3::Bucket", "AWS::DynamoDB::Table"])
def test_removing_the_stack_loses_no_mail(kind):
    for resource in of_type(kind).values():
        assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("Retain", "Retain")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_knows_where_everything_is(name):
    shared = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
    own = FUNCTIONS[name]["Properties"].get("Environment", {}).get("Variables", {})
    assert set(shared) == SETTINGS
    assert set(own) == OWN_SETTINGS.get(name, set())


def test_a_panic_over_one_job_is_not_the_end_of_a_batch():
    # cargo-lambda, which `sam build` calls, compiles with panic=abort unless the release profile says otherwise.
    assert tomllib.loads((ROOT / "Cargo.toml").read_text())["profile"]["release"]["panic"] == "unwind"


def test_what_an_emulator_refuses_is_left_out_by_default():
    for name, resource in TEMPLATE["Resources"].items():
        if resource["Type"] in BEHIND_CONDITIONS:
            assert resource["Condition"] == "HasWebhook", name
    assert TEMPLATE["Resources"]["Way"]["Condition"] == "MakesNetwork"
    defaults = {name: p.get("Default") for name, p in TEMPLATE["Parameters"].items()}
    assert (defaults["Network"], defaults["WebhookUrl"], defaults["AlarmEmail"]) == ("none", "", "")


def test_a_nested_stack_is_given_what_it_asks_for():
    for name, stack in of_type("AWS::CloudFormation::Stack").items():
        asked = read(ROOT / stack["Properties"]["TemplateURL"])["Parameters"]
        given = set(stack["Properties"]["Parameters"])
        assert given <= set(asked), name
        assert {p for p, about in asked.items() if "Default" not in about} <= given, name


@pytest.mark.parametrize("file", EVERYWHERE)
def test_every_parameter_says_what_it_is_for(file):
    for name, parameter in EVERYWHERE[file].get("Parameters", {}).items():
        assert parameter["Description"], name


def test_every_parameter_has_its_place_in_the_form():
    groups = TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert sorted(p for g in groups for p in g["Parameters"]) == sorted(TEMPLATE["Parameters"])


def test_operators_routes_go_to_the_admin_function_and_all_others_to_intake():
    routes = {r["Properties"]["RouteKey"]: r["Properties"]["Target"]["Fn::Sub"] for r in of_type("AWS::ApiGatewayV2::Route").values()}
    to_admin = {key for key, target in routes.items() if target == "integrations/${ApiToAdmin}"}
    assert {key: target for key, target in routes.items() if key not in to_admin} == {"$default": "integrations/${ApiToIntakeHttp}"}
    assert {key.split("/")[2] for key in to_admin} == {"api-keys", "dead-letters", "sites"}


def test_a_tenant_is_written_by_the_rule_and_not_into_a_string():
    [target] = TEMPLATE["Resources"]["Submissions"]["Properties"]["Targets"]
    template = target["InputTransformer"]["InputTemplate"]["Fn::Sub"]
    # What EventBridge puts between quotes it does not escape.
    assert re.findall(r'"[^"]*<[^"]*"', template) == []
    assert template == '{"tenant":"${IntakeTenant}","event":<aws.events.event.json>}'


def dashboard():
    text = NESTED["dashboard"]["Resources"]["Board"]["Properties"]["DashboardBody"]["Fn::Sub"]
    return json.loads(re.sub(r"\$\{[\w:]+\}", "x", text))["widgets"]


def test_widgets_of_the_dashboard_stand_beside_each_other():
    taken = [(x, y) for w in dashboard() for x in range(w["x"], w["x"] + w["width"]) for y in range(w["y"], w["y"] + w["height"])]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24


def test_alarms_and_dashboard_look_at_metrics_that_are_written():
    seen = set()
    for widget in dashboard():
        for metric in widget["properties"].get("metrics", []):
            if metric[0] == "Posthaste":
                seen.add(metric[1])
            elif isinstance(metric[0], dict):
                seen |= set(re.findall(r'MetricName="(\w+)"', metric[0]["expression"]))
    for alarm in of_type("AWS::CloudWatch::Alarm", NESTED["alarms"]).values():
        own = [alarm["Properties"], *(m["MetricStat"]["Metric"] for m in alarm["Properties"].get("Metrics", []) if "MetricStat" in m)]
        seen |= {m["MetricName"] for m in own if m.get("Namespace") == "Posthaste"}
    assert seen <= METRICS
    assert METRICS <= seen, "a metric that nobody looks at is paid for"


@pytest.mark.parametrize("name", of_type("AWS::CloudWatch::Alarm", NESTED["alarms"]))
def test_an_alarm_says_what_to_do_and_tells_somebody(name):
    alarm = NESTED["alarms"]["Resources"][name]["Properties"]
    assert len(alarm["AlarmDescription"]) > 60
    assert alarm["AlarmActions"] and alarm["OKActions"]
    assert alarm["TreatMissingData"] == ("breaching" if name == "LedgerAge" else "notBreaching")
