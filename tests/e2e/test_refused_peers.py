# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_refused_peers.py - who is not the right peer, and that the guest stays where it is.

Rows: what is wrong, how the source ends and by which words, and by which PEER_REFUSED the destination
tells of it.  A destination never ends for this.
"""
import dataclasses
import os
import ssl

import pytest

import peers
from pki import DESTINATION_NAME, SOURCE_NAME
from relay import Relay

UNREACHABLE, REFUSED, CONFIG = 69, 76, 78
ELSE = "somebody-else.pageferry.test"
TLS_1_2 = ssl.TLSVersion.TLSv1_2


def words(text):
    """Without the line breaks between message and hint."""
    return " ".join(text.split())


def start_both(migration, source, destination):
    """The first byte goes through when the source's guest is known to its agent and runs."""
    migration.start_destination(**destination)
    migration.relay = Relay(migration.address, budget=0)
    migration.address = migration.relay.address
    start_source(migration, source)
    migration.relay.release()


def start_source(migration, source):
    migration.start_source(**source)
    migration.source.open()
    migration.start_guest("source", "16M", 1).wait_word("running")


def check_source_ends(migration, code, text, hint):
    source = migration.source
    assert source.wait() == code
    log = words(source.log_text())
    assert text in log and hint in log, log
    final = source.control.drain()[-1]["data"]
    assert (final["outcome"], final["owner"], final["final"]) == ("source-intact", "source", True)
    assert text in words(final["reason"]) and hint in words(final["hint"]) + final["reason"], final
    assert source.outcome()["reason"] == final["reason"]
    assert source.outcome()["exit-code"] == code
    migration.check_source_guest_runs()


def check_destination_goes_on(migration, text, hint):
    """It tells of it, still listens, and is cancelled by nobody but its orchestrator."""
    destination = migration.destination
    refused = destination.control.wait_event("PEER_REFUSED")["data"]
    assert text in refused["reason"] and hint in refused["hint"], refused
    assert refused["address"].startswith("127.0.0.1:")
    assert destination.control.command("query-migrate")["state"] == "setup"
    destination.control.command("cancel", {})
    assert destination.wait() == 130


# ---- two agents that do not fit each other


class Sides:
    """What is spoilt: files of each side, and options."""

    def __init__(self, migration, pki, foreign):
        self.foreign = foreign
        self.source_pki = pki.copy(migration.folder / "source-tls")
        self.destination_pki = pki.copy(migration.folder / "destination-tls")
        self.source = {"tls_dir": self.source_pki.folder, "peer_name": DESTINATION_NAME}
        self.destination = {"tls_dir": self.destination_pki.folder}


def trust_both(sides):
    """The source trusts theirs, and shows one of theirs: only the destination can refuse it."""
    ours = (sides.source_pki.folder / "ca-cert.pem").read_text()
    theirs = (sides.foreign.folder / "ca-cert.pem").read_text()
    (sides.source_pki.folder / "ca-cert.pem").write_text(ours + theirs)
    sides.source_pki.take(sides.foreign, "client-cert.pem", "client-key.pem")


def all_foreign(sides):
    sides.source_pki.take(sides.foreign, "ca-cert.pem", "client-cert.pem", "client-key.pem")


def source_revoked(sides):
    """Only the destination's list has it."""
    sides.source_pki.revoke("client")
    sides.destination_pki.take(sides.source_pki, "ca-crl.pem")
    (sides.source_pki.folder / "ca-crl.pem").unlink()


def destination_revoked(sides):
    sides.destination_pki.revoke("server")
    sides.source_pki.take(sides.destination_pki, "ca-crl.pem")
    (sides.destination_pki.folder / "ca-crl.pem").unlink()


ALERT = "the peer knows the reason: see its PEER_REFUSED event or message"


@dataclasses.dataclass
class Row:
    name: str
    spoil: object  # Sides -> nothing
    source: str  # what its message must say
    source_hint: str
    destination: str  # PEER_REFUSED
    destination_hint: str
    smoke: bool = False


ROWS = [
    Row("source_of_another_authority", all_foreign, "is not signed by ca-cert.pem",
        "a certificate that our ca-cert.pem vouches for", "refused us with the TLS alert", ALERT,
        smoke=True),
    Row("source_that_shows_a_foreign_certificate", trust_both, "the TLS alert \"unknown CA\"", ALERT,
        "is not signed by ca-cert.pem", "a certificate that our ca-cert.pem vouches for"),
    Row("source_revoked", source_revoked, "the TLS alert \"certificate revoked\"", ALERT,
        "it is revoked by ca-crl.pem", "the peer needs a certificate"),
    Row("destination_revoked", destination_revoked, "it is revoked by ca-crl.pem",
        "the peer needs a certificate", "the TLS alert \"certificate revoked\"", ALERT),
    Row("destination_without_the_name",
        lambda s: s.source.update(peer_name=ELSE),
        f"DNS:{DESTINATION_NAME}, IP:127.0.0.1) is not for the name \"{ELSE}\"",
        "is it the right host?", "the TLS alert \"bad certificate\"", ALERT),
    Row("destination_without_the_address_of_connect",
        lambda s: (s.source.update(peer_name=None),
                   s.destination_pki.issue("server", f"DNS:{DESTINATION_NAME}")),
        "is not for the name \"127.0.0.1\"", "is it the right host?",
        "the TLS alert \"bad certificate\"", ALERT),
    Row("destination_without_the_uri",
        lambda s: s.source.update(peer_name="spiffe://pageferry.test/destination"),
        "is not for the name \"spiffe://pageferry.test/destination\"", "is it the right host?",
        "the TLS alert \"bad certificate\"", ALERT),
    Row("destination_without_any_name",
        lambda s: s.destination_pki.issue("server", ""), "(CN = server; no names) is not for",
        "is it the right host?", "the TLS alert \"bad certificate\"", ALERT),
    Row("source_without_the_name",
        lambda s: s.destination.update(peer_name=ELSE), "the TLS alert \"bad certificate\"", ALERT,
        f"DNS:{SOURCE_NAME}) is not for the name \"{ELSE}\"", "is it the right host?"),
    Row("another_migrations_id", lambda s: s.source.update(id="vm8"),
        "the destination refused: another migration's id: 'vm8'; this one is 'vm7'",
        "give both sides the same --id", "another migration's id: 'vm8'",
        "give both sides the same --id"),
]


