"""An SMTP receiver that does as a test says, and remembers what it saw.

Every stage has a hook: a text, a list of texts (one an attempt, the last repeats), or a function of the session
and the argument. What a hook gives is the reply; `DROP` closes the connection instead, `SILENT` never answers,
`After(seconds, reply)` answers late, `Last(reply)` answers and closes. `None` is the ordinary reply.
"""

import socket
import ssl
import threading
import time
from dataclasses import dataclass, field

DROP = object()
SILENT = object()

EXTENSIONS = ("PIPELINING", "SIZE 50000000", "8BITMIME", "ENHANCEDSTATUSCODES", "SMTPUTF8")
# A peer that says nothing for so long has been forgotten; no thread outlives its test.
IDLE_S = 60.0


@dataclass
class After:
    """A reply that comes late."""

    seconds: float
    reply: object = None


@dataclass
class Last:
    """A reply, and the connection is closed behind it."""

    reply: str


@dataclass
class Message:
    """One message as it came."""

    mail_from: str
    mail_params: list
    rcpt_to: list
    wire: bytes  # between DATA's 354 and the final CRLF.CRLF, dots still stuffed
    data: bytes  # the same, unstuffed
    tls: str | None
    session: int
    at: float

    def header(self, name):
        """The first field of that name, unfolded; None without one."""
        head = self.data.split(b"\r\n\r\n", 1)[0]
        value = None
        for line in head.split(b"\r\n"):
            if value is not None:
                if line[:1] in (b" ", b"\t"):
                    value += b" " + line.strip()
                    continue
                break
            if line.lower().startswith(name.lower().encode() + b":"):
                value = line.split(b":", 1)[1].strip()
        return None if value is None else value.decode("utf-8", "surrogateescape")

    @property
    def body(self):
        return self.data.split(b"\r\n\r\n", 1)[1]


@dataclass
class Session:
    """One connection."""

    n: int
    receiver: "Receiver"
    commands: list = field(default_factory=list)
    helo: str | None = None
    esmtp: bool = False
    tls: str | None = None
    bare_lf: bool = False
    auth: str | None = None
    messages: int = 0
    reset: bool = False
    mail_from: str | None = None
    mail_params: list = field(default_factory=list)
    rcpt_to: list = field(default_factory=list)


class _Closed(Exception):
    pass


