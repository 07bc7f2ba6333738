"""Which AWS service and operation a request is for, and how that service says that it failed."""

import json
from urllib.parse import parse_qs, urlsplit

# The service's name in a target header, and ours.
TARGETS = {"DynamoDB": "dynamodb", "AmazonSQS": "sqs", "AWSEvents": "events", "Logs": "logs"}


def operation(request):
    """`(service, operation)`, as `("dynamodb", "UpdateItem")`; S3's are told from method and path."""
    target = request.headers.get("x-amz-target")
    if target:
        prefix, _, name = target.partition(".")
        return TARGETS.get(prefix.split("_")[0], prefix.lower()), name
    url = urlsplit(request.target)
    queries = parse_qs(url.query, keep_blank_values=True)
    whole_bucket = url.path.count("/") < 2 or url.path.endswith("/") and url.path.count("/") == 2
    if whole_bucket:
        return "s3", "ListObjectsV2" if "list-type" in queries else f"{request.method.capitalize()}Bucket"
    if "uploadId" in queries or "uploads" in queries:
        return "s3", f"{request.method.capitalize()}Multipart"
    return "s3", f"{request.method.capitalize()}Object"


def answer(status, content, kind, more=()):
    """An HTTP answer as octets."""
    reasons = {400: "Bad Request", 500: "Internal Server Error", 503: "Service Unavailable"}
    lines = [f"HTTP/1.1 {status} {reasons.get(status, 'Status')}", f"Content-Type: {kind}",
             f"Content-Length: {len(content)}", "x-amzn-RequestId: 00000000-0000-0000-0000-000000000000", *more, "", ""]
    return "\r\n".join(lines).encode() + content


def _json_error(status, shape, message, more=()):
    body = json.dumps({"__type": shape, "message": message}).encode()
    return answer(status, body, "application/x-amz-json-1.0", more)


def _s3_error(request, status, code, message):
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return answer(status, b"" if request.method == "HEAD" else body.encode(), "application/xml")


def internal(service, request):
    """500: it may have been done or not; AWS says try again."""
    if service == "s3":
        return _s3_error(request, 500, "InternalError", "We encountered an internal error. Please try again.")
    if service == "dynamodb":
        return _json_error(500, "com.amazonaws.dynamodb.v20120810#InternalServerError", "Internal server error")
    return _json_error(500, "InternalFailure", "An internal error occurred")


def unavailable(service, request):
    """503."""
    if service == "s3":
        return _s3_error(request, 503, "ServiceUnavailable", "Service is unable to handle request.")
    return _json_error(503, "ServiceUnavailable", "The service is unavailable")


def throttled(service, request):
    """Too much at once, each service in its own words."""
    if service == "s3":
        return _s3_error(request, 503, "SlowDown", "Please reduce your request rate.")
    if service == "dynamodb":
        return _json_error(400, "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
                           "The level of configured provisioned throughput for the table was exceeded.")
    if service == "sqs":
        return _json_error(400, "com.amazonaws.sqs#RequestThrottled", "Rate exceeded",
                           ["x-amzn-query-error: RequestThrottled;Sender"])
    return _json_error(400, "ThrottlingException", "Rate exceeded")


def conflicting(items):
    """A transaction that met another one: every reason but the first is None, as AWS answers it."""
    reasons = [{"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"}]
    reasons += [{"Code": "None"}] * (items - 1)
    codes = ", ".join(reason["Code"] for reason in reasons)
    body = {"__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
            "Message": f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]",
            "CancellationReasons": reasons}
    return answer(400, json.dumps(body).encode(), "application/x-amz-json-1.0")
