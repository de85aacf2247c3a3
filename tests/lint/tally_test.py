#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""tally_test.py - scripts/tally.py counts every test once, and no crash as a pass.

Prints "ok: name" or "not ok: name: what it said instead", as lint.py does.
"""
import pathlib
import subprocess
import sys
import tempfile

TALLY = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "tally.py"

GOOD = "seed 7\n[==========] 2 test(s) run.\n[  PASSED  ] 2 test(s).\n"
MIXED = (
    "skip no_kvm: there is no /dev/kvm\n[  ERROR   ] --- 0 != 0x1\n[   LINE   ] --- test-x.c:9: error: Failure!\n"
    "cut line[  PASSED  ] 1 test(s).\n"
    "[  SKIPPED ] 1 test(s), listed below:\n[  SKIPPED ] no_kvm\n\n 1 SKIPPED TEST(S)\n"
    "[  FAILED  ] 1 test(s), listed below:\n[  FAILED  ] adds_up\n\n 1 FAILED TEST(S)\n"
)
ROWS = (
    "skip guest_memfd: no write(2) on it\nskip huge pages: 24 are needed\n[  PASSED  ] 1 test(s).\n"
    "[  SKIPPED ] 3 test(s), listed below:\n[  SKIPPED ] guest_memfd: killed at every step\n"
    "[  SKIPPED ] huge pages, two mappings: no page is torn\n[  SKIPPED ] guest_memfd: killed at random\n"
    "\n 3 SKIPPED TEST(S)\n"
)
AT = "[   LINE   ] --- test-x.c"
TOLD = (
    f"[  ERROR   ] --- difference at offset 0 0x00 0x01\n2 bytes of 0x1 and 0x2 differ\n{AT}:9: error: Failure!\n"
    f"[  ERROR   ] --- a[0] == 1\n{AT}:10: error: Failure!\n"
    f"ERROR: page 12: torn\n[  ERROR   ] --- {AT}:12: error: Failure!\n"
    "[  ERROR   ] --- Test failed with exception: Segmentation fault(11)\n"
    "[  PASSED  ] 0 test(s).\n[  FAILED  ] 3 test(s), listed below:\n"
    "[  FAILED  ] is_same\n[  FAILED  ] adds_up\n[  FAILED  ] is_whole\n"
    "[  PASSED  ] 0 test(s).\n[  FAILED  ] 1 test(s), listed below:\n[  FAILED  ] lives\n"
)
LINES = "ok: a\nnot ok: b: 3, the first: x\n    x\nskip: c: no g++\n"
XML = (
    '<testsuites><testsuite><testcase classname="m" name="a"/>'
    '<testcase classname="m" name="b"><skipped message="no kvm"/></testcase>'
    '<testcase classname="m" name="c"><failure message="1 != 2"/></testcase>'
    '<testcase classname="m" name="d"><error message="teardown"/></testcase>'
    "</testsuite></testsuites>"
)

# name, {file: text}, the verdicts counted, words that must be said, status
CASES = (
    ("every cmocka test counts", {"x.log": GOOD, "x.trs": ":test-result: PASS\n"},
     {"passed": 2}, [], 0),
    ("two groups of one program add up", {"x.log": GOOD + GOOD, "x.trs": ":test-result: PASS\n"},
     {"passed": 4}, [], 0),
    ("failures and skips have names and reasons", {"x.log": MIXED, "x.trs": ":test-result: FAIL\n"},
     {"passed": 1, "skipped": 1, "failed": 1},
     ["no_kvm\tthere is no /dev/kvm", "adds_up\t0 != 0x1: test-x.c:9"], 0),
    ("each failure says what it found", {"x.log": TOLD, "x.trs": ":test-result: FAIL\n"}, {"failed": 4},
     ["is_same\t2 bytes of 0x1 and 0x2 differ: test-x.c:9", "adds_up\ta[0] == 1: test-x.c:10",
      "is_whole\tpage 12: torn: test-x.c:12", "lives\tTest failed with exception: Segm"], 0),
    ("a row of several tests gives the reason for each of them",
     {"x.log": ROWS, "x.trs": ":test-result: PASS\n"}, {"passed": 1, "skipped": 3},
     ["guest_memfd: killed at every step\tno write(2) on it",
      "huge pages, two mappings: no page is torn\t24 are needed",
      "guest_memfd: killed at random\tno write(2) on it"], 0),
    ("a crash before the summary is a failure",
     {"x.log": "SEGV on unknown address\n", "x.trs": ":test-result: FAIL\n"},
     {"failed": 1}, ["SEGV"], 0),
    ("a program that a sanitizer ends after its last test fails",
     {"x.log": GOOD + "WARNING: ThreadSanitizer: data race\n", "x.trs": ":test-result: FAIL\n"},
     {"passed": 2, "failed": 1}, ["data race"], 0),
    ("a failed test in a program with status 0 fails twice",
     {"x.log": MIXED, "x.trs": ":test-result: PASS\n"},
     {"passed": 1, "skipped": 1, "failed": 2}, ["status is 0"], 0),
    ("exit status 77 is a skip with its reason",
     {"x.log": "no userfaultfd here\nSKIP x (exit status: 77)\n", "x.trs": ":test-result: SKIP\n"},
     {"skipped": 1}, ["no userfaultfd here"], 0),
    ("a filter that no test has is a failure",
     {"x.log": "[  PASSED  ] 0 test(s).\n", "x.trs": ":test-result: PASS\n"}, {"failed": 1}, ["no test ran"], 0),
    ("a program without words of its own counts once",
     {"x.log": "fine\n", "x.trs": ":test-result: PASS\n"}, {"passed": 1}, [], 0),
    ("lint's lines count", {"x.log": LINES, "x.trs": ":test-result: FAIL\n"},
     {"passed": 1, "failed": 1, "skipped": 1}, ["no g++"], 0),
    ("no test at all is an error", {}, {}, [], 1),
    ("a junit file counts", {"r.xml": XML}, {"passed": 1, "skipped": 1, "failed": 2},
     ["no kvm", "1 != 2", "teardown"], 0),
    ("an empty junit file is an error", {"r.xml": "<testsuites/>"}, {}, [], 1),
)


def run(files):
    with tempfile.TemporaryDirectory(prefix="pageferry-tally-") as folder:
        for name, text in files.items():
            pathlib.Path(folder, name).write_text(text)
        what = ("pytest", f"{folder}/r.xml") if "r.xml" in files else ("automake", folder)
        return subprocess.run(
            [sys.executable, "-B", TALLY, what[0], "gcc", what[1]],
            text=True, capture_output=True, check=False,
        )


def main():
    failed = False
    for name, files, verdicts, words, status in CASES:
        result = run(files)
        lines = result.stdout.splitlines()
        counted = {
            verdict: count
            for verdict in ("passed", "failed", "skipped")
            if (count := sum(line.startswith(verdict + "\t") for line in lines))
        }
        if counted == verdicts and result.returncode == status and all(w in result.stdout for w in words):
            print(f"ok: {name}")
        else:
            failed = True
            print(f"not ok: {name}: status {result.returncode}, {counted}, {lines} {result.stderr}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
