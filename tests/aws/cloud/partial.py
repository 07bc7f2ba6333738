"""Batches that are done in part: the second half is left out of the request and answered as AWS answers what failed."""

import json

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

# The operations that may do a part, and where their entries stand.
ENTRIES = {"SendMessageBatch": "Entries", "DeleteMessageBatch": "Entries", "ChangeMessageVisibilityBatch": "Entries",
           "PutEvents": "Entries", "BatchWriteItem": "RequestItems", "BatchGetItem": "RequestItems"}


def halve(operation, request):
    """`(request for a part, function that completes its answer)`; None where nothing can be left out."""
    where = ENTRIES.get(operation)
    if where is None:
        return None
    body = json.loads(request.content)
    left, out = (_halve_list if where == "Entries" else _halve_tables)(body[where])
    if not left or not out:
        return None
    content = json.dumps({**body, where: left}).encode()
    smaller = request.with_content(content, _signed(request, content))

    def complete(answer):
        return answer.with_content(json.dumps(_complete(operation, json.loads(answer.content), out)).encode())

    return smaller, complete


def _signed(request, content):
    """Headers that sign the smaller request; as the endpoint's owner, whom every request of its functions may be."""
    service = request.headers["authorization"].split("/")[3]
    region = request.headers["authorization"].split("/")[2]
    kept = {name: request.headers[name] for name in ("content-type", "host", "x-amz-target") if name in request.headers}
    asked = AWSRequest("POST", f"http://{kept['host']}/", data=content, headers=kept)
    SigV4Auth(Credentials("test", "test"), service, region).add_auth(asked)
    # The session of the first signer is not the owner's.
    return {"Authorization": asked.headers["Authorization"], "X-Amz-Date": asked.headers["X-Amz-Date"],
            "X-Amz-Security-Token": ""}


def _halve_list(entries):
    half = (len(entries) + 1) // 2
    return entries[:half], entries[half:]


def _halve_tables(tables):
    """One table's first half; a table is a list of writes, or keys and more."""
    name, wanted = next(iter(tables.items()))
    if isinstance(wanted, list):
        left, out = _halve_list(wanted)
        return {**tables, name: left}, out and {name: out}
    left, out = _halve_list(wanted["Keys"])
    return {**tables, name: {**wanted, "Keys": left}}, out and {name: {**wanted, "Keys": out}}


def _complete(operation, answer, out):
    if operation == "BatchWriteItem":
        return {**answer, "UnprocessedItems": out}
    if operation == "BatchGetItem":
        return {**answer, "UnprocessedKeys": out}
    if operation == "PutEvents":
        failed = [{"ErrorCode": "ThrottlingException", "ErrorMessage": "Rate exceeded"} for _ in out]
        return {"Entries": answer["Entries"] + failed, "FailedEntryCount": answer.get("FailedEntryCount", 0) + len(out)}
    failed = [{"Id": e["Id"], "Code": "InternalError", "Message": "left out", "SenderFault": False} for e in out]
    return {**answer, "Failed": answer.get("Failed", []) + failed}
