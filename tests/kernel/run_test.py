#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""run_test.py - tests/kernel/run does what it says: one boot a test, on the kernel without patches.

Prints "ok: name" or "not ok: name: why" a test; status 1 if one failed.  scripts/check runs it.
"""
import os
import pathlib
import select
import signal
import subprocess
import sys
import tempfile

RUN = [str(pathlib.Path(__file__).resolve().parent / "run"), "--plain"]
COMPLAINED, TOO_LATE, NOT_RUN = 123, 124, 125
BOOT = 120  # seconds that a boot may take on a busy machine


def run(*arguments, **options):
    return subprocess.run([*RUN, *arguments], text=True, capture_output=True, timeout=4 * BOOT,
                          check=False, **options)


def expect(what, is_, wanted):
    if is_ != wanted:
        raise AssertionError(f"{what} is {is_!r} and should be {wanted!r}")


def ended(done, status):
    if done.returncode != status:
        raise AssertionError(f"status is {done.returncode} and should be {status}: {done.stderr}")


def output_and_status_are_the_commands():
    done = run("sh", "-c", "echo to stdout; echo to stderr >&2; exit 7")
    ended(done, 7)
    expect("stdout", done.stdout, "to stdout\n")
    expect("stderr", done.stderr, "to stderr\n")


def arguments_directory_and_environment_come_along():
    word = "it's \"$HOME\" *"
    with tempfile.TemporaryDirectory() as here:
        done = run("--env", "FIRST", "--env", "SECOND=2", "sh", "-c",
                   'pwd; echo "$1" "$FIRST" "$SECOND" "$PAGEFERRY_X" "$LEFT"', "sh", word, cwd=here,
                   env={**os.environ, "FIRST": "1", "PAGEFERRY_X": "3", "LEFT": "behind"})
    expect("stdout", done.stdout, f"{here}\n{word} 1 2 3 \n")


def only_what_lies_in_out_is_kept():
    with tempfile.TemporaryDirectory() as name:
        here = pathlib.Path(name)
        (here / "kept").mkdir()
        done = run("--out", str(here / "kept"), "sh", "-c", "echo 1 >kept/a; echo 2 >b; cat b",
                   cwd=here)
        expect("stdout", done.stdout, "2\n")
        expect("kept/a", (here / "kept" / "a").read_text(), "1\n")
        expect("b is there", (here / "b").exists(), False)


def what_a_command_leaves_running_does_not_hold_it_up():
    done = run("--timeout", str(BOOT), "sh", "-c", "tail -f /dev/null & echo started")
    ended(done, 0)
    expect("stdout", done.stdout, "started\n")


def a_kernel_that_complains_fails_the_run():
    done = run("sh", "-c", "echo '<4>WARNING: of this test' >/dev/kmsg")
    ended(done, COMPLAINED)
    expect("its words are shown", "WARNING: of this test" in done.stderr, True)


def a_kernel_that_dies_fails_the_run():
    done = run("sh", "-c", "echo c >/proc/sysrq-trigger")
    ended(done, COMPLAINED)
    expect("its words are shown", "Kernel panic" in done.stderr, True)


def a_command_that_is_late_is_stopped():
    done = run("--timeout", "20", "tail", "-f", "/dev/null")
    ended(done, TOO_LATE)


def what_cannot_be_run_says_why():
    done = run("--kernel", "/dev/null", "true")
    ended(done, NOT_RUN)
    expect("QEMU is named", "QEMU ended" in done.stderr, True)
    done = run("--out", "/no/such/place", "true")
    ended(done, NOT_RUN)


def a_boot_without_a_timer_is_no_late_command():
    """Asked for, here; on a busy host it comes by itself.  The command is not begun, and once more is tried."""
    done = run("--append", "nolapic_timer", "sh", "-c", "echo begun; exec tail -f /dev/null")
    ended(done, NOT_RUN)
    expect("stdout", done.stdout, "")
    expect("boots again", done.stderr.count("booting again"), 1)
    expect("says why", "without a timer, twice" in done.stderr, True)


def children_of(pid):
    return pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def qemu_ends_with_it_however_that_ends():
    for number in (signal.SIGTERM, signal.SIGKILL):
        command = [*RUN, "sh", "-c", "echo up; exec tail -f /dev/null"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            expect("stdout", process.stdout.readline(), "up\n")
            (qemu,) = children_of(process.pid)
            watch = os.pidfd_open(int(qemu))
            process.send_signal(number)
            process.wait(BOOT)
            # Its parent is gone, so somebody else reaps it; the descriptor tells when it is dead.
            expect("QEMU's end", select.select([watch], [], [], BOOT)[0], [watch])
            os.close(watch)


TESTS = (
    output_and_status_are_the_commands,
    arguments_directory_and_environment_come_along,
    only_what_lies_in_out_is_kept,
    what_a_command_leaves_running_does_not_hold_it_up,
    a_kernel_that_complains_fails_the_run,
    a_kernel_that_dies_fails_the_run,
    a_command_that_is_late_is_stopped,
    what_cannot_be_run_says_why,
    a_boot_without_a_timer_is_no_late_command,
    qemu_ends_with_it_however_that_ends,
)


def main():
    failures = 0
    for test in TESTS:
        try:
            test()
        except (AssertionError, subprocess.SubprocessError, ValueError, OSError) as why:
            failures += 1
            print(f"not ok: {test.__name__}: {why}", flush=True)
        else:
            print(f"ok: {test.__name__}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
