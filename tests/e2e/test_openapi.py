"""`openapi.yaml` is true: a stranger drives the API from it and finds no status it does not name and no 500."""

import json
import subprocess
import sys
from pathlib import Path

import yaml

from harness.program import ROOT

# One worker: what makes its cases keeps the source of lambdas in a cache that two threads break (a KeyError of its own).
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"

# It has no way to write a body that can only be `message/rfc822`.
UNWRITABLE = "takeReport"


def test_the_description_is_what_is_served(sandbox):
    described = yaml.safe_load((ROOT / "openapi.yaml").read_text())
    assert sandbox.get("/openapi.json").expect(200).json == json.loads(json.dumps(described, default=str))


def test_no_undocumented_answer_and_no_500(sandbox, tmp_path):
    tool = Path(sys.executable).with_name("schemathesis")
    done = subprocess.run(
        [tool, "run", ROOT / "openapi.yaml", "--url", sandbox.url, "--checks", CHECKS, "--phases", "examples,coverage,fuzzing",
         "--max-examples", "12", "--seed", "7", "--generation-deterministic", "--workers", "1", "--no-color",
         "--request-timeout", "20", "--exclude-operation-id", UNWRITABLE],
        capture_output=True, text=True, timeout=200, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout[-12000:] + done.stderr[-2000:]
    sandbox.get("/healthz").expect(200)
