"""A name server with a zone per test, over UDP and TCP."""

import ipaddress
import socket
import socketserver
import threading
import time

from dnslib import AAAA, CNAME, MX, PTR, QTYPE, RCODE, RR, TXT, A, DNSRecord

# Short, so that a test that changes its zone is believed soon.
TTL_S = 1


class Names:
    """Names it does not know do not exist."""

    def __init__(self, ip="127.0.0.1"):
        self.records = {}
        self.texts = {}  # TXT records whole, by name
        self.failing = {}  # (name, type or None) -> [code or None for silence, times left or None for ever]
        self.queries = []
        self.latency_s = 0  # of each answer
        self._lock = threading.Lock()
        names = self

        class OverUdp(socketserver.BaseRequestHandler):
            def handle(self):
                octets, sock = self.request
                reply = names.answer(octets)
                if reply is not None:
                    packed = reply.pack()
                    if len(packed) > 1232:
                        reply.rr, reply.header.tc = [], 1
                        packed = reply.pack()
                    if names.latency_s:
                        threading.Timer(names.latency_s, sock.sendto, (packed, self.client_address)).start()
                    else:
                        sock.sendto(packed, self.client_address)

        class OverTcp(socketserver.StreamRequestHandler):
            timeout = 10

            def handle(self):
                while head := self.rfile.read(2):
                    reply = names.answer(self.rfile.read(int.from_bytes(head, "big")))
                    if reply is None:
                        return
                    packed = reply.pack()
                    time.sleep(names.latency_s)
                    self.wfile.write(len(packed).to_bytes(2, "big") + packed)

        class Tcp(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        for _ in range(20):
            self._udp = socketserver.UDPServer((ip, 0), OverUdp)
            self.port = self._udp.server_address[1]
            try:
                self._tcp = Tcp((ip, self.port), OverTcp)
                break
            except OSError:
                self._udp.server_close()
        else:
            raise RuntimeError("no port is free for both UDP and TCP")
        self._udp.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.address = f"{ip}:{self.port}"
        for server in (self._udp, self._tcp):
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self):
        for server in (self._udp, self._tcp):
            server.shutdown()
            server.server_close()

    def add(self, name, data):
        self.records.setdefault(name.lower(), []).append(data)
        return self

    def a(self, name, *addresses):
        for address in addresses:
            self.add(name, A(address))
        return self

    def aaaa(self, name, address):
        return self.add(name, AAAA(address))

    def mx(self, name, *hosts):
        """Each `(preference, host)`."""
        for preference, host in hosts:
            self.add(name, MX(host, preference))
        return self

    def null_mx(self, name):
        return self.add(name, MX(".", 0))

    def cname(self, name, target):
        return self.add(name, CNAME(target))

    def txt(self, name, text):
        """A text, as strings of at most 255 octets."""
        self.texts[name.lower()] = text
        octets = text.encode()
        return self.add(name, TXT([octets[at:at + 255] for at in range(0, len(octets), 255)] or [b""]))

    def strings(self, name, strings):
        """A text of these strings, as they are."""
        return self.add(name, TXT([string.encode("utf-8", "surrogateescape") for string in strings]))

    def pointer(self, name, target):
        return self.add(name, PTR(target))

    def ptr(self, ip, name):
        return self.add(ipaddress.ip_address(ip).reverse_pointer, PTR(name))

    def fail(self, name, code="SERVFAIL", kind=None, times=None):
        """Answers with that code, `times` times or for ever; `code=None` says nothing at all."""
        self.failing[(name.lower(), kind)] = [code, times]
        return self

    def asked(self, name, kind=None):
        return sum(1 for n, k in list(self.queries) if n == name.lower() and kind in (None, k))

    def answer(self, octets):
        request = DNSRecord.parse(octets)
        name = str(request.q.qname).rstrip(".").lower()
        kind = QTYPE[request.q.qtype]
        reply = request.reply(ra=1)
        with self._lock:
            self.queries.append((name, kind))
            for key in ((name, kind), (name, None)):
                rule = self.failing.get(key)
                if rule and (rule[1] is None or rule[1] > 0):
                    if rule[1] is not None:
                        rule[1] -= 1
                    if rule[0] is None:
                        return None
                    reply.header.rcode = getattr(RCODE, rule[0])
                    return reply
        for _ in range(8):
            here = self.records.get(name, [])
            alias = next((r for r in here if type(r) is CNAME), None)
            if alias is None or kind == "CNAME":
                break
            reply.add_answer(RR(name, QTYPE.CNAME, ttl=TTL_S, rdata=alias))
            name = str(alias.label).rstrip(".").lower()
        here = self.records.get(name, [])
        if not here and not any(known.endswith("." + name) for known in self.records):
            reply.header.rcode = RCODE.NXDOMAIN
        for data in here:
            if type(data).__name__ == kind:
                reply.add_answer(RR(name, request.q.qtype, ttl=TTL_S, rdata=data))
        return reply
