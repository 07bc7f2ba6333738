"""The proxy itself: what it spoils, clients of AWS take for what AWS would have said."""

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError

from cloud.emulator import Emulator
from cloud.faults import Faults

TABLE = "things"


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    emulator = Emulator(tmp_path_factory.mktemp("emulator"))
    try:
        emulator.start()
        faults = Faults(emulator.url)
        try:
            yield faults
        finally:
            faults.stop()
    finally:
        emulator.stop()


@pytest.fixture(scope="module")
def asked(faults):
    """Something to ask of each service: `{name: call}`, without the client's own retries."""
    def client(service):
        return boto3.client(service, endpoint_url=faults.url, region_name="us-east-1", aws_access_key_id="test",
                            aws_secret_access_key="test", config=Config(retries={"total_max_attempts": 1}))

    db, sqs, s3, bus = client("dynamodb"), client("sqs"), client("s3"), client("events")
    db.create_table(TableName=TABLE, KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
                    AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}], BillingMode="PAY_PER_REQUEST")
    queue = sqs.create_queue(QueueName="queue")["QueueUrl"]
    s3.create_bucket(Bucket="bucket")
    items = [{"pk": {"S": str(n)}} for n in range(5)]
    return {
        "put": lambda: db.put_item(TableName=TABLE, Item=items[0]),
        "get": lambda: db.get_item(TableName=TABLE, Key=items[4]).get("Item"),
        "put many": lambda: db.batch_write_item(RequestItems={TABLE: [{"PutRequest": {"Item": i}} for i in items]}),
        "transact": lambda: db.transact_write_items(
            TransactItems=[{"Put": {"TableName": TABLE, "Item": i}} for i in items]),
        "send": lambda: sqs.send_message(QueueUrl=queue, MessageBody="x"),
        "send many": lambda: sqs.send_message_batch(
            QueueUrl=queue, Entries=[{"Id": str(n), "MessageBody": "x"} for n in range(5)]),
        "store": lambda: s3.put_object(Bucket="bucket", Key="a/b", Body=b"x" * 3_000_000),
        "tell": lambda: bus.put_events(Entries=[{"Source": "a", "DetailType": "b", "Detail": "{}"}] * 2),
    }


REFUSALS = [
    ("internal", "put", "InternalServerError"), ("internal", "store", "InternalError"),
    ("internal", "send", "InternalFailure"), ("unavailable", "put", "ServiceUnavailable"),
    ("unavailable", "store", "ServiceUnavailable"), ("throttled", "put", "ProvisionedThroughputExceededException"),
    ("throttled", "send", "RequestThrottled"), ("throttled", "store", "SlowDown"),
    ("throttled", "tell", "ThrottlingException"), ("conflicting", "transact", "TransactionCanceledException"),
    ("partial", "send", "RequestThrottled"),
]


@pytest.mark.parametrize("way, what, code", REFUSALS, ids=[f"{w}-{a}".replace(" ", "-") for w, a, _ in REFUSALS])
def test_a_refusal_is_in_the_services_words(faults, asked, way, what, code):
    with faults.at(1.0, ways=[way]), pytest.raises(ClientError) as refused:
        asked[what]()
    assert refused.value.response["Error"]["Code"].startswith(code)


@pytest.mark.parametrize("way", ["hanging", "reset", "lost"])
@pytest.mark.parametrize("what", ["put", "send", "store"])
def test_a_lost_connection_is_seen_as_one(faults, asked, way, what):
    with faults.at(1.0, ways=[way], hang_s=0.1), pytest.raises(ConnectionClosedError):
        asked[what]()


def test_an_answer_is_lost_after_the_deed(faults, asked):
    assert asked["get"]() is None
    with faults.at(1.0, ways=["lost"]), pytest.raises(ConnectionClosedError):
        asked["transact"]()
    assert asked["get"]() is not None


def test_a_batch_is_done_in_part(faults, asked):
    with faults.at(1.0, ways=["partial"]):
        sent, put, told = asked["send many"](), asked["put many"](), asked["tell"]()
    assert ([e["Id"] for e in sent["Successful"]], [e["Id"] for e in sent["Failed"]]) == (["0", "1", "2"], ["3", "4"])
    assert len(put["UnprocessedItems"][TABLE]) == 2
    assert (told["FailedEntryCount"], len(told["Entries"])) == (1, 2)


def test_an_outage_is_one_services(faults, asked):
    with faults.outage("dynamodb", hang_s=0.1):
        for _ in range(4):
            with pytest.raises((ClientError, ConnectionClosedError)):
                asked["put"]()
        asked["send"]()
    asked["put"]()


def test_requests_are_counted(faults, asked):
    faults.forget()
    asked["put"]()
    asked["store"]()
    asked["send many"]()
    assert faults.counts() == {"dynamodb.PutItem": 1, "s3.PutObject": 1, "sqs.SendMessageBatch": 1}
