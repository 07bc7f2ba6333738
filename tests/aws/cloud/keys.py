"""API keys of a stack. Nothing is open, so the first, the operator's, is made by whoever may write to the table; that
one makes the others.
"""

import json
import os
import subprocess

from harness.program import binary

from .deployment import REGION

# Longest a command may take on a loaded machine.
LIMIT_S = 60


def operators_key(stack):
    """Makes the first key by the command that the deployment page names."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("POSTHASTE_", "AWS_"))}
    credentials = {"AWS_ENDPOINT_URL": stack.endpoint, "AWS_REGION": REGION, "AWS_ACCESS_KEY_ID": "test",
                   "AWS_SECRET_ACCESS_KEY": "test"}
    done = subprocess.run([binary(), "api-key", "create", "--scope", "operator", "--table", stack.table, "--json"],
                          env={**kept, **credentials}, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done
    return json.loads(done.stdout)["key"]


def tenants_key(operator, tenant, scopes):
    """Has the operator make a key of that tenant's."""
    asked = {"tenant": tenant, "scopes": list(scopes), "name": "tests"}
    return operator.post("/v1/api-keys", asked).expect(201).json["key"]
