# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_probe.py - pageferry probe: what it says here, to whom, in which form, and how it ends."""
import ctypes
import fcntl
import json
import os
import pathlib
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import tempfile
import termios

import pytest

import gmem
from harness import program
from hugepages import Pool
from pki import DESTINATION_NAME
from processes import DEADLINE

KINDS = ["memfd", "tmpfs", "hugetlbfs", "private", "guest_memfd"]
ROWS = ["missing", "minor", "continue", "copy", "zeropage", "wake", "poison"]
SUBJECTS = ["userfaultfd", *KINDS, "kvm", "room", "network-tests"]
KERNELS_MD = pathlib.Path(__file__).parents[2] / "migrate" / "probe" / "KERNELS.md"
SYSCTL = pathlib.Path("/proc/sys/vm/unprivileged_userfaultfd")
PR_SET_CHILD_SUBREAPER = 36
NOBODY = 65534

pytestmark = pytest.mark.smoke


def probe(*options, prefix=(), **more):
    return subprocess.run(
        [*prefix, program("PAGEFERRY"), "probe", *options],
        capture_output=True, text=True, timeout=DEADLINE * 3, check=False, **more,
    )


def report(*options, code=None, **more):
    """The JSON as a dict, and the rows by subject and name."""
    ended = probe("--json", *options, **more)
    found = json.loads(ended.stdout)
    assert ended.returncode == (0 if found["post-copy"]["memfd"]["works"] else 71), ended.stderr
    assert code in (None, ended.returncode), ended
    return found, {
        (subject["name"], check["name"]): check
        for subject in found["subjects"] for check in subject["checks"]
    }


# ---- the form


def test_json_has_every_subject_and_every_no_its_reason():
    found, rows = report("--memory", "1G")
    assert set(found) == {"pageferry", "host", "memory", "post-copy", "subjects"}
    assert found["host"]["kernel"] == os.uname().release
    assert found["host"]["user"] == os.geteuid()
    assert found["memory"] == 1 << 30
    assert [subject["name"] for subject in found["subjects"]] == SUBJECTS
    assert list(found["post-copy"]) == KINDS
    for (subject, name), check in rows.items():
        assert set(check) <= {"name", "title", "result", "needed", "found", "why", "hint", "privilege"}
        assert check["result"] in ("yes", "no", "untried"), (subject, name)
        assert (subject in KINDS) == ("needed" in check)
        if check["result"] == "yes":
            assert "why" not in check, check
        else:
            assert check["why"], (subject, name)
        if check["result"] == "no" and check.get("needed", True):
            assert check["hint"], (subject, name)
    for kind in KINDS:
        assert [name for subject, name in rows if subject == kind] == ROWS


def test_a_verdict_is_what_its_rows_say():
    found, rows = report()
    kernel = rows["userfaultfd", "kernel-accesses"]["result"] == "yes"
    for kind in KINDS:
        works = kernel and all(
            rows[kind, name]["result"] == "yes" for name in ROWS if rows[kind, name]["needed"]
        )
        if kind == "guest_memfd":
            works = works and rows["kvm", "userfault"]["result"] == "yes"
        assert found["post-copy"][kind]["works"] == works, kind
        assert works or found["post-copy"][kind]["lacks"]


@pytest.mark.parametrize(
    "options, words",
    [
        (["--nonsense"], "--nonsense"),
        (["word"], "word"),
        (["--memory", "lots"], "lots"),
        (["--connect", "nowhere"], "nowhere"),
        (["--connect", "localhost:0"], "port 0"),
        (["--connect"], "needs a value"),
        (["--peer-name", "x"], "--connect"),
    ],
)
def test_a_wrong_command_line_is_refused(options, words):
    ended = probe(*options)
    assert (ended.returncode, ended.stdout) == (64, "")
    assert words in ended.stderr


