# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_strangers.py - who is neither VMM nor peer costs nothing but a look."""
import socket
import ssl
import time

import pytest

import peers
from processes import DEADLINE


def knock(path):
    """Connects to a VMM socket and says nothing."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client.settimeout(DEADLINE)
    client.connect(str(path))
    return client


def finish(migration):
    migration.source.control.command("switchover")
    migration.destination_guest.wait_word("complete")
    assert migration.source.wait() == 0
    assert migration.destination.wait() == 0
    assert migration.destination_guest.finish()["verdict"].startswith("identical")


def test_silent_client_does_not_keep_the_vmm_out(migration):
    migration.start_destination()
    migration.start_source()
    migration.source.open()
    silent = [knock(agent.vmm_socket) for agent in (migration.source, migration.destination)]
    migration.start_guest("source", "64M", 1).wait_word("running")
    migration.start_guest("destination", "64M", 1)
    migration.wait_state("active")
    for client in silent:
        assert client.recv(1) == b""
        client.close()
    finish(migration)


def test_client_that_comes_and_goes_ends_nothing(migration):
    migration.start("64M", 1)
    for agent in (migration.source, migration.destination):
        for _ in range(3):
            client = knock(agent.vmm_socket)
            assert client.recv(1) == b""
            client.close()
    assert "VMM_LOST" not in migration.source.control.names()
    finish(migration)

# ---- on the port


def spoilt(how):
    def knock(pki, address):
        mine = pki.copy(pki.folder.parent / how)
        getattr(mine, how)("client")
        peers.knock(address, mine)

    return knock


def for_servers(pki, address):
    mine = pki.copy(pki.folder.parent / "usage")
    mine.issue("client", usage="serverAuth")
    peers.knock(address, mine)


# What a stranger does, and what must be in PEER_REFUSED's reason and hint.
STRANGERS = {
    "connects_and_goes": (
        lambda pki, address: peers.knock(address, plain=b""), "the connection ended", ""),
    "speaks_http": (
        lambda pki, address: peers.knock(address, plain=b"GET / HTTP/1.1\r\n\r\n"),
        "does not speak TLS", "is the port pageferry's?"),
    "sends_bytes": (
        lambda pki, address: peers.knock(address, plain=bytes(range(256)) * 16),
        "does not speak TLS", "is the port pageferry's?"),
    "speaks_tls_1_2": (
        lambda pki, address: peers.knock(address, pki, version=ssl.TLSVersion.TLSv1_2),
        "does not speak TLS 1.3, and nothing older is accepted", "a proxy in between"),
    "has_no_certificate": (
        lambda pki, address: peers.knock(address, pki, certificate=False),
        "presented no certificate", "client-cert.pem"),
    "has_an_expired_one": (spoilt("expire"), "it expired on", "the peer needs a certificate"),
    "has_a_premature_one": (
        spoilt("postpone"), "it is not valid before", "the peer needs a certificate"),
    "has_one_for_servers": (for_servers, "is refused: ", "the peer needs a certificate"),
    "is_right_and_says_nothing": (
        lambda pki, address: peers.knock(address, pki, leave=True), "closed the connection", ""),
}


def test_strangers_on_the_port_are_told_and_cost_nothing(migration, pki):
    """One after the other on one destination; then the right source comes."""
    migration.start_destination()
    for name, (knock, reason, hint) in STRANGERS.items():
        knock(pki, migration.address)
        data = migration.destination.control.wait_event("PEER_REFUSED")["data"]
        assert reason in data["reason"] and hint in data["hint"], (name, data)
        assert data["address"].startswith("127.0.0.1:")
        assert data["untold"] == 0
    start_and_finish(migration)


def test_a_stranger_who_comes_again_is_told_once_and_counted(migration, pki):
    migration.start_destination()
    for _ in range(5):
        peers.knock(migration.address, plain=b"GET / HTTP/1.1\r\n\r\n")
    peers.knock(migration.address, pki, certificate=False)
    first, second = (migration.destination.control.wait_event("PEER_REFUSED")["data"] for _ in range(2))
    assert "does not speak TLS" in first["reason"] and first["untold"] == 0
    assert "presented no certificate" in second["reason"] and second["untold"] == 4


def test_a_stranger_with_another_authority_is_refused(migration, foreign_pki):
    migration.start_destination()
    peers.knock(migration.address, foreign_pki)
    data = migration.destination.control.wait_event("PEER_REFUSED")["data"]
    assert "is not signed by ca-cert.pem" in data["reason"]
    assert "CN = client" in data["reason"], "it should say who it was"
    start_and_finish(migration)


def start_and_finish(migration):
    migration.start_source()
    migration.source.open()
    migration.start_guest("source", "16M", 1).wait_word("running")
    migration.start_guest("destination", "16M", 1)
    migration.wait_state("active")
    finish(migration)


def test_silent_strangers_do_not_keep_the_source_out(migration):
    """Twice as many as are greeted at once, before the right source: it waits a second for each
    eight of them, and not their five seconds."""
    migration.start_destination()
    silent = [
        socket.create_connection(peers.endpoint(migration.address), DEADLINE) for _ in range(16)
    ]
    begin = time.monotonic()
    migration.start_source()
    migration.source.open()
    migration.start_guest("source", "16M", 1).wait_word("running")
    migration.start_guest("destination", "16M", 1)
    migration.wait_state("active")
    took = time.monotonic() - begin
    assert took < 9, took  # their five seconds, twice, would be 10
    reasons = [
        event["data"]["reason"] for event in migration.destination.control.events
        if event["event"] == "PEER_REFUSED"
    ]
    assert "no HELLO after 1 s, and other connections waited" in reasons
    finish(migration)
    for stranger in silent:
        stranger.close()


@pytest.mark.long
def test_source_gets_in_through_a_lasting_flood(migration):
    """Whoever is shown the door comes back at once, 24 of them."""
    migration.start_destination()
    crowd = peers.Crowd(migration.address, 24)
    try:
        begin = time.monotonic()
        migration.start_source()
        migration.source.open()
        migration.start_guest("source", "16M", 1).wait_word("running")
        migration.start_guest("destination", "16M", 1)
        migration.wait_state("active")
        assert time.monotonic() - begin < 30
        finish(migration)
    finally:
        crowd.end()
    assert crowd.count > 24
