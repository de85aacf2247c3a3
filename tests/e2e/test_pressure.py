# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_pressure.py - too little of what an agent needs: each has its event or its exit, and no page is lost."""
import concurrent.futures
import contextlib
import ctypes
import errno
import os
import pathlib
import re
import select
import signal
import subprocess
import time

import pytest

import vmm_client as vmm
from control import Gone, Refused
from memgroup import MemoryGroup
from processes import DEADLINE, Late
from test_control import verb
from test_keeper import wait_gone

MIB = 1 << 20
LIMITED = pytest.mark.shipped  # a sanitizer's own memory would meet the limit first
SIZE = 4 * MIB  # of a guest that is a test


@pytest.fixture
def group():
    """For agents; the migration's processes end before it does."""
    it = MemoryGroup()
    yield it
    it.close()


@pytest.fixture
def prepared(migration):
    """Up to RUN, with the tests as both VMMs; the destination's memory is allocated, nothing is pushed."""
    destination, source = migration.start_destination(), migration.start_source()
    here, there = vmm.Memory(SIZE), vmm.Memory(SIZE)
    os.posix_fallocate(here.fd, 0, SIZE)
    source.open()
    machine, client = vmm.Client(destination.vmm_socket), vmm.Client(source.vmm_socket)
    machine.hello(vmm.DESTINATION)
    machine.regions([here.region(populated=vmm.PREALLOCATED)])
    machine.wait("REGIONS_ACCEPTED")
    migration.wait_link()
    client.hello(vmm.SOURCE)
    client.regions([there.region(trapped=False)])
    source.control.command("set-parameters", {"push": False})
    source.control.wait_state("active")
    source.control.command("switchover")
    client.wait("PAUSE")
    client.paused(vmm.device_state(), len(b"device state"))
    machine.wait("LOAD")
    machine.say("READY")
    machine.wait("RESUME")
    machine.say("RESUMED")
    destination.control.wait_state("postcopy-active")
    yield destination, machine, here
    for one in machine, client, here, there:
        one.close()


def touch(memory, first, count):
    """As a vCPU would, which waits for each page."""
    for page in range(first, first + count):
        ctypes.c_char.from_address(memory.address + page * vmm.PAGE).value


@LIMITED
def test_a_limit_that_the_guest_does_not_fit_under_is_told_at_setup(group, migration):
    migration.start_destination()
    group.add(migration.destination.worker())
    group.limit(32 * MIB)
    migration.start_guest("destination", "64M", 1)
    told = migration.destination.control.wait_event("MEMORY_LIMIT")["data"]
    assert (told["controller"], told["group"]) == ("memory", str(group.path))
    assert (told["limit"], told["needed"]) == (32 * MIB, 64 * MIB)
    assert 0 < told["room"] <= 32 * MIB
    assert "preallocate" in told["hint"]
    assert "leaves this agent" in migration.destination.log_text()


@LIMITED
def test_memory_that_is_allocated_needs_no_room(group, migration):
    migration.start_destination()
    group.add(migration.destination.worker())
    group.limit(group.usage() + 2 * MIB)
    memory, machine = vmm.Memory(SIZE), vmm.Client(migration.destination.vmm_socket)
    os.posix_fallocate(memory.fd, 0, SIZE)
    machine.hello(vmm.DESTINATION)
    machine.regions([memory.region(populated=vmm.PREALLOCATED)])
    machine.wait("REGIONS_ACCEPTED")
    migration.destination.control.command("query-migrate")
    assert "MEMORY_LIMIT" not in migration.destination.control.names()
    machine.close()
    memory.close()


def grow(agent):
    """Answers that nobody reads, until its worker is killed for their memory."""
    worker = os.pidfd_open(agent.worker())
    ended = select.poll()
    ended.register(worker, select.POLLIN)
    clients = [agent.connect() for _ in range(15)]
    until = time.monotonic() + DEADLINE
    while not ended.poll(0):
        assert time.monotonic() < until
        for client in clients:
            with contextlib.suppress(OSError):
                client.socket.send(b'{"execute": "query-capabilities"}\n' * 50)
    os.close(worker)
    for client in clients:
        client.close()


