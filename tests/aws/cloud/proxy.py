"""A proxy before an AWS endpoint that misbehaves by a seed, and counts what is asked of it.

Of each hundred requests `rate` are spoiled, in one of the ways in `ways`:
  internal     500, in the service's own words; nothing was done
  unavailable  503
  throttled    ProvisionedThroughputExceeded, RequestThrottled, SlowDown …
  conflicting  a transaction met another one (of other operations: throttled)
  partial      half of a batch is done, the other half answered as failed (of other operations: throttled)
  hanging      no answer for `hang_s`, then the connection goes; nothing was done
  reset        the connection is reset; nothing was done
  lost         it is done, and the answer never comes
A service in `down` answers 503, or hangs, or resets, until it is taken out: an outage.

    python -m cloud.proxy PORT http://UPSTREAM:PORT

`PUT /_faults` sets `rate`, `seed`, `ways`, `hang_s`, `down`; `GET` shows them and what was counted; `DELETE` forgets
the counts.
"""

import asyncio
import collections
import json
import random
import socket
import struct
import sys
from dataclasses import asdict, dataclass, field
from urllib.parse import urlsplit

from . import partial, services, wire

WAYS = ("internal", "unavailable", "throttled", "conflicting", "partial", "hanging", "reset", "lost")
CONTROL = "/_faults"


@dataclass
class Settings:
    """What goes wrong; nothing at first."""

    rate: float = 0.0
    seed: int = 1
    ways: list = field(default_factory=lambda: list(WAYS))
    hang_s: float = 3.0
    down: list = field(default_factory=list)


class _Reset(Exception):
    """The client's connection is to be reset."""


class Proxy:
    """One upstream; one connection to it for each connection of a client."""

    def __init__(self, upstream):
        url = urlsplit(upstream)
        self.host, self.port = url.hostname, url.port
        self.settings = Settings()
        self.dice = random.Random(self.settings.seed)
        self.counts, self.faults = collections.Counter(), collections.Counter()

    async def serve(self, reader, writer):
        """A client's connection, to its end."""
        upstream = _Upstream(self.host, self.port)
        try:
            while (request := await wire.request(reader, writer)) is not None:
                if request.target == CONTROL:
                    writer.write(self._control(request))
                else:
                    writer.write(await self._answer(request, upstream))
                await writer.drain()
                if request.last:
                    break
        except _Reset:
            # Closing with a linger of zero sends RST.
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except (wire.Broken, OSError):
            pass
        finally:
            upstream.close()
            writer.close()

    def _control(self, request):
        if request.method == "PUT":
            self.settings = Settings(**json.loads(request.content))
            self.dice = random.Random(self.settings.seed)
        elif request.method == "DELETE":
            self.counts.clear()
            self.faults.clear()
        state = {**asdict(self.settings), "counts": self.counts, "faults": self.faults}
        return services.answer(200, json.dumps(state).encode(), "application/json")

    async def _answer(self, request, upstream):
        """The octets of an answer, or `_Reset`."""
        service, operation = services.operation(request)
        self.counts[f"{service}.{operation}"] += 1
        if service in self.settings.down:
            way = self.dice.choice(("internal", "unavailable", "reset", "hanging"))
            self.faults[f"down {service}"] += 1
        elif self.dice.random() < self.settings.rate:
            way = self.dice.choice(self.settings.ways)
            self.faults[way] += 1
        else:
            return (await upstream.ask(request)).octets
        return await self._spoil(way, service, operation, request, upstream)

    async def _spoil(self, way, service, operation, request, upstream):
        if way == "internal":
            return services.internal(service, request)
        if way == "unavailable":
            return services.unavailable(service, request)
        if way == "hanging":
            await asyncio.sleep(self.settings.hang_s)
            raise _Reset
        if way == "reset":
            raise _Reset
        if way == "lost":
            await upstream.ask(request)
            raise _Reset
        if way == "conflicting" and operation == "TransactWriteItems":
            return services.conflicting(len(json.loads(request.content)["TransactItems"]))
        if way == "partial" and (halved := partial.halve(operation, request)):
            smaller, complete = halved
            answer = await upstream.ask(smaller)
            return complete(answer).octets if answer.status == 200 else answer.octets
        return services.throttled(service, request)


class _Upstream:
    """The connection to the endpoint; opened when it is needed, and again when the endpoint has closed it."""

    def __init__(self, host, port):
        self.host, self.port = host, port
        self.reader = self.writer = None

    async def ask(self, request):
        if self.writer is None or self.reader.at_eof():
            self.close()
            self.reader, self.writer = await asyncio.open_connection(self.host, self.port, limit=wire.HEAD_MAX)
        self.writer.write(request.octets)
        answer = await wire.response(self.reader, request.method)
        if answer.last:
            self.close()
        return answer

    def close(self):
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


async def main(port, upstream):
    """Serves until it is ended."""
    server = await asyncio.start_server(Proxy(upstream).serve, "127.0.0.1", port, limit=wire.HEAD_MAX, backlog=512)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
