"""What no compiler checks: lengths of files and of functions, and words that promise nothing.

Long files and functions are named, not failed: past about 400 and 70 lines there is usually a part with a name of
its own inside. Names that say nothing and code that is not there yet do fail.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
NAMES_THAT_SAY_NOTHING = {"util", "utils", "helper", "helpers", "manager", "common", "misc"}
FUNCTION = re.compile(r"^(\s*)(?:pub(?:\([a-z]+\))? )?(?:const )?(?:async )?fn (\w+)")


def functions(lines):
    """Names and lengths; a function ends where a brace stands in its own column."""
    for start, line in enumerate(lines):
        if found := FUNCTION.match(line):
            end = found.group(1) + "}"
            for length, later in enumerate(lines[start:], 1):
                if later.rstrip() == end or (length == 1 and later.rstrip().endswith(("}", ";"))):
                    yield found.group(2), length
                    break


def main():
    listed = subprocess.run(["git", "ls-files", "*.rs", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    failed = False
    for name in listed.stdout.split():
        path = ROOT / name
        if not path.exists():
            continue
        lines = path.read_text().splitlines()
        parts = {p.removesuffix(".rs").removesuffix(".py") for p in Path(name).parts}
        if bad := parts & NAMES_THAT_SAY_NOTHING:
            print(f"{name}: a module called {', '.join(bad)} says nothing", file=sys.stderr)
            failed = True
        if len(lines) > FILE_LINES_MAX:
            print(f"note: {name} has {len(lines)} lines")
        if name.endswith(".rs"):
            for function, length in functions(lines):
                if length > FUNCTION_LINES_MAX:
                    print(f"note: {name}: fn {function} has {length} lines")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