def on_terminal(columns, **environment):
    """What a terminal of this width gets to see, and the exit status."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    child = subprocess.Popen(
        [program("PAGEFERRY"), "probe"], stdin=subprocess.DEVNULL, stdout=theirs,
        stderr=subprocess.DEVNULL, env={**os.environ, "TERM": "xterm", **environment},
    )
    os.close(theirs)
    text = b""
    while True:
        ready, _, _ = select.select([ours], [], [], DEADLINE * 3)
        assert ready, text
        try:
            data = os.read(ours, 65536)
        except OSError:  # EIO: nobody has the other end any more
            break
        text += data
    os.close(ours)
    return text.decode().replace("\r\n", "\n"), child.wait(DEADLINE)


def test_on_a_terminal_it_is_a_table_that_fits():
    text, _ = on_terminal(76)
    assert "\033[32myes\033[0m" in text
    plain = re.sub(r"\033\[\d*m", "", text)
    assert max(map(len, plain.splitlines())) <= 76
    for words in ("Post-copy of", "/dev/userfaultfd", "MISSING  MINOR", "KVM userfault", "netem"):
        assert words in plain, words


def test_no_colour_is_no_colour():
    text, _ = on_terminal(100, NO_COLOR="1")
    assert "\033" not in text


def test_text_and_json_say_the_same():
    Pool.take()  # or a test beside this one takes pages between the two
    text = probe(env={**os.environ, "COLUMNS": "1000"}).stdout
    for (subject, name), check in report()[1].items():
        if subject in KINDS or check["result"] == "untried":
            continue
        line = next(l for l in text.splitlines() if l.startswith(f"  {check['title']} "))
        assert line[len(check["title"]) + 2:].split()[0] == check["result"], (subject, name)


def test_the_document_shows_every_row_on_every_kernel():
    """scripts/probe-kernels writes it."""
    sections = KERNELS_MD.read_text().split("\n## ")[1:]
    assert len(sections) == 3
    for (subject, name), check in report()[1].items():
        for section in sections:
            words = subject if subject in KINDS else check["title"]
            assert f"  {words} " in section, (section.splitlines()[0], subject, name)


# ---- what it finds


def test_what_it_tried_on_this_machine_agrees_with_the_unit_tests():
    """They run on memfd as root, so that a no here would be the probe's."""
    if os.geteuid() != 0:
        pytest.skip("root has every way to a userfaultfd; this user may have none")
    found, rows = report(code=0)
    for kind in ("memfd", "tmpfs", "private"):
        assert found["post-copy"][kind]["works"], found["post-copy"][kind]
    assert rows["private", "minor"]["result"] == "no"
    assert rows["userfaultfd", "system-call"]["result"] == "yes"
    # memory/gmem_probe.c and the page of memory.c are two ways to ask the same.
    both = {rows["kvm", "guest-memfd-userfaultfd"]["result"], rows["guest_memfd", "continue"]["result"]}
    assert len(both) == 1, both


def test_guest_memfd_is_what_kvm_says_and_more():
    """KVM offers what it has; that it works is the probe's to find out."""
    if os.geteuid() != 0:
        pytest.skip("it takes /dev/kvm and a userfaultfd")
    lacks = gmem.missing()
    found, rows = report()
    assert found["post-copy"]["guest_memfd"]["works"] == (not lacks), (lacks, rows)
    if not lacks:
        assert "exit reason 39, flag 0x10" in rows["kvm", "userfault"]["found"]
        assert "WRITE" in rows["kvm", "guest-memfd"]["found"]


def test_an_unprivileged_user_hears_what_is_missing():
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    if SYSCTL.read_text().strip() != "0" or os.stat("/dev/userfaultfd").st_mode & 0o006:
        pytest.skip("every user may open a userfaultfd here")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pf-e2e-"))
    try:
        # The build tree need not be open to everybody.
        copy = folder / "pageferry"
        copy.write_bytes(pathlib.Path(program("PAGEFERRY")).read_bytes())
        copy.chmod(0o755)
        folder.chmod(0o755)
        ended = subprocess.run(
            ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
             copy, "probe", "--json"],
            capture_output=True, text=True, timeout=DEADLINE * 3, check=False,
        )
    finally:
        copy.unlink()
        folder.rmdir()
    assert ended.returncode == 71, ended
    assert "by the kernel" in ended.stderr
    found = json.loads(ended.stdout)
    assert found["host"]["user"] == NOBODY
    rows = {(s["name"], c["name"]): c for s in found["subjects"] for c in s["checks"]}
    assert rows["userfaultfd", "system-call"]["privilege"] == "CAP_SYS_PTRACE"
    assert rows["userfaultfd", "device"]["privilege"] == "access to /dev/userfaultfd"
    assert rows["userfaultfd", "kernel-accesses"]["result"] == "no"
    # What takes no privilege is tried all the same.
    assert rows["memfd", "continue"]["result"] == "yes"