@pytest.mark.parametrize(
    "row",
    [pytest.param(row, id=row.name, marks=[pytest.mark.smoke] if row.smoke else []) for row in ROWS],
)
def test_agents_that_do_not_fit(migration, pki, foreign_pki, row):
    sides = Sides(migration, pki, foreign_pki)
    row.spoil(sides)
    start_both(migration, sides.source, sides.destination)
    check_source_ends(migration, REFUSED, row.source, row.source_hint)
    check_destination_goes_on(migration, row.destination, row.destination_hint)


# ---- destinations that no pageferry would be


@dataclasses.dataclass
class Impostor:
    name: str
    treat: object  # Pki of its own -> what it does with a connection
    code: int
    words: str
    hint: str


def expired(pki):
    pki.expire("server")
    return peers.shake_hands(pki)


def postponed(pki):
    pki.postpone("server")
    return peers.shake_hands(pki)


def client_for_server(pki):
    pki.issue("server", usage="clientAuth")
    return peers.shake_hands(pki)


IMPOSTORS = [
    Impostor("expired", expired, REFUSED, "it expired on", "the peer needs a certificate"),
    Impostor("not_yet_valid", postponed, REFUSED, "it is not valid before",
             "the peer needs a certificate"),
    Impostor("certificate_for_clients", client_for_server, REFUSED,
             "(CN = server; DNS:destination.pageferry.test, IP:127.0.0.1) is refused",
             "the peer needs a certificate"),
    Impostor("tls_1_2", lambda pki: peers.shake_hands(pki, version=TLS_1_2), REFUSED,
             "does not speak TLS 1.3, and nothing older is accepted", "a proxy in between"),
    Impostor("no_tls", lambda pki: peers.say(b"220 mail.pageferry.test ESMTP\r\n"), REFUSED,
             "the peer does not speak TLS", "compare --connect with the address in"),
    Impostor("silence_behind_tls", peers.shake_hands, UNREACHABLE,
             "the peer did not answer in time", "--connect-timeout (4 s) is over"),
    Impostor("silence", lambda pki: peers.keep_silent, UNREACHABLE,
             "TLS handshake with 127.0.0.1:", "--connect-timeout (4 s) is over"),
    Impostor("closed_door", lambda pki: peers.hang_up, UNREACHABLE, "TLS handshake with 127.0.0.1:",
             "--connect-timeout (4 s) is over"),
]


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in IMPOSTORS])
def test_impostor_is_refused(migration, pki, row):
    impostor = peers.Impostor(row.treat(pki.copy(migration.folder / "their-tls")))
    try:
        migration.address = None
        timeout = "4" if row.code == UNREACHABLE else "30"
        # Its door opens when the guest runs: nothing is refused before.
        relay = migration.relay = Relay(impostor.address, budget=0)
        start_source(migration, {"connect": relay.address, "connect_timeout": timeout})
        relay.release()
        check_source_ends(migration, row.code, row.words, row.hint)
    finally:
        migration.relay.stop()
        migration.relay = None
        impostor.end()


def test_nobody_there(migration):
    """Bound and not listening: nobody else can get the port, and nobody answers on it."""
    with peers.socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{reserved.getsockname()[1]}"
        start_source(migration, {"connect": address, "connect_timeout": "4"})
        check_source_ends(migration, UNREACHABLE, f"{address}, connection 0: ",
                          "is the destination started, is the port right?")


# ---- what happens to certificates while the agents run


def test_certificate_that_expires_before_the_handshake(migration, pki):
    """The source's own: it says so itself, as it would at its start."""
    good = pki.copy(migration.folder / "good-tls")
    late = pki.copy(migration.folder / "late-tls")
    late.expire("client")
    used, other = migration.folder / "tls", migration.folder / "tls-new"
    used.symlink_to(good.folder)
    other.symlink_to(late.folder)
    impostor = peers.Impostor(peers.hang_up)
    try:
        start_source(migration, {"connect": impostor.address, "tls_dir": used})
        os.replace(other, used)
        check_source_ends(migration, CONFIG, "our certificate", "replace it and try again")
        assert "it expired on" in migration.source.outcome()["reason"]
    finally:
        impostor.end()


def test_destination_goes_on_once_its_certificate_is_replaced(migration, pki):
    """Files are read at every handshake: whoever is on call replaces one, and restarts nothing."""
    mine = pki.copy(migration.folder / "destination-tls")
    migration.start_destination(tls_dir=mine.folder)
    mine.expire("server")
    start_source(migration, {"connect": migration.address})
    refused = migration.destination.control.wait_event("PEER_REFUSED")["data"]
    assert "our certificate" in refused["reason"] and "it expired on" in refused["reason"]
    assert "replace it and try again" in refused["hint"]
    mine.issue("server")
    migration.start_guest("destination", "16M", 1)
    migration.wait_state("active")
    migration.source.control.command("switchover")
    migration.destination_guest.wait_word("complete")
    assert migration.source.wait() == 0
    assert migration.destination.wait() == 0
    assert migration.destination_guest.finish()["verdict"].startswith("identical")
