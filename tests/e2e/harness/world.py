"""A small internet of a test's own: a name server, receivers on 127.0.0.x at one port, and Posthaste between."""

import itertools
import socket

from .names import Names
from .program import Server
from .receiver import Receiver

POLICY = """
[mta]
hostname = "mta.posthaste.example"
[dns]
servers = ["{dns}"]
timeout = "{dns_timeout}"
[smtp]
port = {port}
allow_private_addresses = {private}
{smtp}
[tls]
dane = false
mta_sts = false
{tls}
[retry]
schedule = {schedule}
jitter = 0.0
throttle = ["1s"]
ambiguous_after = "2s"
expire_after = "4d"
[[shaping]]
match = "default"
rate = "unlimited"
connections = 10
{more}
"""


class World:
    """Everything in it ends with `close`."""

    def __init__(self, folder):
        self.folder = folder
        self.names = Names()
        self.servers, self.receivers = [], []
        self._hosts = itertools.count(2)
        self.port = _free_port()

    def close(self):
        for server in self.servers:
            if server.process is not None:
                server.kill()
        for receiver in self.receivers:
            receiver.close()
        self.names.close()

    def address(self):
        """A loopback address that nobody in this world has yet."""
        return f"127.0.0.{next(self._hosts)}"

    def receiver(self, host=None, domain=None, preference=10, ip=None, **behaviour):
        """A receiver, its host's address, and a domain's MX that points to it."""
        ip = ip or self.address()
        receiver = Receiver(ip, self.port, name=host or "mx.test", **behaviour)
        self.receivers.append(receiver)
        if host:
            self.names.a(host, ip)
        if domain:
            self.names.mx(domain, (preference, host))
        return receiver

    def dead_host(self, host):
        """A host with an address where nobody listens."""
        self.names.a(host, self.address())

    def policy(self, *, schedule='["1s"]', private="true", dns_timeout="5s", smtp="", tls="", more=""):
        return POLICY.format(dns=self.names.address, port=self.port, schedule=schedule, private=private,
                             dns_timeout=dns_timeout, smtp=smtp, tls=tls, more=more)

    def server(self, policy=None, start=True, variables=None, **options):
        """`posthaste dev` in this world; `options` shape its policy."""
        folder = self.folder / f"server{len(self.servers) + 1}"
        folder.mkdir()
        server = Server(folder, policy if policy is not None else self.policy(**options), variables=variables)
        self.servers.append(server)
        return server.start() if start else server

    def sandbox(self, arguments=()):
        """`posthaste dev` without a policy."""
        folder = self.folder / f"server{len(self.servers) + 1}"
        folder.mkdir()
        server = Server(folder, None, arguments=arguments)
        self.servers.append(server)
        return server.start()


def _free_port():
    """A port that is free on every loopback address."""
    with socket.create_server(("0.0.0.0", 0)) as probe:
        return probe.getsockname()[1]
