# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_sandbox.py - the agents as they serve: no capabilities, a filter, nothing for a core dump."""
import pathlib

import pytest

NO_CAPABILITIES = "0" * 16


def status_of(task):
    lines = (task / "status").read_text().splitlines()
    return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}


@pytest.mark.sanitizer
def test_every_thread_of_a_serving_agent_is_confined(migration):
    migration.start_serving()
    for agent in (migration.source, migration.destination):
        tasks = [status_of(task) for task in pathlib.Path(f"/proc/{agent.worker()}/task").iterdir()]
        names = {task["Name"] for task in tasks}
        assert {"pageferry", "urgent", "bulk-1"} <= names, names
        for task in tasks:
            assert task["CapEff"] == task["CapPrm"] == NO_CAPABILITIES, task
            assert task["NoNewPrivs"] == "1" and task["Seccomp"] == "2", task
    migration.relay.release()
    migration.wait_state("completed")
    report = migration.destination_guest.finish()
    assert report["verdict"].startswith("identical"), report


# capabilities(7): 1 CAP_DAC_OVERRIDE, 2 CAP_DAC_READ_SEARCH, 10 CAP_NET_BIND_SERVICE
KEPT = 1 << 1 | 1 << 2 | 1 << 10


def test_a_keeper_has_given_up_what_no_worker_needs_to_start(migration):
    """And its worker is started again all the same."""
    migration.start("16M", 1)
    for agent in (migration.source, migration.destination):
        keeper = status_of(pathlib.Path(f"/proc/{agent.pid}"))
        assert keeper["NoNewPrivs"] == "1" and keeper["Seccomp"] == "2", keeper
        for name in "CapEff", "CapPrm", "CapInh", "CapAmb":
            assert int(keeper[name], 16) & ~KEPT == 0, keeper
        assert pathlib.Path(f"/proc/{agent.pid}/coredump_filter").read_text() == "00000000\n"
        agent.kill_worker()
    migration.source.control.wait_state("active")
    migration.source.control.command("switchover")
    migration.destination_guest.wait_word("complete")
    assert (migration.source.wait(), migration.destination.wait()) == (0, 0)
    assert migration.destination_guest.finish()["verdict"].startswith("identical")


def undumped_bytes(pid):
    """Of the writable mappings that madvise(2) MADV_DONTDUMP was said about."""
    total = size = 0
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        words = line.split()
        if words[0] == "Size:":
            size = int(words[1]) * 1024
        elif words[0] == "VmFlags:" and {"dd", "wr"} <= set(words):
            total += size
    return total


def test_page_buffers_are_kept_out_of_core_dumps(migration):
    migration.start_serving()
    for agent in (migration.source, migration.destination):
        assert pathlib.Path(f"/proc/{agent.worker()}/coredump_filter").read_text() == "00000000\n"
        # A bulk channel's two buffers alone hold several frames of 64 KiB each.
        assert undumped_bytes(agent.worker()) > 2 * (64 << 10), agent.side
    migration.relay.release()
    migration.wait_state("completed")
