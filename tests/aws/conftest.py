"""Fixtures, and the closing line. Run `make test-aws`, or `tests/aws/run` against an endpoint that is already there.

Each test process has an emulator, a proxy before it and a deployed stack of its own, which its tests share: each
test uses domains and tags that no other uses.
"""

import os
import uuid

import pytest

from cloud.bootstraps import Bootstraps
from cloud.world import World

IN_CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")


def pytest_addoption(parser):
    parser.addoption("--endpoint", help="an AWS that is already there, such as http://127.0.0.1:4566")
    parser.addoption("--reachable-at", help="where functions of that AWS reach this machine (default 127.0.0.x)")


# What takes longest begins first, each in a process of its own.
LONGEST = ["test_faults.py", "test_kill.py", "test_outage.py"]


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def stack_world(tmp_path_factory, pytestconfig):
    world = World(tmp_path_factory.mktemp("aws"), Bootstraps(), pytestconfig.getoption("--endpoint"),
                  pytestconfig.getoption("--reachable-at"))
    try:
        yield world.start()
    finally:
        world.close()


@pytest.fixture
def world(stack_world):
    """The deployed stack; a test's receivers end with it."""
    before = len(stack_world.receivers)
    yield stack_world
    for receiver in stack_world.receivers[before:]:
        receiver.close()


@pytest.fixture
def own_world(world):
    """The stack on an emulator of ours: what kills functions or spoils requests cannot do so elsewhere."""
    if world.emulator is None:
        pytest.skip("needs the emulator as a child process")
    return world


@pytest.fixture
def case():
    """A word that no other test has."""
    return uuid.uuid4().hex[:12]


@pytest.fixture
def tell(record_property):
    """Says a measured fact in the summary, from whichever process the test ran in."""
    return lambda text: record_property("fact", text)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure shows the ends of all logs."""
    report = (yield).get_result()
    world = getattr(item, "funcargs", {}).get("world")
    if report.when == "call" and report.failed and world is not None and world.stack is not None:
        report.sections.append(("functions said", world.stack.everything_said()))
        if world.emulator is not None:
            report.sections.append(("the emulator said", world.emulator.tail()))


def pytest_terminal_summary(terminalreporter):
    for report in terminalreporter.stats.get("passed", []) + terminalreporter.stats.get("failed", []):
        for name, text in report.user_properties:
            if name == "fact":
                terminalreporter.write_line(f"measured: {text}")


def pytest_sessionfinish(session, exitstatus):
    """On the emulator everything can run: there, in CI, a test that was skipped is a test that failed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    ours = not session.config.getoption("--endpoint")
    if IN_CI and ours and reporter and reporter.stats.get("skipped") and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput"):
        return
    counts = {k: len(reporter.stats.get(k, [])) for k in ("passed", "failed", "error", "skipped")}
    print(f"\naws: {counts['passed']} passed, {counts['failed'] + counts['error']} failed, {counts['skipped']} skipped")
