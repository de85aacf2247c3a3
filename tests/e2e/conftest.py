# SPDX-License-Identifier: LGPL-2.1-or-later
"""conftest.py - fixtures: certificates once, a migration for each test, logs when one fails."""
import contextlib
import signal
import tempfile

import pytest

from harness import Migration
from hugepages import Pool
from pki import Pki
from processes import SLOWER, Late

SECONDS_PER_TEST = 180 * SLOWER


@contextlib.contextmanager
def time_limit(item):
    """Every wait has its deadline; this is for a test that waits in a way nobody thought of.  One that is long
    by its nature, and longer on a machine that is busy, has the marker `patience`: so many times as long."""
    patience = item.get_closest_marker("patience")
    limit = SECONDS_PER_TEST * (patience.args[0] if patience else 1)

    def too_long(_signal, _frame):
        raise Late(f"the test took more than {limit} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(limit)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# On within a step of a test only: raised between two of them, Late would be the end of the whole run.
@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_setup(item):
    with time_limit(item):
        yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    with time_limit(item):
        yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_teardown(item):
    with time_limit(item):
        yield


@pytest.fixture(autouse=True)
def pool():
    """Set up before all that takes huge pages, so that it is left when they are back."""
    yield
    Pool.leave()


@pytest.fixture
def folder():
    """Short, since a socket's path must fit 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="pf-e2e-") as path:
        yield path


@pytest.fixture(scope="session")
def pki():
    with tempfile.TemporaryDirectory(prefix="pf-pki-") as path:
        yield Pki(path + "/ours")


@pytest.fixture(scope="session")
def foreign_pki():
    """The same names by another authority."""
    with tempfile.TemporaryDirectory(prefix="pf-pki-") as path:
        yield Pki(path + "/theirs")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if call.when == "call":
        report = outcome.get_result()
        migration = item.funcargs.get("migration")
        if report.failed and migration:
            report.sections.append(("what the processes said", migration.logs()))


@pytest.fixture
def migration(folder, pki):
    it = Migration(folder, pki)
    yield it
    it.end()
