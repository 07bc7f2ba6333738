"""HTTP/1.1 messages as the octets they came as, so that a proxy passes on exactly what it read."""

import asyncio
from dataclasses import dataclass

# A head larger than this is nobody's AWS request.
HEAD_MAX = 64 * 1024
# Larger than any upload the tests make: bounds what one message may hold in memory.
BODY_MAX = 64 * 1024 * 1024


class Broken(Exception):
    """The peer has gone, or does not speak HTTP/1.1."""


@dataclass
class Message:
    """A request or a response."""

    first: str
    headers: dict
    head: bytes
    body: bytes
    last: bool = False  # the connection ends behind it

    @property
    def octets(self):
        return self.head + self.body

    @property
    def method(self):
        return self.first.split(" ")[0]

    @property
    def target(self):
        return self.first.split(" ")[1]

    @property
    def status(self):
        return int(self.first.split(" ")[1])

    @property
    def content(self):
        """The body without its transfer coding."""
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            return self.body
        rest, content = self.body, b""
        while True:
            size, _, rest = rest.partition(b"\r\n")
            length = int(size.split(b";")[0], 16)
            if length == 0:
                return content
            content, rest = content + rest[:length], rest[length + 2:]

    def with_content(self, content, headers=None):
        """The same with another body, and these headers in the place of those of their names."""
        headers = {"Content-Length": str(len(content)), **(headers or {})}
        dropped = tuple(f"{name.lower()}:" for name in (*headers, "transfer-encoding", "x-amz-crc32"))
        lines = [line for line in self.head.decode("latin-1").split("\r\n") if line]
        lines = [line for line in lines if not line.lower().startswith(dropped)]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        return Message(self.first, self.headers, head, content, self.last)


async def request(reader, writer):
    """The next request; None when the client has hung up between two."""
    found = await _head(reader)
    if found is None:
        return None
    first, headers, head = found
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        kept = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"expect:")]
        head = b"\r\n".join(kept)
    return Message(first, headers, head, await _body(reader, headers), headers.get("connection", "").lower() == "close")


async def response(reader, method):
    """The answer to a request with that method."""
    while True:
        found = await _head(reader)
        if found is None:
            raise Broken("no answer")
        first, headers, head = found
        status = int(first.split(" ")[1])
        if status >= 200:
            break
    last = headers.get("connection", "").lower() == "close"
    if method == "HEAD" or status in (204, 304):
        return Message(first, headers, head, b"", last)
    if "content-length" not in headers and "transfer-encoding" not in headers:
        return Message(first, headers, head, await reader.read(BODY_MAX), True)
    return Message(first, headers, head, await _body(reader, headers), last)


async def _head(reader):
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as e:
        if e.partial:
            raise Broken("cut off in a head") from e
        return None
    except (asyncio.LimitOverrunError, OSError) as e:
        raise Broken(str(e)) from e
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return first, headers, head


async def _body(reader, headers):
    try:
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return await _chunks(reader)
        length = int(headers.get("content-length", 0))
        if length > BODY_MAX:
            raise Broken(f"a body of {length} octets")
        return await reader.readexactly(length)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, OSError) as e:
        raise Broken(f"cut off in a body: {e}") from e


async def _chunks(reader):
    got = []
    while True:
        line = await reader.readuntil(b"\r\n")
        got.append(line)
        length = int(line.split(b";")[0], 16)
        if length:
            got.append(await reader.readexactly(length + 2))
            continue
        # Trailers, up to an empty line.
        while line != b"\r\n":
            line = await reader.readuntil(b"\r\n")
            got.append(line)
        return b"".join(got)
