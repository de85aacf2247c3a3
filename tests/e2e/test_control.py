# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_control.py - the control socket: greeting, errors, several clients, events that are kept."""
import json
import os
import stat
import subprocess
import time

import pytest

import ports
from control import Gone, Refused
from harness import program
from processes import DEADLINE


@pytest.fixture
def agent(migration):
    return migration.start_destination()


def verb(*arguments):
    return subprocess.run(
        [program("PAGEFERRY"), *map(str, arguments)],
        capture_output=True, text=True, timeout=60, check=False,
    )


@pytest.mark.smoke
def test_greeting_says_who_answers(agent):
    assert agent.control.greeting["protocol"] == 1
    assert agent.control.greeting["role"] == "destination"
    assert agent.control.greeting["id"] == "vm7"
    assert agent.control.greeting["version"]
    mode = os.stat(agent.control_path).st_mode
    assert stat.S_IMODE(mode) == 0o600
    assert stat.S_IMODE(os.stat(agent.state_dir).st_mode) == 0o700


def refusal(control, name, arguments=None):
    with pytest.raises(Refused) as refused:
        control.command(name, arguments)
    return refused.value


@pytest.mark.smoke
def test_commands_that_are_refused_say_why(agent):
    assert refusal(agent.control, "no-such-command").error_class == "CommandNotFound"
    # The source's alone.
    assert refusal(agent.control, "switchover").error_class == "CommandNotFound"
    unknown = refusal(agent.control, "query-migrate", {"no-such-argument": 1})
    assert unknown.error_class == "InvalidArgument"
    assert "no-such-argument" in unknown.desc
    assert refusal(agent.control, "query-events", {"since": "yesterday"}).error_class == "InvalidArgument"
    assert refusal(agent.control, "quit").error_class == "WrongState"
    for value in (-1, 10001, "100"):
        spin = refusal(agent.control, "set-parameters", {"spin-us": value})
        assert (spin.error_class, "0 to 10000" in spin.desc) == ("InvalidArgument", True)
    for value in (0, 10000):
        assert agent.control.command("set-parameters", {"spin-us": value}) == {}
    assert agent.control.command("query-migrate")["state"] == "setup"


def test_switchover_before_the_agreement_is_refused(migration):
    migration.start_destination()
    source = migration.start_source()
    source.open()
    assert refusal(source.control, "switchover").error_class == "WrongState"
    channels = refusal(source.control, "set-parameters", {"channels": 2})
    assert (channels.error_class, "--channels" in channels.desc) == ("WrongState", True)


@pytest.mark.parametrize(
    "line",
    [b"{", b"[]", b"1", b'"query-migrate"', b"{}", b'{"execute": 1}', b'{"execute": "quit", "arguments": []}',
     b"\xff\xfe", b'{"execute": "query-migrate"} {"execute": "query-migrate"}', b"[" * 5000],
)
def test_bad_lines_get_an_error_and_the_agent_goes_on(agent, line):
    wrong = agent.connect()
    wrong.send_line(line)
    try:
        assert wrong.next_other()["error"]["class"] in ("GenericError", "InvalidArgument")
    except Gone:
        pytest.fail("a bad line is answered before anything else happens")
    finally:
        wrong.close()
    assert agent.control.command("query-migrate")["state"] == "setup"


def test_an_endless_line_costs_its_sender_the_connection(agent):
    wrong = agent.connect()
    try:
        wrong.socket.setblocking(True)
        wrong.socket.sendall(b"x" * 200000)
    except (BrokenPipeError, ConnectionResetError):
        pass
    wrong.socket.setblocking(False)
    wrong.drain(10)
    wrong.close()
    assert agent.control.command("query-migrate")["state"] == "setup"


@pytest.mark.smoke
def test_every_client_gets_every_event(migration):
    migration.start("64M", 1)
    second = migration.source.connect()
    second.take_history()
    migration.source.control.command("switchover")
    migration.destination_guest.wait_word("complete")
    first_events = migration.source.control.drain()
    assert first_events == second.drain()
    second.close()
    assert migration.source.wait() == 0


def test_ids_come_back_as_they_were_sent(agent):
    control = agent.connect()
    until = time.monotonic() + 60
    for given in (7, "seven", {"a": [1, None]}):
        control.send_line(json.dumps({"execute": "query-capabilities", "id": given}).encode())
        answer = control.next_message(until)
        assert answer["id"] == given
        assert "return" in answer
    control.close()


def test_events_can_be_asked_for_again(migration):
    migration.start("64M", 1)
    control = migration.source.control
    control.take_history()
    newest = control.events[-1]["seq"]
    control.close()
    migration.source.control = again = migration.source.connect()
    assert again.command("query-events", {"since": newest})["events"] == []
    events = again.command("query-events", {"since": 0})["events"]
    assert [event["seq"] for event in events] == list(range(1, newest + 1))
    later = again.command("query-events", {"since": newest - 1})["events"]
    assert [event["seq"] for event in later] == [newest]
    again.command("cancel", {})
    assert migration.source.wait() == 130


@pytest.mark.smoke
def test_verbs_speak_to_the_agent(agent, folder):
    status = verb("status", "--control", agent.control_path, "--json")
    assert status.returncode == 0, status
    assert json.loads(status.stdout)["state"] == "setup"
    refused = verb("quit", "--control", agent.control_path)
    assert refused.returncode == 1, refused
    assert refused.stderr.strip()
    assert verb("status", "--control", folder + "/nobody").returncode == 69
    assert verb("status").returncode == 64
    assert verb("cancel", "--control", agent.control_path).returncode == 0
    assert agent.wait() == 130


def test_events_go_to_a_file_too(migration, folder):
    path = folder + "/events.json"
    agent = migration.start_destination(events=path)
    agent.control.command("cancel", {})
    events = agent.control.drain()
    assert agent.wait() == 130
    with open(path, encoding="utf-8") as file:
        assert [json.loads(line) for line in file] == events


def test_an_agent_that_waits_does_not_compute(migration):
    """Listening, agreed on the regions, and (test_link_lost.py) in an outage."""
    migration.check_idle(migration.start_destination())
    migration.start_source()
    migration.source.open()
    migration.check_idle(migration.source)
    migration.start_guest("source", "64M", 1).wait_word("running")
    migration.start_guest("destination", "64M", 1)
    migration.wait_state("active")
    for agent in (migration.source, migration.destination):
        migration.check_idle(agent)


def test_a_source_without_a_destination_says_so(migration):
    """From its first failure on, and not only when it gives up."""
    migration.address = ports.own_address()
    source = migration.start_source(connect_timeout=int(DEADLINE))
    source.open()
    migration.wait_status(source, lambda status: "Connection refused" in status["peer"].get("tried", ""))
    assert source.control.command("query-migrate")["waits-for"] == "REGIONS of its VMM, and a connection"
    migration.start_guest("source", "16M", 1).wait_word("running")
    migration.wait_status(source, lambda status: status["waits-for"] == "a connection")
    assert "Connection refused" in source.control.command("query-migrate")["peer"]["tried"]
    migration.start_destination(listen=migration.address)
    migration.start_guest("destination", "16M", 1)
    migration.wait_state("active")
    assert "tried" not in source.control.command("query-migrate")["peer"]
