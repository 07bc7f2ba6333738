"""The stack on an endpoint: deployed by CloudFormation, and what a test asks of its parts."""

import contextlib
import json
import time
import uuid
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from harness.wait import until

from .template import Package, host_architecture

ROOT = Path(__file__).resolve().parents[3]
REGION = "us-east-1"
# How long a deployment may take on a loaded machine; ten seconds are usual.
DEPLOY_S = 120.0
# How long a poll of a queue may be under way.
POLL_S = 1.5
# What fits two cores, and what the emulator has: alarms there know no metric math.
FITTING = {"Watch": "false", "TransactionalConcurrency": "4", "BulkConcurrency": "2", "SlowConcurrency": "2"}
# What Lambda writes around each invocation.
FRAME = ("START RequestId", "END RequestId", "REPORT RequestId")
FAILED = ("ROLLBACK", "FAILED")


def client(service, endpoint):
    """A client that needs no account."""
    return boto3.client(service, endpoint_url=endpoint, region_name=REGION, aws_access_key_id="test",
                        aws_secret_access_key="test",
                        config=Config(s3={"addressing_style": "path"}, max_pool_connections=20,
                                      connect_timeout=5, read_timeout=120, retries={"total_max_attempts": 2}))


class Deployment:
    """One stack. What its parts are called is read from it, not assumed."""

    def __init__(self, endpoint, name=None):
        self.endpoint, self.name = endpoint, name or f"posthaste-{uuid.uuid4().hex[:8]}"
        for service in ("cloudformation", "s3", "sqs", "dynamodb", "events", "logs"):
            setattr(self, service, client(service, endpoint))
        # "lambda" is a word of the language.
        self.functions = client("lambda", endpoint)
        self.resources, self._environments = {}, {}

    def deploy(self, bootstraps, template=ROOT / "template.yaml", **parameters):
        """Creates the stack, or brings it to this template and code."""
        bucket = f"{self.name}-artifacts"
        self.s3.create_bucket(Bucket=bucket)
        package = Package(self.s3, bucket, bootstraps)
        chosen = package.parameters(template, {"Architecture": host_architecture(), **FITTING, **parameters})
        self.cloudformation.create_stack(
            StackName=self.name, **package.template(template, chosen),
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
            Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in chosen.items()])
        until(self._settled, lambda: f"the stack deployed; {self._why()}", DEPLOY_S, 0.2)
        found = self.cloudformation.describe_stack_resources(StackName=self.name)["StackResources"]
        self.resources = {r["LogicalResourceId"]: (r["ResourceType"], r["PhysicalResourceId"]) for r in found}
        return self

    def _settled(self):
        status = self.cloudformation.describe_stacks(StackName=self.name)["Stacks"][0]["StackStatus"]
        assert not any(word in status for word in FAILED), f"{status}: {self._why()}"
        return status.endswith("_COMPLETE")

    def _why(self):
        events = self.cloudformation.describe_stack_events(StackName=self.name)["StackEvents"]
        return "\n".join(f"{e['LogicalResourceId']} {e['ResourceStatus']} {e.get('ResourceStatusReason', '')}"
                         for e in events if "FAILED" in e["ResourceStatus"]) or "nothing failed"

    def remove(self):
        """Takes the stack away, for an endpoint that stays."""
        self.cloudformation.delete_stack(StackName=self.name)

    def physical(self, logical):
        """What a part is called here."""
        return self.resources[logical][1]

    def of_type(self, kind):
        """Names of all parts of a type."""
        return [physical for found, physical in self.resources.values() if found == kind]

    def environment(self, logical):
        """A function's variables."""
        if logical not in self._environments:
            found = self.functions.get_function_configuration(FunctionName=self.physical(logical))
            self._environments[logical] = found["Environment"]["Variables"]
        return self._environments[logical]

    def setting(self, name, of="IntakeHttp"):
        """One of them, as `POSTHASTE_TABLE`."""
        return self.environment(of)[name]

    @property
    def table(self):
        return self.setting("POSTHASTE_TABLE")

    @property
    def bucket(self):
        return self.setting("POSTHASTE_BUCKET")

    def queue(self, lane, dead=False):
        """A queue's URL: `transactional`, `bulk`, `slow` or `intake`, or where that one's dead letters go."""
        return self.setting(f"POSTHASTE_{'DEAD' if dead else 'QUEUE'}_{lane.upper()}",
                            of="IntakeEvents" if lane == "intake" else "IntakeHttp")

    def hide_for(self, lane, seconds):
        """How long a queue hides what was taken and neither deleted nor given back."""
        self.sqs.set_queue_attributes(QueueUrl=self.queue(lane), Attributes={"VisibilityTimeout": str(seconds)})

    def waiting(self, lane, dead=False):
        """Messages in a queue: `(ready, delayed, in flight)`."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed",
                 "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=self.queue(lane, dead), AttributeNames=names)["Attributes"]
        return tuple(int(found[name]) for name in names)

    def letters(self, lane):
        """Dead letters of a lane as they stand, attributes and all; they stay there."""
        got = self.sqs.receive_message(QueueUrl=self.queue(lane, dead=True), MaxNumberOfMessages=10,
                                       VisibilityTimeout=1, MessageAttributeNames=["All"])
        return got.get("Messages", [])

    def take_rows(self, id):
        """Takes every item that names the message out of the table, and gives them."""
        pages = self.dynamodb.get_paginator("scan").paginate(TableName=self.table, ConsistentRead=True)
        found = [item for page in pages for item in page["Items"] if id in item["pk"]["S"] + item["sk"]["S"]]
        for item in found:
            self.dynamodb.delete_item(TableName=self.table, Key={"pk": item["pk"], "sk": item["sk"]})
        return found

    def put_rows(self, items):
        """Puts them back."""
        for item in items:
            self.dynamodb.put_item(TableName=self.table, Item=item)

    @contextlib.contextmanager
    def held_back(self, logical):
        """That function's queues keep their messages meanwhile."""
        found = self.functions.list_event_source_mappings(FunctionName=self.physical(logical))["EventSourceMappings"]
        for mapping in found:
            self.functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
        # A poll that is under way still takes what comes.
        time.sleep(POLL_S)
        try:
            yield
        finally:
            for mapping in found:
                self.functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)

    def record(self, lane):
        """The next message of a queue, taken out of it, as functions are given it."""
        url = self.queue(lane)
        got = until(lambda: self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=1).get("Messages"),
                    f"a message in the queue {lane}")
        [message] = got
        self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        arn = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        now_ms = str(int(time.time() * 1000))
        return {"messageId": message["MessageId"], "receiptHandle": message["ReceiptHandle"], "body": message["Body"],
                "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": now_ms, "SenderId": "test",
                               "ApproximateFirstReceiveTimestamp": now_ms},
                "messageAttributes": {}, "md5OfBody": message["MD5OfBody"], "eventSource": "aws:sqs",
                "eventSourceARN": arn, "awsRegion": REGION}

    def api_url(self):
        """Where the HTTP API is served: the path form, which needs no names of hosts."""
        [api] = self.of_type("AWS::ApiGatewayV2::Api")
        return f"{self.endpoint}/_aws/execute-api/{api}/$default"

    def invoke(self, logical, event=None):
        """Calls a function and gives what it answers; an error of it is one here."""
        answer = self.functions.invoke(FunctionName=self.physical(logical), Payload=json.dumps(event or {}).encode())
        payload = json.loads(answer["Payload"].read() or b"null")
        assert "FunctionError" not in answer, f"{logical}: {payload}"
        return payload

    def tick(self):
        """What the schedule does each minute."""
        return self.invoke("Clock", {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}})

    def log(self, logical, lines=40):
        """The end of what a function said."""
        name = self.physical(logical)
        try:
            about = self.functions.get_function_configuration(FunctionName=name)
            group = about.get("LoggingConfig", {}).get("LogGroup", f"/aws/lambda/{name}")
            events = self.logs.filter_log_events(logGroupName=group, limit=10_000)["events"]
        except ClientError:
            return ""
        said = (e["message"].rstrip() for e in sorted(events, key=lambda e: e["timestamp"]))
        return "\n".join([line for line in said if not line.startswith(FRAME)][-lines:])

    def everything_said(self):
        """The ends of all functions' logs."""
        parts = [logical for logical, (kind, _) in self.resources.items() if kind == "AWS::Lambda::Function"]
        return "\n".join(f"--- {part}\n{self.log(part)}" for part in parts)