def memory_group(folder):
    """A memory control group with 96 MiB, of either version, and a way into it."""
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        left, right = line.split(" - ")
        kind, _, options = right.split(" ", 2)
        if kind == "cgroup" and "memory" in options.split(","):
            return pathlib.Path(left.split()[4], folder), "memory.limit_in_bytes"
        if kind == "cgroup2":
            root = pathlib.Path(left.split()[4])
            if os.environ.get("PAGEFERRY_KERNEL"):  # its groups are nobody else's
                (root / "cgroup.subtree_control").write_text("+memory")
            if "memory" in (root / "cgroup.subtree_control").read_text().split():
                return root / folder, "memory.max"
    pytest.skip("no memory control group is mounted")
    return None


@pytest.fixture
def limited():
    if os.geteuid() != 0:
        pytest.skip("only root can make a control group")
    group, limit = memory_group(f"pf-e2e-{os.getpid()}")
    (group / "below").mkdir(parents=True)
    try:
        (group / limit).write_text(str(96 << 20))
        yield group
    finally:
        (group / "below").rmdir()
        group.rmdir()


def test_the_limit_of_a_parent_group_counts(limited):
    """The probe's own group has none."""
    enter = ["sh", "-c", 'echo $$ > "$0"/below/cgroup.procs && exec "$@"', str(limited)]
    _, rows = report("--memory", "64M", prefix=enter)
    row = rows["room", "memory-cgroup"]
    # The agent beside the guest does not fit any more.
    assert row["result"] == "no", row
    assert limited.name in row["why"] and "group" in row["hint"]
    _, rows = report("--memory", "16M", prefix=enter)
    row = rows["room", "memory-cgroup"]
    assert row["result"] == "yes" and limited.name in row["found"] and "of 96 MiB" in row["found"], row


def test_a_guest_larger_than_this_machine_does_not_fit():
    _, rows = report("--memory", "100000G")
    assert rows["room", "available"]["result"] == "no"
    assert rows["room", "hugepages"]["result"] == "no"
    assert rows["room", "hugepages"]["hint"]


# ---- the way to a peer


def peer_rows(address, pki, *more):
    _, rows = report("--connect", address, "--tls-dir", pki.folder, *more)
    return {name: row for (subject, name), row in rows.items() if subject == "peer"}


def test_a_destination_is_reached_and_goes_on(migration):
    migration.start_destination()
    rows = peer_rows(migration.address, migration.pki)
    assert {name: row["result"] for name, row in rows.items()} == dict.fromkeys(
        ("name", "route", "tcp", "tls"), "yes"), rows
    assert "interface lo" in rows["route"]["found"] and "MTU" in rows["route"]["found"]
    assert "ms" in rows["tcp"]["found"] and "TLSv1.3" in rows["tls"]["found"]
    told = migration.destination.control.wait_event("PEER_REFUSED")
    assert told["data"]["address"].startswith("127.0.0.1")
    assert migration.destination.alive()
    rows = peer_rows(migration.address, migration.pki, "--peer-name", DESTINATION_NAME)
    assert rows["tls"]["result"] == "yes", rows


def test_nobody_listens_there(pki):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # not listening: refused
        rows = peer_rows("127.0.0.1:%d" % unused.getsockname()[1], pki)
    assert rows["tcp"]["result"] == "no" and "refused" in rows["tcp"]["why"], rows
    assert rows["tcp"]["hint"] and rows["tls"]["result"] == "untried"


def test_a_name_that_nobody_has(pki):
    rows = peer_rows("nobody.invalid:4444", pki)
    assert rows["name"]["result"] == "no" and rows["name"]["hint"], rows
    assert [rows[name]["result"] for name in ("route", "tcp", "tls")] == ["untried"] * 3