class Receiver:
    """Listens at once; `close` ends it."""

    def __init__(self, ip, port=0, *, name="mx.test", extensions=EXTENSIONS, starttls=None, context=None,
                 connect=None, ehlo=None, helo=None, mail=None, rcpt=None, data=None, dot=None, rset=None, auth=None,
                 drop_body_after=None, sloppy=False):
        self.name = name
        self.extensions = list(extensions)
        self.starttls = starttls  # None | "offer" | "broken" | "refuse" | "inject"
        self.context = context
        self.hooks = {"connect": connect, "ehlo": ehlo, "helo": helo, "mail": mail, "rcpt": rcpt, "data": data,
                      "dot": dot, "rset": rset, "auth": auth}
        self.drop_body_after = drop_body_after
        self.sloppy = sloppy
        self.sessions = []
        self.messages = []
        self.taken = []  # messages answered with 2xx
        self._counts = {}
        self._lock = threading.Lock()
        self._open = set()
        self._socket = socket.create_server((ip, port), backlog=512,
                                            family=socket.AF_INET6 if ":" in ip else socket.AF_INET)
        self.ip, self.port = self._socket.getsockname()[:2]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        # shutdown wakes the thread in accept; close alone leaves the port listening until it returns.
        for stop in (lambda: self._socket.shutdown(socket.SHUT_RDWR), self._socket.close):
            try:
                stop()
            except OSError:
                pass
        with self._lock:
            still = list(self._open)
        for s in still:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def commands(self, verb):
        """Every command line with that verb, over all sessions."""
        return [c for s in list(self.sessions) for c in list(s.commands) if c.upper().startswith(verb)]

    def _accept(self):
        while True:
            try:
                sock, _ = self._socket.accept()
            except OSError:
                return
            with self._lock:
                session = Session(len(self.sessions) + 1, self)
                self.sessions.append(session)
                self._open.add(sock)
            threading.Thread(target=self._run, args=(sock, session), daemon=True).start()

    def _run(self, sock, session):
        wire = _Wire(sock)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(IDLE_S)
            self._say(wire, session, "connect", None, f"220 {self.name} ESMTP")
            while True:
                line, bare = wire.line()
                session.bare_lf |= bare
                text = line.decode("utf-8", "surrogateescape")
                session.commands.append(text)
                self._command(wire, session, text)
        except (_Closed, OSError, ssl.SSLError):
            pass
        finally:
            with self._lock:
                self._open.discard(sock)
            wire.close()

    def _command(self, wire, session, text):
        verb, _, rest = text.partition(" ")
        verb = verb.upper()
        if verb == "EHLO":
            session.helo, session.esmtp = rest, True
            extensions = list(self.extensions)
            if self.starttls and session.tls is None:
                extensions.append("STARTTLS")
            lines = [self.name, *extensions]
            self._say(wire, session, "ehlo", rest, "\n".join(f"250 {x}" for x in lines))
        elif verb == "HELO":
            session.helo = rest
            self._say(wire, session, "helo", rest, f"250 {self.name}")
        elif verb == "STARTTLS":
            self._start_tls(wire, session)
        elif verb == "MAIL":
            path, *params = rest.partition(":")[2].split()
            session.mail_from, session.rcpt_to = None, []
            reply = self._say(wire, session, "mail", path, "250 2.1.0 ok")
            if reply.startswith("2"):
                session.mail_from, session.mail_params = path[1:-1], params
        elif verb == "RCPT" and session.mail_from is None:
            wire.reply("503 5.5.1 MAIL first")
        elif verb == "RCPT":
            path = rest.partition(":")[2].strip()
            path = path[: path.rindex(">") + 1]
            reply = self._say(wire, session, "rcpt", path[1:-1], "250 2.1.5 ok")
            if reply.startswith("2"):
                session.rcpt_to.append(path[1:-1])
        elif verb == "DATA":
            if not session.rcpt_to:
                wire.reply("554 5.5.1 no valid recipients")
                return
            reply = self._say(wire, session, "data", None, "354 go ahead")
            if reply.startswith("354"):
                self._body(wire, session)
        elif verb == "RSET":
            session.mail_from, session.rcpt_to = None, []
            self._say(wire, session, "rset", None, "250 2.0.0 ok")
        elif verb == "AUTH":
            session.auth = rest
            self._say(wire, session, "auth", rest, "235 2.7.0 ok")
        elif verb == "NOOP":
            wire.reply("250 2.0.0 ok")
        elif verb == "QUIT":
            wire.reply("221 2.0.0 bye")
            raise _Closed
        else:
            wire.reply("500 5.5.2 what")

    def _body(self, wire, session):
        raw = wire.body(self.drop_body_after, self.sloppy)
        data = raw[1:] if raw.startswith(b".") else raw
        data = data.replace(b"\r\n.", b"\r\n")
        message = Message(session.mail_from, session.mail_params, list(session.rcpt_to), raw, data, session.tls,
                          session.n, time.time())
        session.messages += 1
        with self._lock:
            self.messages.append(message)
        session.mail_from, session.rcpt_to = None, []
        self._say(wire, session, "dot", message, f"250 2.0.0 taken as {len(self.messages)}",
                  before=lambda reply: reply[:1] in ("2", b"2") and self._take(message))

    def _take(self, message):
        with self._lock:
            self.taken.append(message)

    def _start_tls(self, wire, session):
        if self.starttls == "refuse":
            wire.reply("454 4.7.0 not now")
        elif self.starttls == "broken":
            wire.reply("220 2.0.0 go")
            wire.more()  # the handshake begins; what came sooner would be an injection
            wire.send(b"this is not a handshake\r\n" * 4)
            raise _Closed
        elif self.starttls == "inject":
            wire.send(b"220 2.0.0 go\r\n250 2.0.0 injected\r\n")
            wire.wrap(self.context)
            session.tls = wire.tls_version()
        elif self.starttls == "offer":
            wire.reply("220 2.0.0 go")
            wire.wrap(self.context)
            session.tls = wire.tls_version()
            session.esmtp, session.helo = False, None
        else:
            wire.reply("502 5.5.1 not offered")

    def _say(self, wire, session, stage, argument, ordinary, before=None):
        """Answers as the hook of the stage says; gives the reply that went out ('' for none)."""
        hook = self.hooks[stage]
        with self._lock:
            count = self._counts.get(stage, 0)
            self._counts[stage] = count + 1
        reply = hook
        if isinstance(hook, (list, tuple)):
            reply = hook[min(count, len(hook) - 1)]
        elif callable(hook):
            reply = hook(session, argument)
        if isinstance(reply, After):
            time.sleep(reply.seconds)
            reply = reply.reply
        if reply is DROP:
            raise _Closed
        if reply is SILENT:
            wire.wait_for_close()
            raise _Closed
        if reply is None:
            reply = ordinary
        last = isinstance(reply, Last)
        if last:
            reply = reply.reply
        if before:
            before(reply)
        if isinstance(reply, bytes):
            wire.send(reply)
            return reply.decode("latin-1")
        wire.reply(reply)
        if last or reply.startswith("421"):
            raise _Closed
        return reply


