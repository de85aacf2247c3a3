# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_path.py - the way to the peer is shown, and what becomes of it is told and acted upon."""

import time

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
    """The first link is there for its numbers: where both ends of a pair have the same, the kernel takes
    them for hardware, of which it tells all the host's carriers together, and once a second at most."""
    it = Network(
        folder, "namespace a", "namespace b", "link b:spare0 b:spare1",
        "link a:eth0 b:eth0", "link a:eth1 b:eth1",
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


# ---- after the commit: it is acted upon, and by nothing slower (the peer's silence counts after a minute here)

AT_ONCE = 0.5  # seconds


def start_serving(migration, network, *hosts):
    """The guest runs at the destination, and most of it is still at the source, behind slow links."""
    for port in ("a:eth0", "a:eth1"):
        network.tell(f"rate {port} 8mbit")
    start(migration, network, *hosts)
    migration.start_guest("source", "64M", 1).wait_word("running")
    migration.start_guest("destination", "64M", 1)
    migration.wait_state("active")
    migration.source.control.command("switchover")
    migration.wait_state("postcopy-active")


def seconds_until(event, since):
    stamp = event["timestamp"]
    return stamp["seconds"] + stamp["microseconds"] / 1e6 - since


def finish(migration, network):
    for port in ("a:eth0", "a:eth1"):
        network.tell(f"heal {port} rate")
    migration.destination_guest.wait_word("complete")
    assert (migration.source.wait(), migration.destination.wait()) == (0, 0)
    assert migration.destination_guest.finish()["verdict"].startswith("identical")
    for agent in (migration.source, migration.destination):
        assert agent.outcome()["migrate"]["pages"]["resent-after-resume"] == 0


def down_and_up(network, port, agents):
    """How long it takes until both serve again, in seconds."""
    since = time.time()
    network.tell(f"down {port}")
    for control in agents:
        assert seconds_until(control.wait_state("postcopy-paused"), since) < AT_ONCE
        reason = control.wait_event("OUTAGE")["data"]["reason"]
        # The second: of a bulk connection that was still being made, from the route that went first.
        assert "interface eth0" in reason or "Network is unreachable" in reason
    since = time.time()
    network.tell(f"up {port}")
    return max(seconds_until(control.wait_state("postcopy-active"), since) for control in agents)


@pytest.mark.parametrize("port", ["a:eth0", "b:eth0"])
def test_a_link_that_goes_is_an_outage_at_once_and_back_it_is_none(migration, network, port):
    """Whichever end it fails at, both see it: as an interface that is down, or as a carrier that is lost.

    Back, the kernels' first ARP request can be lost to a carrier that is only half there, and is repeated after
    a second (arp(7), retrans_time): that is no agent's, and does not happen each time."""
    start_serving(migration, network, "192.0.2.2")
    agents = migration.source.control, migration.destination.control
    took = [down_and_up(network, port, agents)]
    while min(took) >= AT_ONCE and len(took) < 5:
        took.append(down_and_up(network, port, agents))
    assert min(took) < AT_ONCE, took
    finish(migration, network)


def test_a_second_address_takes_over_while_the_first_link_is_down(migration, network):
    start_serving(migration, network, "192.0.2.2", "198.51.100.2")
    since = time.time()
    network.tell("down a:eth0")
    for control in (migration.source.control, migration.destination.control):
        control.wait_state("postcopy-paused")
        assert seconds_until(control.wait_state("postcopy-active"), since) < AT_ONCE
        path = control.wait_event("PATH", state="up")["data"]
        assert path["interface"] == "eth1", path
        assert control.command("query-migrate")["path"] == path
    finish(migration, network)


def test_a_link_that_flaps_costs_no_page(migration, network):
    """Down and up again before anything could be mended, and in the middle of what mends it."""
    start_serving(migration, network, "192.0.2.2", "198.51.100.2")
    for flap in range(20):
        port = ("a:eth0", "b:eth1", "b:eth0", "a:eth1")[flap % 4]
        network.tell(f"down {port}")
        if flap % 3:
            migration.source.control.command("query-migrate")
        network.tell(f"up {port}")
    finish(migration, network)
