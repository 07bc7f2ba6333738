"""Where messages end: smtp-sink, counting; and a line of 50 ms in front of it."""

import asyncio
import os
import re
import socket
import statistics
import subprocess
import threading
import time


def free_port(ip="127.0.0.1"):
    with socket.create_server((ip, 0)) as probe:
        return probe.getsockname()[1]


def wait(condition, what, limit_s, every_s=0.005):
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {limit_s} s")
        time.sleep(every_s)


def listens(ip, port):
    try:
        socket.create_connection((ip, port), 1).close()
        return True
    except OSError:
        return False


class Sink:
    """smtp-sink; `messages` is how many it has taken, `at[n]` when it had taken so many."""

    def __init__(self, account=None, ip="127.0.0.1", port=None):
        self.ip, self.port = ip, port or free_port(ip)
        command = ["smtp-sink", "-c", *(["-u", "nobody"] if os.geteuid() == 0 else []), f"{ip}:{self.port}", "1024"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                        preexec_fn=account.join if account else None)
        if account:
            account.watch(self.process.pid)
        self.messages, self.first_at, self.last_at = 0, None, None
        threading.Thread(target=self._count, daemon=True).start()
        wait(lambda: listens(ip, self.port), "smtp-sink listens", 10)

    def _count(self):
        while octets := os.read(self.process.stdout.fileno(), 65536):
            counted = re.findall(rb"mesg=\s*(\d+)", octets)
            if counted and int(counted[-1]) > self.messages:
                self.messages, self.last_at = int(counted[-1]), time.monotonic()
                self.first_at = self.first_at or self.last_at

    def close(self):
        self.process.terminate()
        self.process.wait(10)


class Latency:
    """A TCP line to somewhere that takes `one_way_s` each way, however much is on it."""

    def __init__(self, target, one_way_s, ip="127.0.0.1", port=None):
        self.ip, self.port = ip, port or free_port(ip)
        self.connections = 0
        self._target, self._one_way_s = target, one_way_s
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        wait(lambda: listens(self.ip, self.port), "the slow line listens", 10)
        wait(lambda: self.connections == 1, "the slow line answers", 10)
        self.connections = 0

    def _run(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(asyncio.start_server(self._serve, self.ip, self.port))
        self._loop.run_forever()
        for task in (tasks := asyncio.all_tasks(self._loop)):
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader, writer):
        self.connections += 1
        try:
            there_reader, there_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        for w in (writer, there_writer):
            w.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await asyncio.gather(self._carry(reader, there_writer), self._carry(there_reader, writer))
        except asyncio.CancelledError:
            pass  # the line is closed

    async def _carry(self, reader, writer):
        """Each piece leaves when its own time has come, not when the one before it has been waited for."""
        line = asyncio.Queue()

        async def deliver():
            while True:
                due, octets = await line.get()
                await asyncio.sleep(due - self._loop.time())
                if not octets:
                    writer.close()
                    return
                writer.write(octets)

        delivering = asyncio.ensure_future(deliver())
        try:
            while octets := await reader.read(65536):
                line.put_nowait((self._loop.time() + self._one_way_s, octets))
        except OSError:
            pass
        line.put_nowait((self._loop.time() + self._one_way_s, b""))
        try:
            await delivering
        except OSError:
            pass

    def round_trip_s(self, times=20):
        """What a command and its answer take over this line, as it is: timers and scheduling add to its two ways."""
        with socket.create_connection((self.ip, self.port), 10) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.recv(1000)
            took = []
            for _ in range(times):
                began = time.monotonic()
                sock.sendall(b"NOOP\r\n")
                sock.recv(1000)
                took.append(time.monotonic() - began)
        self.connections -= 1
        return statistics.median(took)

    def close(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