class _Wire:
    """Octets of one connection."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = b""

    def close(self):
        # A plain close with octets unread would reset the connection and could eat our last reply.
        try:
            self.sock.shutdown(socket.SHUT_WR)
            self.sock.settimeout(0.2)
            while self.sock.recv(65536):
                pass
        except OSError:
            pass
        self.sock.close()

    def send(self, octets):
        self.sock.sendall(octets)

    def reply(self, text):
        lines = text.split("\n")
        for i, line in enumerate(lines):
            if i + 1 < len(lines) and line[3:4] == " ":
                lines[i] = line[:3] + "-" + line[4:]
        self.send("".join(line + "\r\n" for line in lines).encode("utf-8", "surrogateescape"))

    def more(self):
        got = self.sock.recv(65536)
        if not got:
            raise _Closed
        self.buffer += got

    def line(self):
        while b"\n" not in self.buffer:
            self.more()
        line, self.buffer = self.buffer.split(b"\n", 1)
        bare = not line.endswith(b"\r")
        return line.rstrip(b"\r"), bare

    def body(self, drop_after, sloppy):
        ends = [b"\r\n.\r\n"]
        if sloppy:
            ends += [b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n", b"\r.\r\n"]
        scanned = 0
        got = b"\r\n" + self.buffer  # a message may be empty: its dot comes first
        while True:
            found = [(at, end) for end in ends if (at := got.find(end, max(scanned - 5, 0))) >= 0]
            if found:
                at, end = min(found)
                self.buffer = got[at + len(end):]
                return got[2: at + 2] if at else b""
            if drop_after is not None and len(got) - 2 >= drop_after:
                # An abrupt end, as of a crashed peer, at once: one that drains first may see the dot after all.
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                self.sock.close()
                raise _Closed
            scanned = len(got)
            more = self.sock.recv(262144)
            if not more:
                raise _Closed
            got += more

    def wait_for_close(self):
        try:
            while self.sock.recv(65536):
                pass
        except OSError:
            pass

    def wrap(self, context):
        self.sock = context.wrap_socket(self.sock, server_side=True)
        self.buffer = b""

    def tls_version(self):
        return self.sock.version()
