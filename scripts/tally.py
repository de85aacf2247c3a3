#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""tally.py - counts single tests in what test runs leave behind.

usage: tally.py automake NAME BUILD-TREE     every .trs file and its .log
       tally.py pytest NAME RESULTS.xml      a junit file

Prints one line a test: passed, failed or skipped, its name, and the reason, separated by tabs.
A test program whose status and whose own words disagree is a failure: one that crashes after its
last test, or that a sanitizer ends, must not pass for the tests that it printed before.
"""
import pathlib
import re
import sys
import xml.etree.ElementTree

# cmocka's summary goes to stderr, each line in one write; what it says while it runs goes to stdout,
# which is buffered, so it is lost in a crash and comes in between here: hence no line anchors.
PASSED = re.compile(r"\[  PASSED  \] (\d+) test\(s\)\.")
OTHERS = re.compile(
    r"\[  (FAILED |SKIPPED) \] (\d+) test\(s\), listed below:\n((?:\[  (?:FAILED |SKIPPED) \] [^\n]+\n)*)"
)
# tests/lint: "ok: name", "not ok: name", "skip: name: reason".
LINES = re.compile(r"^(ok|not ok|skip): ([^:\n]+)(?:: (.*))?$", re.MULTILINE)
WORDS = {"ok": "passed", "not ok": "failed", "skip": "skipped"}


def emit(verdict, name, reason=""):
    print(verdict, name, " ".join(reason.split()) or "no reason given", sep="\t")


def cmocka_results(text):
    """(verdict, test, reason) of every test that a summary counts."""
    failures = iter(why_failed(text))
    for match in PASSED.finditer(text):
        for number in range(int(match.group(1))):
            yield "passed", f"test {number + 1}", ""
    for match in OTHERS.finditer(text):
        verdict = match.group(1).strip().lower()
        names = re.findall(r"\] ([^\n]+)\n", match.group(3))
        for number in range(int(match.group(2))):
            test = names[number] if number < len(names) else f"{verdict} test {number + 1}"
            yield verdict, test, why_skipped(test, text) if verdict == "skipped" else next(failures, "")


def why_failed(text):
    """Of each test that failed, in the summaries' order: fail_msg()'s text, or the last words of an assertion, and
    where that stands, if anywhere: an exception does not."""
    before, *failures = text.split("[  ERROR   ] --- ")
    for failure in failures:
        said = re.search(r"ERROR: ([^\n]+)\n$", before)
        words, line, place = failure.partition("[   LINE   ] --- ")
        words = words.strip().split("\n")[-1 if line else 0]
        yield ": ".join(filter(None, (said.group(1) if said else "", words, place.split("\n")[0])))
        before = failure


def why_skipped(test, text):
    """What the test printed on stderr: "skip NAME: reason" or "skip: reason".
    Of a test that is named "ROW: behaviour", or "ROW, ...", ROW may be who says it."""
    said = None
    for name in (test, re.split("[:,]", test)[0]):
        said = said or re.search(rf"skip {re.escape(name)}: ([^\n]+)", text)
    said = said or re.search(r"\bskip(?:ped)?: ([^\n]+)", text, re.IGNORECASE)
    return said.group(1) if said else ""


def program_results(text):
    if "[  PASSED  ]" in text:
        return list(cmocka_results(text))
    return [(WORDS[m.group(1)], m.group(2), m.group(3) or "") for m in LINES.finditer(text)]


def last_line(text):
    lines = [line for line in text.splitlines() if line.strip() and "(exit status:" not in line]
    return lines[-1] if lines else "it said nothing"


def tally_automake(name, tree):
    found = sorted(pathlib.Path(tree).rglob("*.trs"))
    for trs in found:
        program = f"{name}: {trs.stem}"
        result = re.search(r"^:test-result: *(\S+)", trs.read_text(), re.MULTILINE)
        status = result.group(1) if result else "ERROR"
        text = trs.with_suffix(".log").read_text(errors="replace")
        tests = program_results(text)
        for verdict, test, words in tests:
            emit(verdict, f"{program}: {test}", words)
        if status == "SKIP" and not tests:
            emit("skipped", program, last_line(text))
        elif re.search(r"^\[ +PASSED +\] 0 test", text, re.MULTILINE) and status == "PASS" and not tests:
            emit("failed", program, "no test ran: nothing has the name that was asked for")
        elif status == "PASS" and not tests:
            emit("passed", program)
        elif status not in ("PASS", "SKIP") and not any(t[0] == "failed" for t in tests):
            emit("failed", program, f"the program ended with {status}: {last_line(text)}")
        elif status == "PASS" and any(t[0] == "failed" for t in tests):
            emit("failed", program, "a test failed and the program's status is 0")
    return 0 if found else 1


def tally_pytest(name, path):
    cases = list(xml.etree.ElementTree.parse(path).iter("testcase"))
    for case in cases:
        test = f"{name}: {case.get('classname')}.{case.get('name')}"
        verdicts = {child.tag: child.get("message") or "" for child in case}
        broken = [tag for tag in ("failure", "error") if tag in verdicts]
        if broken:
            emit("failed", test, verdicts[broken[0]][:200])
        elif "skipped" in verdicts:
            emit("skipped", test, verdicts["skipped"])
        else:
            emit("passed", test)
    return 0 if cases else 1


def main(argv):
    if len(argv) != 4 or argv[1] not in ("automake", "pytest"):
        print(__doc__, file=sys.stderr)
        return 64
    return {"automake": tally_automake, "pytest": tally_pytest}[argv[1]](argv[2], argv[3])


if __name__ == "__main__":
    sys.exit(main(sys.argv))
