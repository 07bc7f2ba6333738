"""CPU time of processes and of whatever they start, however short-lived.

A cgroup where one may be made (v1's cpuacct or v2), else /proc: the living tree, and what its dead left to their
parents. Which of them was used is part of every result.
"""

import os
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def busy_s():
    """CPU seconds the whole machine has spent, idle and waiting for disks aside."""
    user, nice, system, _idle, _wait, irq, softirq = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8])
    return (user + nice + system + irq + softirq) / TICKS_PER_S


def _cgroup_parent():
    v1 = Path("/sys/fs/cgroup/cpuacct")
    if v1.is_dir() and os.access(v1, os.W_OK):
        return v1, "cpuacct.usage", "tasks", 1e9
    v2 = Path("/sys/fs/cgroup")
    if (v2 / "cgroup.controllers").exists() and os.access(v2, os.W_OK):
        return v2, "cpu.stat", "cgroup.procs", 1e6
    return None


# What the measured processes are preferred by where that may be asked for: the machine may have other work.
NICE = -15


def prefer(pid):
    """Puts a process and its session before the machine's other work, every measured one alike; whether it could."""
    try:
        os.setpriority(os.PRIO_PROCESS, pid, NICE)
        # With autogroups a nice value counts inside its session only, and a session has one of its own.
        group = Path(f"/proc/{pid}/autogroup")
        if group.exists():
            group.write_text(str(NICE))
        return True
    except OSError:
        return False


class Account:
    """One account; `join` is called in a child before it becomes the program."""

    def __init__(self, name):
        self.folder, self.pids = None, []
        self.how = "/proc"
        if parent := _cgroup_parent():
            folder, self._usage, self._members, self._unit = parent
            try:
                self.folder = folder / f"posthaste_bench_{name}_{os.getpid()}"
                self.folder.mkdir()
                self.how = "cgroup"
            except OSError:
                self.folder = None

    def join(self):
        if self.folder:
            (self.folder / self._members).write_text(str(os.getpid()))

    def watch(self, pid):
        """For accounts without a cgroup: the process whose tree counts."""
        self.pids.append(pid)

    def seconds(self):
        if self.folder:
            text = (self.folder / self._usage).read_text()
            value = text if self._usage == "cpuacct.usage" else text.split("usage_usec", 1)[1].split()[0]
            return int(value) / self._unit
        return sum(_tree_s(pid) for pid in self.pids)

    def close(self):
        if self.folder:
            try:
                self.folder.rmdir()
            except OSError:
                pass


def _tree_s(root):
    parents, times = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
            own, reaped = sum(map(int, fields[11:13])), sum(map(int, fields[13:15]))
            times[int(entry.name)] = (own + reaped) / TICKS_PER_S

    def below(pid):
        while pid > 1:
            if pid == root:
                return True
            pid = parents.get(pid, 0)
        return False

    return sum(seconds for pid, seconds in times.items() if below(pid))
