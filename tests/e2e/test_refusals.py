# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_refusals.py - what is refused, with which exit code, and that the guest stays where it is."""
import socket
import subprocess

import pytest

from harness import program
from relay import Relay

AGENT = "--vmm-socket {0}/v --control {0}/c --tls-dir {0}/t --state-dir {0}/s --id a".split()


def run(*arguments):
    return subprocess.run(
        [program("PAGEFERRY"), *arguments], capture_output=True, text=True, timeout=20, check=False
    )


def agent_options(folder):
    return [option.format(folder) for option in AGENT]


@pytest.mark.smoke
@pytest.mark.parametrize(
    "more",
    [
        ["--no-such-option"],
        ["--connect", "127.0.0.1"],
        ["--connect", "127.0.0.1:99999"],
        ["--listen", "127.0.0.1:0"],
        ["--connect", "127.0.0.1:1", "--channels", "0"],
        ["--connect", "127.0.0.1:1", "--channels", "many"],
        ["--connect", "127.0.0.1:1", "--max-device-state", "1T"],
        ["--connect", "127.0.0.1:1", "--vmm", "nonsense"],
        ["--connect", "127.0.0.1:1", "stray"],
        [],
    ],
)
def test_bad_command_lines_are_usage_errors(folder, more):
    result = run("source", *agent_options(folder), *more)
    assert result.returncode == 64, result
    assert result.stderr.strip()


def test_destination_needs_a_peer_name(folder):
    result = run("destination", *agent_options(folder), "--listen", "127.0.0.1:0")
    assert result.returncode == 64, result
    assert "--peer-name" in result.stderr


def test_unknown_verb_is_a_usage_error():
    assert run("no-such-verb").returncode == 64
    assert run().returncode == 64


@pytest.mark.parametrize(
    "side, more",
    [
        ("source", ["--connect", "127.0.0.1:1", "--connect-timeout", "1"]),
        ("destination", ["--listen", "127.0.0.1:0", "--peer-name", "source.pageferry.test"]),
    ],
)
def test_missing_certificates_are_a_configuration_error(folder, side, more):
    """Said at once, and not only when the first peer is there."""
    result = run(side, *agent_options(folder), *more)
    assert result.returncode == 78, result
    assert folder + "/t" in result.stderr


def test_no_peer_is_unreachable_after_the_timeout(migration):
    # Bound and not listening: nobody else can get the port, and nobody answers on it.
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{reserved.getsockname()[1]}"
        source = migration.start_source(connect=address, connect_timeout="1")
        source.open()
        migration.start_guest("source", "64M", 1).wait_word("running")
        assert source.wait() == 69
        assert address in source.log_text()
        assert source.outcome()["outcome"] == "source-intact"
    migration.check_source_guest_runs()


def start_both(migration, source=None, destination=None):
    """The first byte goes through when the source's guest is known to its agent and runs."""
    migration.start_destination(**(destination or {}))
    migration.relay = Relay(migration.address, budget=0)
    migration.address = migration.relay.address
    migration.start_source(**(source or {}))
    migration.source.open()
    migration.start_guest("source", "64M", 1).wait_word("running")
    migration.relay.release()


def check_destination_still_listens(migration):
    """Nobody who did not pass TLS, name and id can end a destination."""
    refused = migration.destination.control.wait_event("PEER_REFUSED")["data"]
    assert refused["reason"]
    assert refused["address"].startswith("127.0.0.1:")
    assert migration.destination.alive()
    migration.destination.control.command("cancel", {})
    assert migration.destination.wait() == 130


@pytest.mark.smoke
def test_source_refuses_a_foreign_authority(migration, foreign_pki):
    start_both(migration, source={"tls_dir": foreign_pki.folder})
    assert migration.source.wait() == 76
    assert migration.source.outcome()["outcome"] == "source-intact"
    check_destination_still_listens(migration)
    migration.check_source_guest_runs()


def test_destination_refuses_a_foreign_authority(migration, foreign_pki, folder):
    # Trusts ours, shows theirs.
    mixed = migration.folder / "mixed"
    mixed.mkdir()
    for name in ("client-cert.pem", "client-key.pem"):
        (mixed / name).write_bytes((foreign_pki.folder / name).read_bytes())
        (mixed / name).chmod(0o600)
    bundle = (migration.pki.folder / "ca-cert.pem").read_bytes()
    bundle += (foreign_pki.folder / "ca-cert.pem").read_bytes()
    (mixed / "ca-cert.pem").write_bytes(bundle)
    start_both(migration, source={"tls_dir": mixed})
    assert migration.source.wait() == 76
    check_destination_still_listens(migration)
    migration.check_source_guest_runs()


def test_source_refuses_a_name_that_the_certificate_lacks(migration):
    start_both(migration, source={"peer_name": "somebody-else.pageferry.test"})
    assert migration.source.wait() == 76
    log = migration.source.log_text()
    assert "somebody-else.pageferry.test" in log
    assert "destination.pageferry.test" in log, "it should say which names there are"
    check_destination_still_listens(migration)
    migration.check_source_guest_runs()


def test_destination_refuses_a_name_that_the_certificate_lacks(migration):
    start_both(migration, destination={"peer_name": "somebody-else.pageferry.test"})
    assert migration.source.wait() == 76
    check_destination_still_listens(migration)
    migration.check_source_guest_runs()


def test_destination_refuses_another_id(migration):
    start_both(migration, source={"id": "vm8"})
    assert migration.source.wait() == 76
    check_destination_still_listens(migration)
    migration.check_source_guest_runs()


@pytest.mark.smoke
def test_different_memory_is_refused_on_both_sides(migration):
    start_both(migration)
    migration.start_guest("destination", "96M", 1)
    assert migration.source.wait() == 76
    assert migration.destination.wait() == 76
    for agent in (migration.source, migration.destination):
        assert agent.outcome()["outcome"] == "source-intact"
        assert "regions differ" in agent.log_text() or "tables differ" in agent.log_text()
    migration.check_source_guest_runs()
