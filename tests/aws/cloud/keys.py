"""API keys of a stack. Nothing is open, so the first, the operator's, is written into the table by whoever may write
there; that one makes the others.
"""

import base64
import hashlib
import json
import os
import time

# The first octet of a document: JSON compressed by zstd.
DOCUMENT_KIND = b"\1"
# RFC 8878 3.1.1: a frame's magic number; its header, with a content size of four octets and no window.
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ZSTD_SIZED = b"\xa0"
# The alphabet of ids and secrets (Crockford's), and RFC 4648's, which Python has.
CROCKFORD, RFC4648 = "0123456789abcdefghjkmnpqrstvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


def base32(octets):
    return base64.b32encode(octets).decode().rstrip("=").translate(str.maketrans(RFC4648, CROCKFORD))


def stored(octets):
    """A zstd frame that holds the octets as they are, in one raw block (RFC 8878 3.1.1.2)."""
    block = (len(octets) << 3 | 1).to_bytes(3, "little")
    return ZSTD_MAGIC + ZSTD_SIZED + len(octets).to_bytes(4, "little") + block + octets


def operators_key(stack):
    """Writes the first key into the table as the stores keep keys: without its secret."""
    id, secret = base32(os.urandom(16)), os.urandom(32)
    record = {"id": id, "hash": list(hashlib.sha256(secret).digest()), "tenant": None, "scopes": ["operator"],
              "name": "the first", "created_at": int(time.time() * 1000)}
    stack.dynamodb.put_item(TableName=stack.table, Item={
        "pk": {"S": "keys"}, "sk": {"S": id},
        "doc": {"B": DOCUMENT_KIND + stored(json.dumps(record).encode())}})
    return f"ph_{id}_{base32(secret)}"


def tenants_key(operator, tenant, scopes):
    """Has the operator make a key of that tenant's."""
    asked = {"tenant": tenant, "scopes": list(scopes), "name": "tests"}
    return operator.post("/v1/api-keys", asked).expect(201).json["key"]
