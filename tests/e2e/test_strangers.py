# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_strangers.py - who is neither VMM nor peer costs nothing but a look."""
import socket

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


def test_garbage_on_the_port_is_told_and_costs_nothing(migration):
    migration.start_destination()
    host, port = migration.address.rsplit(":", 1)
    for garbage in (b"", b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 16):
        with socket.create_connection((host, int(port)), DEADLINE) as stranger:
            stranger.sendall(garbage)
        data = migration.destination.control.wait_event("PEER_REFUSED")["data"]
        assert data["address"].startswith(host)
    migration.start_source()
    migration.source.open()
    migration.start_guest("source", "64M", 1).wait_word("running")
    migration.start_guest("destination", "64M", 1)
    migration.wait_state("active")
    finish(migration)
