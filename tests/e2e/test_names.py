# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_names.py - --connect with a name, and a name server that is gone when it is needed.

A name that led to the destination once is no question while its guest waits.
"""
import time

import pytest

from names import NameServer
from netfault import Network, two_hosts
from pki import DESTINATION_NAME

AT_ONCE = 3  # seconds; a question that nobody answers takes ten, resolv.conf(5)


@pytest.fixture
def hosts(folder, migration):
    network = migration.own(Network(folder))
    two_hosts(network)
    yield network


@pytest.fixture
def server(folder, hosts):
    it = NameServer(folder, hosts, "a", "127.0.0.1", "192.0.2.2")
    yield it
    it.end()


def start_serving(migration, hosts, server, *more):
    """The guest runs at the destination, and most of it is still at the source."""
    migration.start_destination(listen="192.0.2.2:0", prefix=hosts.prefix("b"))
    port = migration.address.rpartition(":")[2]
    migration.start_source(
        prefix=[*hosts.prefix("a"), *server.prefix()], peer_name=DESTINATION_NAME,
        connect=[f"{host}:{port}" for host in (DESTINATION_NAME, *more)], max_bandwidth=1 << 20).open()
    migration.start_guest("source", "64M", 1).wait_word("running")
    migration.start_guest("destination", "64M", 1)
    migration.wait_state("active")
    migration.source.control.command("switchover")
    migration.wait_state("postcopy-active")
    assert server.asked > 0


def finish(migration):
    migration.source.control.command("set-parameters", {"max-bandwidth": 0})
    migration.destination_guest.wait_word("complete")
    assert (migration.source.wait(), migration.destination.wait()) == (0, 0)
    assert migration.destination_guest.finish()["verdict"].startswith("identical")


def wait_pushed(migration):
    before = migration.destination.control.command("query-migrate")["pages"]["pushed"]
    migration.wait_status(migration.destination, lambda status: status["pages"]["pushed"] > before)


def test_the_name_server_is_gone_when_the_connection_is_lost(migration, hosts, server):
    start_serving(migration, hosts, server)
    server.silent = True
    hosts.tell("reset a")
    since = time.monotonic()
    migration.source.control.wait_event("RECOVERED")
    wait_pushed(migration)
    assert time.monotonic() - since < AT_ONCE
    finish(migration)


def test_a_name_that_nobody_resolves_keeps_no_other_address_waiting(migration, hosts, server):
    start_serving(migration, hosts, server, "192.0.2.2")
    server.silent = True
    hosts.tell("reset a")
    since = time.monotonic()
    migration.source.control.wait_event("RECOVERED")
    wait_pushed(migration)
    migration.source.control.command("pause")
    migration.source.control.command("recover")
    assert time.monotonic() - since < AT_ONCE
    finish(migration)


def test_the_first_of_two_numbers_swallows_what_comes(migration, hosts, server):
    """Nobody has 192.0.2.3: what is sent there waits for the 3 s that the kernel asks for it.  Both are as near to 192.0.2.1 (RFC 6724,
    section 6, rule 9), so that they stay in this order."""
    start_serving(migration, hosts, server)
    server.addresses = ("192.0.2.3", "192.0.2.2")
    hosts.tell("reset a")
    since = time.monotonic()
    migration.source.control.wait_event("RECOVERED")
    assert time.monotonic() - since < 2
    finish(migration)


def test_a_worker_that_dies_meanwhile_has_told_the_next_one(migration, hosts, server):
    start_serving(migration, hosts, server)
    server.silent = True
    since = time.monotonic()
    migration.source.kill_worker()
    migration.source.control.wait_event("RECOVERED")
    wait_pushed(migration)
    assert time.monotonic() - since < AT_ONCE
    finish(migration)


def test_what_was_known_of_names_is_damaged(migration, hosts, server):
    """The name server is asked, as at first."""
    start_serving(migration, hosts, server)
    (migration.source.state_dir / "names").write_text('{"a": 1}')
    asked = server.asked
    migration.source.kill_worker()
    migration.source.control.wait_event("RECOVERED")
    assert server.asked > asked
    assert "no address is known" in migration.source.log_text()
    finish(migration)
