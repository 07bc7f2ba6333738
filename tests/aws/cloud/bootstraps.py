"""The functions' programs, as the zip files that are deployed."""

import io
import os
import subprocess
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def stripped(program):
    """The program without what only a debugger reads: most of a dev build."""
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run(["strip", "--strip-all", "-o", out.name, program], check=True)
        return Path(out.name).read_bytes()


class Bootstraps:
    """Programs built into `folder`: `POSTHASTE_FUNCTIONS`, else the dev profile's."""

    def __init__(self, folder=None):
        target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        self.folder = Path(folder or os.environ.get("POSTHASTE_FUNCTIONS") or target / "debug")

    def zipped(self, name, effort=1):
        """The zip of one program. Little effort will do: it travels over loopback only."""
        program = self.folder / name
        assert program.exists(), f"no program {program}: run `cargo build --workspace`"
        entry = zipfile.ZipInfo("bootstrap", date_time=(2020, 1, 1, 0, 0, 0))
        entry.external_attr = 0o755 << 16
        entry.compress_type = zipfile.ZIP_DEFLATED
        octets = io.BytesIO()
        with zipfile.ZipFile(octets, "w") as archive:
            archive.writestr(entry, stripped(program), compresslevel=effort)
        return octets.getvalue()