def test_a_peer_of_another_authority_is_refused(migration, foreign_pki):
    migration.start_destination()
    rows = peer_rows(migration.address, foreign_pki)
    assert rows["tls"]["result"] == "no" and "not signed by ca-cert.pem" in rows["tls"]["why"], rows
    assert rows["tls"]["hint"]


def test_a_peer_of_another_name_is_refused(migration):
    migration.start_destination()
    rows = peer_rows(migration.address, migration.pki, "--peer-name", "somebody.else.test")
    assert rows["tls"]["result"] == "no", rows
    assert "somebody.else.test" in rows["tls"]["why"] and DESTINATION_NAME in rows["tls"]["why"]


def test_a_peer_that_refuses_us_is_heard(migration, folder):
    """It can only say so after our own handshake has ended."""
    mine = migration.pki.copy(folder + "/mine")
    mine.issue("client", san="DNS:somebody.else.test")
    migration.start_destination()
    rows = peer_rows(migration.address, mine)
    assert rows["tls"]["result"] == "no" and "refuse" in rows["tls"]["why"], rows


def test_without_certificates_it_goes_as_far_as_tcp(migration):
    migration.start_destination()
    _, rows = report("--connect", migration.address)
    assert rows["peer", "tcp"]["result"] == "yes"
    assert rows["peer", "tls"]["result"] == "untried" and "--tls-dir" in rows["peer", "tls"]["why"]


def test_certificates_are_said_to_hold_until(pki, folder):
    _, rows = report("--tls-dir", pki.folder)
    for name in ("ca-cert", "client-cert", "server-cert", "source", "destination"):
        assert rows["tls", name]["result"] == "yes", rows["tls", name]
    assert "until 20" in rows["tls", "client-cert"]["found"]
    assert "soon" in rows["tls", "client-cert"]["hint"]  # a day is left
    assert rows["tls", "ca-crl"]["result"] == "untried"
    old = pki.copy(folder + "/old")
    old.expire("client")
    old.postpone("server")
    _, rows = report("--tls-dir", old.folder)
    assert "expired on" in rows["tls", "client-cert"]["why"]
    assert "not valid before" in rows["tls", "server-cert"]["why"]
    assert [rows["tls", side]["result"] for side in ("source", "destination")] == ["no", "no"]


# ---- what it leaves


def test_killed_in_the_middle_it_leaves_no_process(pki):
    """What it has started, and what stands still just then, is killed with it."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0  # it will be ours to reap
    try:
        with socket.create_server(("127.0.0.1", 0)) as mute:
            mute.settimeout(DEADLINE)
            child = subprocess.Popen(
                [program("PAGEFERRY"), "probe", "--connect", "127.0.0.1:%d" % mute.getsockname()[1],
                 "--tls-dir", pki.folder],
                stdout=subprocess.DEVNULL,
            )
            stream, _ = mute.accept()
            with stream:
                children = pathlib.Path(f"/proc/{child.pid}/task/{child.pid}/children")
                (pid,) = map(int, children.read_text().split())
                os.kill(pid, signal.SIGSTOP)
                pidfd = os.pidfd_open(pid)
                child.kill()
                child.wait(DEADLINE)
                assert select.select([pidfd], [], [], DEADLINE)[0], f"pid {pid} stands for ever"
                os.close(pidfd)
                assert os.waitid(os.P_PID, pid, os.WEXITED).si_status == signal.SIGKILL
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def test_the_machine_is_as_before(folder):
    """In namespaces of the test's own, where nobody else changes anything."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a namespace to look at")
    look = "{ cat /proc/self/mounts /proc/self/net/dev | sed 's/:.*//'; ls /dev/shm /run /tmp | grep -c pageferry-probe; }"
    ended = subprocess.run(
        ["unshare", "-n", "-m", "sh", "-c",
         f'{look} >"$1"; "$0" probe --memory 1G >"$3"; {look} >"$2"; diff "$1" "$2"',
         program("PAGEFERRY"), *(f"{folder}/{name}" for name in ("before", "after", "text"))],
        capture_output=True, text=True, timeout=DEADLINE * 3, check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, ""), ended
