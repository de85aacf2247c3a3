# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_path.py - the way to the peer is shown, and what becomes of it is told and acted upon."""

import pytest

from netfault import Network
from pki import DESTINATION_NAME

MEMBERS = {"interface", "state", "carrier", "mtu", "route", "reason"}


def test_the_way_is_shown_once_there_is_a_connection(migration):
    migration.start_destination()
    assert migration.destination.control.command("query-migrate")["path"] is None
    migration.start_source().open()
    for agent in (migration.source, migration.destination):
        told = agent.control.wait_event("PATH", state="up")["data"]
        assert told.keys() == MEMBERS
        assert (told["interface"], told["carrier"], told["reason"]) == ("lo", True, "")
        assert told["mtu"] >= 1280
        assert told["route"] == "127.0.0.1 from 127.0.0.1"
        assert agent.control.command("query-migrate")["path"] == told


# ---- in namespaces: two hosts, joined by two links


@pytest.fixture
def network(folder):
    it = Network(
        folder, "namespace a", "namespace b", "link a:eth0 b:eth0", "link a:eth1 b:eth1",
        "address a:eth0 192.0.2.1/24", "address b:eth0 192.0.2.2/24",
        "address a:eth1 198.51.100.1/24", "address b:eth1 198.51.100.2/24",
        "address a:eth0 2001:db8::1/64", "address b:eth0 2001:db8::2/64",
    )
    yield it
    it.end()


def start(migration, network, *hosts, **more):
    """The source in a, which connects to these addresses of the destination, in b."""
    migration.start_destination(listen="[::]:0", prefix=network.prefix("b"), **more)
    port = migration.address.rpartition(":")[2]
    migration.start_source(prefix=network.prefix("a"), peer_name=DESTINATION_NAME,
                           connect=[f"{host}:{port}" for host in hosts], **more).open()


@pytest.mark.parametrize("host, here", [
    pytest.param("192.0.2.2", "192.0.2.1", id="ipv4"),
    pytest.param("[2001:db8::2]", "2001:db8::1", id="ipv6"),
])
def test_the_interface_is_that_of_the_connection(migration, network, host, here):
    start(migration, network, host)
    source = migration.source.control.wait_event("PATH")["data"]
    assert source == {
        "interface": "eth0", "state": "up", "carrier": True, "mtu": 1500, "reason": "",
        "route": f"{host.strip('[]')} from {here}",
    }
    destination = migration.destination.control.wait_event("PATH")["data"]
    assert destination["route"] == f"{here} from {host.strip('[]')}"


def test_what_becomes_of_the_link_is_told_on_both_sides(migration, network):
    start(migration, network, "192.0.2.2")
    source, destination = migration.source.control, migration.destination.control
    for control in source, destination:
        control.wait_event("PATH", state="up", mtu=1500)
    network.tell("mtu a:eth0 1400")
    assert source.wait_event("PATH")["data"]["mtu"] == 1400
    network.tell("down a:eth0")
    gone = source.wait_event("PATH", state="down")["data"]
    assert gone["reason"] == "interface eth0 is set down"
    assert source.command("query-migrate")["path"] == gone
    gone = destination.wait_event("PATH", state="no-carrier")["data"]
    assert (gone["reason"], gone["carrier"]) == ("interface eth0 has no carrier", False)
    network.tell("up a:eth0")
    for control in source, destination:
        control.wait_event("PATH", state="up", interface="eth0")