@LIMITED
def test_a_worker_that_is_killed_at_a_limit_is_followed_by_one_that_says_so(group, migration):
    """Its keeper is in the same group, and so is somebody with more memory, as a VMM would be."""
    agent = migration.start_destination()
    for pid in agent.pid, agent.worker():
        group.add(pid)
    bystander = group.hold(32 * MIB)
    group.limit(group.usage() + 8 * MIB)
    grow(agent)
    group.limit(None)
    assert agent.alive() and bystander.poll() is None
    bystander.kill()
    bystander.wait()
    control = open_again(agent)
    assert "at the limit" in control.wait_event("WORKER_RESTARTED")["data"]["reason"]
    told = control.wait_event("OUT_OF_MEMORY")["data"]
    assert (told["region"], told["page"], told["errno"]) == (None, None, errno.ENOMEM)
    control.command("cancel")
    assert agent.wait() == 130


NO_PRIVILEGE = ("setpriv", "--bounding-set=-sys_resource,-ipc_lock")


def looks(pid):
    """How often it has slept so far: a keeper that waits for room does nothing else."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", status, re.MULTILINE)[1])


def fill_up(group, agent, file):
    """Until the keeper is all that is left, in a group without room for another worker."""
    group.flood(file)
    while workers := group.members() - {agent.pid}:
        for worker in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        group.flood(file)


@LIMITED
def test_a_keeper_alone_in_a_full_group_needs_no_memory(group, migration):
    """It may not say that it is not to be killed, and nobody else is left whom the kernel could take."""
    agent = migration.start_destination(prefix=group.prefix(*NO_PRIVILEGE))
    scores = [pathlib.Path(f"/proc/{pid}/oom_score_adj").read_text() for pid in (agent.pid, agent.worker())]
    assert scores == ["0\n", "1000\n"]
    assert group.members() == {agent.pid, agent.worker()}
    group.limit(group.usage() + 16 * MIB)
    file = os.memfd_create("flood")
    fill_up(group, agent, file)
    group.tighten()
    until, before = time.monotonic() + DEADLINE, looks(agent.pid)
    while agent.alive() and looks(agent.pid) < before + 4:
        assert time.monotonic() < until
    assert agent.alive(), agent.log_text()
    group.limit(None)
    control = open_again(agent)
    control.wait_event("WORKER_RESTARTED")
    control.command("cancel")
    assert agent.wait() == 130
    os.close(file)


def wait_kept(agent, event):
    """Until it is in the state directory: an agent that gets no memory cannot send either."""
    until, ended = time.monotonic() + DEADLINE, select.poll()
    ended.register(agent.pidfd, select.POLLIN)
    while f'"event":"{event}"' not in (agent.state_dir / "events").read_text():
        assert not ended.poll(10), agent.log_text()
        assert time.monotonic() < until, f"no {event}"


@LIMITED
def test_a_limit_that_refuses_memory_is_told_and_raised_all_goes_on(group, migration):
    """Its clients and its VMM hear then what could not be sent, and in order."""
    group.refuse()
    migration.start_serving()
    destination = migration.destination
    group.add(destination.worker())
    group.limit(group.usage() + 16 * MIB)
    migration.relay.release()
    wait_kept(destination, "OUT_OF_MEMORY")
    assert migration.destination_guest.alive()
    group.limit(None)
    told = destination.control.wait_event("OUT_OF_MEMORY")["data"]
    assert told["errno"] == errno.ENOMEM
    migration.destination_guest.wait_word("complete")
    assert (migration.source.wait(), destination.wait()) == (0, 0)
    seqs = [event["seq"] for event in destination.control.events]
    assert seqs == list(range(1, seqs[-1] + 1))
    assert migration.destination_guest.finish()["verdict"].startswith("identical")


def open_again(agent):
    """To the worker that stays: one that is just being killed takes connections too."""
    until = time.monotonic() + DEADLINE
    while True:
        try:
            return agent.open()
        except Gone:
            assert time.monotonic() < until
            agent.control = None


@LIMITED
def test_a_limit_that_kills_costs_no_guest_and_raised_all_goes_on(group, migration):
    """Its keeper is in another group: in the same one, and without CAP_SYS_RESOURCE, it could go next."""
    migration.start_serving()
    destination, guest = migration.destination, migration.destination_guest
    worker = destination.worker()
    group.add(worker)
    group.limit(group.usage() + 24 * MIB)
    migration.relay.release()
    wait_gone(worker)
    destination.control.close()
    assert destination.alive() and guest.alive()
    group.limit(None)
    open_again(destination)
    destination.control.wait_event("WORKER_RESTARTED")
    guest.wait_word("complete")
    assert (migration.source.wait(), destination.wait()) == (0, 0)
    assert guest.finish()["verdict"].startswith("identical")
    assert migration.source.outcome()["migrate"]["pages"]["resent-after-resume"] == 0


@LIMITED
def test_what_no_memory_was_there_to_say_is_said_later(group, prepared, migration):
    """COMPLETE to the VMM, and answers to the orchestrator; no connection ends for that."""
    destination, machine, memory = prepared
    last = SIZE // vmm.PAGE - 1
    group.refuse()
    with concurrent.futures.ThreadPoolExecutor(1) as vcpu:
        vcpu.submit(touch, memory, 0, last).result(DEADLINE)
        group.add(destination.worker())
        group.limit(group.usage() + 4 * MIB)
        filler = group.fill()
        try:
            # All of it is read before there is a reason to end: the agent does so as soon as it can speak.
            destination.control.send_line(b"\n".join([b'{"execute": "query-migrate"}'] * 20))
            destination.control.wait_heard()
            vcpu.submit(touch, memory, last, 1).result(DEADLINE)
            with pytest.raises(Late):
                machine.receive(seconds=1)
        finally:
            group.limit(None)
            os.kill(filler, signal.SIGKILL)
            os.waitpid(filler, 0)
    machine.wait("COMPLETE")
    for _ in range(20):
        assert "return" in destination.control.next_other()
    destination.control.wait_state("completed")
    assert (destination.wait(), migration.source.wait()) == (0, 0)


# ---- a state directory that fills up


@pytest.fixture
def small(folder):
    """A file system that is full once fill() has been called."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    path = pathlib.Path(folder, "small")
    path.mkdir(0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8M,mode=0700", "tmpfs", path], check=True,
                   timeout=DEADLINE)
    yield path
    subprocess.run(["umount", "--lazy", path], check=True, timeout=DEADLINE)


