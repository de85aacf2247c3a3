# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_man.py - the manual pages: well formed, and true of the programs and of CONTROL.md."""
import pathlib
import re
import subprocess

import pytest

from harness import program

TOP = pathlib.Path(__file__).parents[2]
MAN = TOP / "migrate" / "man"
PAGES = [
    "pageferry.1", "pageferry-source.8", "pageferry-destination.8", "pageferry-probe.8",
    "pageferry-control.7",
]
CONTROL_MD = (TOP / "proto" / "CONTROL.md").read_text()

pytestmark = pytest.mark.smoke


def output_of(*argv):
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout


def help_of(*words):
    return output_of(program("PAGEFERRY"), *words, "--help")


def items(page, macro):
    """The words of every `.It MACRO word , word` of a page, and each item's text."""
    found = {}
    text = (MAN / page).read_text()
    for part in text.split("\n.It ")[1:]:
        head, _, body = part.partition("\n")
        body = re.split(r"\n\.(?:El|It|Ss|Sh)\b", body)[0]
        if not head.startswith(macro + " "):
            continue
        for word in re.findall(r"[^\s,]+", head[len(macro):].replace(" No or Cm", "")):
            found[word] = body
            if macro == "Fl":
                break
    return found


def section(page, name):
    """The lines below `.Ss name`, up to the next."""
    text = (MAN / page).read_text().split(f".Ss {name}\n")[1]
    return re.split(r"\n\.S[sh] ", text)[0]


def words_of(page, name):
    heads = re.findall(r"^\.It Cm (.*)$", section(page, name), re.MULTILINE)
    return {word for head in heads for word in re.findall(r"[^\s,]+", head)}


@pytest.mark.parametrize("page", PAGES)
def test_mandoc_has_nothing_to_say(page):
    lint = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", MAN / page],
        capture_output=True, text=True, timeout=60, check=False,
    )
    assert lint.stdout == "" and lint.returncode == 0, lint.stdout


@pytest.mark.parametrize("side", ["source", "destination"])
def test_an_agents_page_has_its_options_and_their_defaults(side):
    options = items(f"pageferry-{side}.8", "Fl")
    told = dict(re.findall(r"^  (-\S+).*\n      (.*)$", help_of(side), re.MULTILINE))
    assert set(options) == {name.removeprefix("-") for name in told}
    for name, text in told.items():
        default = re.search(r"\(default (\S+)\)", text)
        ours = re.search(r"^Default:\s+(?:\.Cm )?([^\s,.]+)", options[name[1:]], re.MULTILINE)
        # What the other side alone uses has no default worth telling.
        if default and "Accepted as on the other side" not in options[name[1:]]:
            assert ours and ours.group(1) == default.group(1), name


def test_the_programs_page_has_every_verb_and_option():
    told = help_of()
    assert words_of("pageferry.1", "Verbs") == set(re.findall(r"^  ([\w-]+) ", told, re.MULTILINE))
    options = set(re.findall(r"-(-[a-z-]+)", told)) | {"-help", "-version"}
    assert set(items("pageferry.1", "Fl")) == options


def test_the_probes_page_has_its_options():
    told = set(re.findall(r"^  -(-[a-z-]+)", help_of("probe"), re.MULTILINE))
    assert set(items("pageferry-probe.8", "Fl")) == told


def test_the_control_page_has_the_agents_commands(migration):
    migration.start_destination()
    migration.start_source().open()
    commands = set()
    for agent in (migration.source, migration.destination):
        commands |= set(agent.control.command("query-capabilities")["commands"])
    assert words_of("pageferry-control.7", "Commands") == commands


@pytest.mark.parametrize(
    "name, pattern",
    [
        ("Events", r"^\| `([A-Z_]+)` \| [SD]"),
        ("Error classes", r"^\| `([A-Z]\w+)` \|.*\| 1 \|$"),
        ("Metrics", r"^\| `(pageferry_\w+)` \|"),
    ],
)
def test_the_control_page_has_what_control_md_specifies(name, pattern):
    assert words_of("pageferry-control.7", name) == set(re.findall(pattern, CONTROL_MD, re.MULTILINE))


def test_the_control_page_has_the_states_and_outcomes():
    for member, name in (("state", "States"), ("outcome", "Outcomes")):
        row = re.search(rf"^\| `{member}` \| string.*?\| (.*) \|$", CONTROL_MD, re.MULTILINE).group(1)
        values = set(re.findall(r"`([a-z-]+)`", row))
        assert words_of("pageferry-control.7", name) == values
