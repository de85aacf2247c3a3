# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_watch.py - `pageferry watch`, whatever becomes of the processes it watches."""
import json
import os
import signal
import time

import pytest

from harness import program
from processes import DEADLINE, SLOWER, Late, Speaker, left


class Watch(Speaker):
    """Its events are lines on stdout; what else it says is in the log.  Connected when it is made."""

    def __init__(self, migration, agent):
        before = agent.descriptors()
        super().__init__("watch", [program("PAGEFERRY"), "watch", "--control", agent.control_path, "--json"],
                         migration.folder)
        migration.own(self)
        migration.wait_status(agent, lambda _: agent.descriptors() > before)

    def wait_event(self, name, **data):
        def matches(line):
            event = json.loads(line)
            return event["event"] == name and data.items() <= event["data"].items()
        return json.loads(self.wait_line(matches))

    def seqs(self):
        return [json.loads(line)["seq"] for line in self.lines if line.startswith("{")]

    def read_all(self, seconds=DEADLINE):
        until = time.monotonic() + seconds
        while self.read(until):
            continue
        return self.wait(left(until))

    def wait_said(self, text, seconds=DEADLINE):
        until = time.monotonic() + seconds
        while text not in self.log_text():
            assert time.monotonic() < until, self.log_text()
            try:
                assert self.read(time.monotonic() + 0.05), self.log_text()
            except Late:
                continue


def without_gap(seqs):
    return seqs == list(range(seqs[0], seqs[0] + len(seqs)))


@pytest.mark.smoke
def test_watch_goes_on_behind_workers_that_die_and_ends_with_the_agent(migration):
    migration.start_serving()
    watch = Watch(migration, migration.source)
    migration.source.signal(signal.SIGTERM)
    watch.wait_event("SIGNAL_IGNORED")  # it knows what came before
    migration.source.kill_worker()
    watch.wait_event("WORKER_RESTARTED")
    os.kill(migration.source.worker(), signal.SIGKILL)
    watch.wait_event("WORKER_RESTARTED")
    migration.relay.release()
    assert watch.read_all() == 0, watch.log_text()
    final = json.loads(watch.lines[-1])
    assert (final["event"], final["data"]["final"]) == ("OUTCOME", True)
    assert without_gap(watch.seqs()), watch.seqs()


def test_watch_misses_nothing_that_was_told_before_it_could_connect_again(migration):
    """It heard of no event before its worker died."""
    agent = migration.start_destination()
    watch = Watch(migration, agent)
    last = agent.control.events[-1]["seq"]
    until = time.monotonic() + 1  # nothing shows that it knows what came before
    while time.monotonic() < until:
        agent.control.command("query-migrate")
    watch.signal(signal.SIGSTOP)
    agent.kill_worker()
    agent.control.command("set-parameters", {"outage-deadline": 1})
    watch.signal(signal.SIGCONT)
    watch.wait_event("STATE", state="setup")
    assert watch.seqs()[0] == last + 1 and without_gap(watch.seqs())
    agent.signal(signal.SIGTERM)
    assert watch.read_all() == 0
    assert without_gap(watch.seqs()), watch.seqs()


def test_watch_says_that_nobody_listens_any_more(migration):
    agent = migration.start_destination()
    watch = Watch(migration, agent)
    agent.kill()
    assert watch.read_all(30 * SLOWER) == 69
    assert "nobody listens there any more" in watch.log_text()


def test_watch_waits_for_an_agent_that_does_not_answer_and_says_so_once(migration):
    agent = migration.start_destination()
    watch = Watch(migration, agent)
    os.kill(agent.worker(), signal.SIGSTOP)
    watch.wait_said("does not answer")
    assert watch.alive()
    agent.resume()
    agent.signal(signal.SIGTERM)
    assert watch.read_all() == 0
    assert watch.log_text().count("does not answer") == 1
