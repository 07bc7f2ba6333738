"""A private Postfix: configuration, queue and mailboxes under one folder, nothing of the system's touched."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from .wait import until

MASTER = """\
{listen} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

COMMON = """\
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
meta_directory = /etc/postfix
mail_owner = postfix
setgid_group = postdrop
maillog_file = {folder}/log/mail.log
maillog_file_prefixes = /
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
smtpd_peername_lookup = no
smtp_dns_support_level = disabled
smtp_host_lookup = native
biff = no
"""


def why_not():
    """Why Postfix cannot be run here; None when it can."""
    if not shutil.which("postfix"):
        return "Postfix is not installed (make install-test-deps)"
    if os.geteuid() != 0:
        return "Postfix's master needs root"
    return None


class Postfix:
    """`settings` are lines of main.cf beside the common ones."""

    def __init__(self, folder, ip, port, settings, before_exec=None):
        self.before_exec = before_exec
        self.folder = Path(folder)
        for part in ("etc", "spool", "data", "log", "mail"):
            (self.folder / part).mkdir(parents=True)
        owner = pwd.getpwnam("postfix")
        os.chown(self.folder / "data", owner.pw_uid, owner.pw_gid)
        os.chown(self.folder / "mail", owner.pw_uid, owner.pw_gid)
        # Postfix's own users must be able to walk to what is theirs.
        for above in [self.folder, *self.folder.parents]:
            if above.stat().st_uid == os.geteuid() and str(above) not in ("/", "/tmp"):
                above.chmod(above.stat().st_mode | 0o011)
        values = {"folder": self.folder, "ip": ip, "uid": owner.pw_uid, "gid": owner.pw_gid}
        (self.folder / "etc/main.cf").write_text((COMMON + settings).format(**values))
        (self.folder / "etc/master.cf").write_text(MASTER.format(listen=f"{ip}:{port}"))
        self.address = (ip, port)

    def start(self):
        done = subprocess.run(["postfix", "-c", self.folder / "etc", "start"], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=60, check=False, preexec_fn=self.before_exec)
        assert done.returncode == 0, done.stderr + self.log()
        self.master = int((self.folder / "spool/pid/master.pid").read_text())
        until(self._listens, lambda: f"Postfix listens; {self.log()}")
        return self

    def _listens(self):
        try:
            socket.create_connection(self.address, 1).close()
            return True
        except OSError:
            return False

    def log(self):
        path = self.folder / "log/mail.log"
        return path.read_text() if path.exists() else ""

    def stop(self):
        """Its master, and with it what that started."""
        try:
            os.kill(self.master, signal.SIGTERM)
            for _ in range(100):
                os.kill(self.master, 0)
                time.sleep(0.05)
        except (ProcessLookupError, AttributeError):
            pass

    def mailbox(self, name):
        """What stands in a Maildir, each as octets."""
        new = self.folder / "mail" / name / "new"
        return [p.read_bytes() for p in sorted(new.iterdir())] if new.exists() else []
