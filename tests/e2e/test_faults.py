# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_faults.py - fault points in the real agents: each action, once, and how they are asked for."""
import json
import subprocess

import pytest

from harness import program

pytestmark = pytest.mark.faults


def run(*arguments, fault=None):
    return subprocess.run(
        [program("PAGEFERRY"), *arguments], env={"PAGEFERRY_FAULT": fault} if fault else {},
        capture_output=True, text=True, timeout=60,
    )


def test_the_build_says_what_it_is_and_lists_its_points():
    assert "fault points" in run("--version").stdout
    listed = run("fault-points")
    assert listed.returncode == 0
    sides = {line.split()[0]: line.split()[1] for line in listed.stdout.splitlines()}
    for name, side in {"offered": "source", "run": "destination", "claimed": "destination",
                       "bulk-written": "destination", "request-heard": "source",
                       "connect": "both"}.items():
        assert sides[name] == side
    assert run("fault-points", "x").returncode == 64


@pytest.mark.parametrize("value", ["offered", "offerd=stop", "offered=halt", "run:0=kill"])
def test_a_bad_value_is_a_usage_error(value):
    refused = run("destination", "--help", fault=value)
    assert refused.returncode == 64
    assert "PAGEFERRY_FAULT" in refused.stderr


def test_stop_between_offered_and_commit(migration):
    """The source stands where it was told to, with OFFERED on disk; COMMIT was not sent, so the guest
    runs nowhere.  Let go on, the migration ends as if nothing had been."""
    migration.start("64M", 2, source={"fault": "offered=stop"})
    migration.source.control.command("switchover")
    migration.source.wait_stopped()
    assert migration.source.record() == "OFFERED"
    assert migration.destination.record() == "READY"
    assert migration.destination.control.command("query-migrate")["record"] == "READY"
    migration.source.resume()
    migration.destination_guest.wait_word("complete")
    assert migration.source.wait() == 0
    assert migration.destination.wait() == 0
    assert migration.destination_guest.finish()["verdict"].startswith("identical")


def test_a_source_whose_main_thread_stands_still_answers_a_goodbye(migration):
    """It has sent its last word, and the destination parts: from each connection it waits for the answer, for
    2 s at most.  Those threads are not main's."""
    migration.start("16M", 1, source={"fault": "acked=hang"})
    migration.source.control.command("switchover")
    migration.destination_guest.wait_word("complete")
    assert migration.destination.wait() == 0
    events = [json.loads(line) for line in (migration.destination.state_dir / "events").read_text().splitlines()]
    at = {event["event"] + event["data"].get("state", ""):
          event["timestamp"]["seconds"] + event["timestamp"]["microseconds"] / 1e6 for event in events}
    assert at["OUTCOME"] - at["STATEcompleted"] < 3


def test_cut_at_the_first_of_the_source_s_frames(migration):
    """The connections end behind REGIONS; set-up starts again, and the guest arrives."""
    migration.start("64M", 1, source={"fault": "regions-sent=cut"})
    sessions = migration.destination.control.command("query-migrate")["epoch"]
    assert sessions == 2
    migration.source.control.command("switchover")
    migration.destination_guest.wait_word("complete")
    assert migration.source.wait() == 0
    assert migration.destination.wait() == 0
    assert migration.destination_guest.finish()["verdict"].startswith("identical")


def test_cut_in_the_push(migration):
    migration.start("64M", 1, source={"fault": "bulk-pages-sent:20=cut"})
    migration.source.control.command("switchover")
    for agent in (migration.source, migration.destination):
        agent.control.wait_state("postcopy-paused")
        assert agent.alive()
    assert (migration.source.record(), migration.destination.record()) == ("GONE", "RUN")


def test_a_vmm_that_dies_before_it_is_told_resume_lets_the_guest_go_back(migration):
    """RUN is written, and RESUME finds nobody: no vCPU can have run there."""
    migration.start("64M", 1, destination={"fault": "recording:2=stop"})  # READY, RUN
    migration.source.control.command("switchover")
    migration.destination.wait_stopped()
    assert migration.destination.record() == "READY"
    migration.destination_guest.kill()
    migration.destination.resume()
    assert migration.destination.wait() == migration.source.wait() == 130
    assert migration.destination.record() == "REFUSED"
    assert migration.source.record() == "KEPT"
    for agent in (migration.source, migration.destination):
        assert (agent.outcome()["outcome"], agent.outcome()["owner"]) == ("source-intact", "source")
    migration.source_guest.wait_word("continued")
    migration.check_source_guest_runs()