def fill(path):
    with open(path / "filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(4096))
    assert os.statvfs(path).f_bfree == 0


@pytest.mark.parametrize("side", ["source", "destination"])
def test_a_state_directory_that_fills_up_under_way_ends_nothing(migration, small, side):
    """What cannot be kept is told all the same, and the guest arrives whole."""
    options = {side: {"state_dir": small}}
    migration.start("64M", 1, budget=8 << 20, **options)
    migration.source.control.command("switchover")
    migration.wait_state("postcopy-active")
    fill(small)
    migration.relay.release()
    migration.destination_guest.wait_word("complete")
    for agent in (migration.source, migration.destination):
        agent.control.wait_event("OUTCOME", outcome="completed", final=True)
        assert agent.wait() == 0
    assert "No space left on device" in getattr(migration, side).log_text()
    assert migration.destination_guest.finish()["verdict"].startswith("identical")


@pytest.mark.parametrize("side", ["source", "destination"])
def test_an_order_that_a_full_state_directory_does_not_keep_holds_and_says_so(migration, small, side):
    """The guest's way does not depend on room on a disk; who ordered it knows how long it holds."""
    migration.start("64M", 1, budget=8 << 20, **{side: {"state_dir": small}})
    migration.source.control.command("switchover")
    migration.wait_state("postcopy-active")
    fill(small)
    control = getattr(migration, side).control
    assert "No space left on device" in control.command("set-parameters", {"spin-us": 0})["not-kept"]
    told = verb("pause", "--control", getattr(migration, side).control_path)
    assert told.returncode == 0 and "the next one will not know: " in told.stderr
    control.wait_state("postcopy-paused")
    assert "No space left on device" in control.command("recover")["not-kept"]
    (small / "filler").unlink()
    migration.relay.release()
    assert control.command("set-parameters", {"spin-us": 0}) == {}
    migration.destination_guest.wait_word("complete")
    assert (migration.source.wait(), migration.destination.wait()) == (0, 0)
    assert migration.destination_guest.finish()["verdict"].startswith("identical")


# ---- a VMM that does not answer


def start_with_silent_vmm(migration):
    """The source's guest is a real one, the destination's VMM is the test."""
    migration.start_destination()
    migration.start_source().open()
    memory, machine = vmm.Memory(16 * MIB), vmm.Client(migration.destination.vmm_socket)
    machine.hello(vmm.DESTINATION)
    machine.regions([memory.region()])
    machine.wait("REGIONS_ACCEPTED")
    migration.start_guest("source", "16M", 1, ["--regions", "1"]).wait_word("running")
    migration.wait_state("active")
    migration.source.control.command("switchover")
    machine.wait("LOAD")
    return machine, memory


def waits_for(agent, what):
    assert agent.control.command("query-migrate")["waits-for"] == what


@pytest.mark.parametrize("side", ["source", "destination"])
def test_a_vmm_that_never_says_ready_is_named_and_cancel_gives_the_guest_back(migration, side):
    machine, memory = start_with_silent_vmm(migration)
    migration.destination.control.wait_event("NEED_DEVICE_LOAD")
    waits_for(migration.destination, "READY of its VMM")
    waits_for(migration.source, "READY of the destination")
    getattr(migration, side).control.command("cancel")
    assert (migration.source.wait(), migration.destination.wait()) == (130, 130)
    assert migration.source.outcome()["outcome"] == "source-intact"
    migration.source_guest.wait_word("continued")
    migration.check_source_guest_runs()
    machine.close()
    memory.close()


def test_a_vmm_that_never_says_resumed_is_named_and_a_person_can_give_it_up(migration):
    """Whether a vCPU has entered nobody knows but the VMM: no machine may take the guest back."""
    machine, memory = start_with_silent_vmm(migration)
    machine.say("READY")
    machine.wait("RESUME")
    migration.destination.control.wait_event("RUN_GRANTED")
    waits_for(migration.destination, "RESUMED of its VMM")
    migration.source.control.wait_state("postcopy-active")
    for agent in (migration.source, migration.destination):
        with pytest.raises(Refused):
            agent.control.command("cancel")
    migration.destination.control.command("cancel", {"lose-guest": True})
    assert migration.destination.wait() == 65
    machine.close()
    memory.close()
    migration.source.control.command("resolve", {"destination": "fenced"})
    assert migration.source.wait() == 130
    migration.source_guest.wait_word("continued")
    migration.check_source_guest_runs()


# ---- an orchestrator that goes and comes back


def test_an_orchestrator_that_comes_back_has_missed_nothing(migration):
    """Nobody listens at the destination while the guest goes over."""
    migration.start("64M", 1, budget=8 << 20)
    destination = migration.destination
    destination.control.take_history()
    newest = destination.control.events[-1]["seq"]
    destination.control.close()
    migration.source.control.command("switchover")
    migration.source.control.wait_state("postcopy-active")
    destination.control = again = destination.connect()
    missed = again.command("query-events", {"since": newest})["events"]
    names = [event["event"] for event in missed]
    assert [event["seq"] for event in missed] == list(range(newest + 1, newest + 1 + len(missed)))
    assert names.index("NEED_DEVICE_LOAD") < names.index("RUN_GRANTED")
    again.take_history()
    migration.relay.release()
    migration.destination_guest.wait_word("complete")
    again.wait_event("OUTCOME", outcome="completed", final=True)
    seqs = [event["seq"] for event in again.events]
    assert seqs == list(range(1, seqs[-1] + 1))
    assert (migration.source.wait(), destination.wait()) == (0, 0)
    assert migration.destination_guest.finish()["verdict"].startswith("identical")
