# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_path.py - the way to the peer is shown, and what becomes of it is told and acted upon."""

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
