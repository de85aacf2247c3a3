# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_unanswered.py - a verb whose agent is there, and says nothing."""
import os
import signal
import time

import pytest

from harness import program
from processes import SLOWER, Child

ANSWER = 10  # seconds that a verb waits for it


@pytest.mark.parametrize("words", [["status"], ["set", "push=on"], ["cancel"], ["switchover"]])
def test_a_verb_that_nobody_answers_ends(migration, words):
    migration.start("16M", 1)
    source = migration.source
    os.kill(source.worker(), signal.SIGSTOP)
    begun = time.monotonic()
    verb = migration.own(Child("verb", [program("PAGEFERRY"), words[0], "--control", source.control_path, *words[1:]],
                               migration.folder))
    assert verb.wait(2 * ANSWER * SLOWER) == 69
    assert time.monotonic() - begun >= ANSWER
    assert "does not answer" in verb.log_text()
    source.resume()


def test_a_verb_ends_where_too_many_wait_already(migration):
    """The kernel keeps a place for so many that are not taken; who comes then waits in connect(2)."""
    agent = migration.start_destination()
    os.kill(agent.worker(), signal.SIGSTOP)
    verbs = [migration.own(Child(f"verb-{i}", [program("PAGEFERRY"), "status", "--control", agent.control_path],
                                 migration.folder)) for i in range(24)]
    for verb in verbs:
        assert verb.wait(3 * ANSWER * SLOWER) == 69
        assert "does not answer" in verb.log_text()
    agent.resume()
