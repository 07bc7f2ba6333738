"""Fixtures, and the closing line. Run `make test`, or `pytest tests/e2e` with a built program."""

import os

import pytest

from harness.certificates import Authority
from harness.world import World

IN_CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.close()


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def sandbox(world):
    """The API of `posthaste dev` without a policy: everything goes to the sandbox."""
    return world.sandbox().api


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure shows the end of every server's log."""
    report = (yield).get_result()
    world = getattr(item, "funcargs", {}).get("world")
    if report.when == "call" and report.failed and world is not None:
        for server in world.servers:
            report.sections.append((f"{server.folder.name} said", server.tail()))


@pytest.fixture
def tell(record_property):
    """Says a measured fact in the summary, from whichever process the test ran in."""
    return lambda text: record_property("fact", text)


def pytest_terminal_summary(terminalreporter):
    for report in terminalreporter.stats.get("passed", []) + terminalreporter.stats.get("failed", []):
        for name, text in report.user_properties:
            if name == "fact":
                terminalreporter.write_line(f"measured: {text}")


def pytest_sessionfinish(session, exitstatus):
    """Where everything can be installed, a test that was skipped is a test that failed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if IN_CI and reporter and reporter.stats.get("skipped") and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput"):
        return
    counts = {k: len(reporter.stats.get(k, [])) for k in ("passed", "failed", "error", "skipped")}
    print(f"\ne2e: {counts['passed']} passed, {counts['failed'] + counts['error']} failed, {counts['skipped']} skipped")
