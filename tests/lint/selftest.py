# SPDX-License-Identifier: LGPL-2.1-or-later
"""selftest.py - every check can fail: small bad trees, each with what the check must say about it."""
import pathlib
import tempfile

import checks
from source import Tree

SPDX = "/* SPDX-License-Identifier: LGPL-2.1-or-later */\n"
HEADER = SPDX + "/* base/a.h - a header for this test. */\n#ifndef A_H\n#define A_H\n#include <stdint.h>\n"

# A tree with which every check is content.
GOOD = {
    "src/base/a.h": HEADER + "static inline int a(void)\n{\n\treturn 1;\n}\n#endif\n",
    "src/core/b.c": SPDX + '/* core/b.c - uses a, and "exit(1)". */\n#include "base/a.h"\n',
    "src/vmm/pageferry-vmm.h": SPDX
    + "/* pageferry-vmm.h - a public header here. */\n#ifndef V_H\n#define V_H\nint v(int x);\n#endif\n",
    "scripts/run.sh": "#!/bin/sh\n# SPDX-License-Identifier: LGPL-2.1-or-later\necho \"$1\"\n",
    "src/Makefile.inc": "libpf_core_a_SOURCES = %D%/core/b.c %D%/base/x.c %D%/base/a.h\n"
    "EXTRA_DIST += %D%/vmm scripts/run.sh\n",
    "tests/unit/test-y.c": SPDX + "/* test-y.c - skips with a reason. */\nvoid f(void)\n{\n"
    + '\tfprintf(stderr, "skip f: no kvm\\n");\n\tskip();\n}\n',
    "tests/Makefile.inc": "y_SOURCES = %D%/unit/test-y.c\n",
    "NOTES.md": "See base/a.h.\n",
    "ARCHITECTURE.md": "## Files\n`b.c`\n",
}


def c_file(body, name="base/x.c"):
    return SPDX + f"/* {name} - a bad input here. */\n" + body


LONG_FUNCTION = "int f(void);\nint f(void)\n{\n" + "\t;\n" * 80 + "\treturn 0;\n}\n"
LONG_PYTHON = "# SPDX-License-Identifier: LGPL-2.1-or-later\ndef g():\n" + "    x = 1\n" * 80
LONG_SHELL = (
    "#!/bin/sh\n# SPDX-License-Identifier: LGPL-2.1-or-later\nh() {\n" + "\techo\n" * 80 + "}\nh\n"
)

# (check, files that spoil the good tree, what must be in the complaint)
BAD = (
    (checks.includes_go_downwards, {"src/base/x.c": c_file('#include "net/y.h"\n'),
                                    "src/net/y.h": c_file("", "net/y.h")}, "not below it"),
    (checks.includes_go_downwards, {"src/core/x.c": c_file('#include "wire/y.h"\n'),
                                    "src/wire/y.h": c_file("", "wire/y.h")}, "not below it"),
    (checks.includes_go_downwards, {"src/memory/x.c": c_file('#include "net/y.h"\n'),
                                    "src/net/y.h": c_file("", "net/y.h")}, "not below it"),
    (checks.includes_go_downwards, {"src/net/x.c": c_file('#include "migrate/y.h"\n'),
                                    "migrate/y.h": c_file("", "migrate/y.h")}, "not below it"),
    (checks.includes_go_downwards, {"src/base/x.c": c_file('#include "a.h"\n')}, "its folder"),
    (checks.includes_go_downwards, {"src/base/x.c": c_file("#include <base/a.h>\n")}, "in quotes"),
    (checks.includes_go_downwards, {"src/new/x.c": c_file("", "new/x.c")}, "in no layer"),
    (checks.includes_go_downwards, {"src/x.c": c_file("", "x.c")}, "in no layer"),
    (checks.includes_go_downwards, {"migrate/x.c": c_file('#include "proto/wire.pb-c.h"\n')},
     "only src/wire/msg.c may"),
    (checks.headers_form_no_cycle, {"src/base/x.h": c_file('#include "base/y.h"\n'),
                                    "src/base/y.h": c_file('#include "base/x.h"\n')}, "->"),
    (checks.core_does_no_io, {"src/core/x.c": c_file("#include <unistd.h>\n")}, "<unistd.h>"),
    (checks.core_does_no_io, {"src/core/x.c": c_file('#include "base/y.h"\n'),
                              "src/base/y.h": c_file("#include <stdio.h>\n")}, "through src/base/y.h"),
    (checks.headers_compile_alone, {"src/base/x.h": c_file("uint8_t x(void);\n")}, "with gcc"),
    (checks.headers_compile_alone, {"src/base/x.h": c_file("uint8_t x(void);\n")}, "with clang"),
    (checks.headers_compile_alone, {"src/base/x.h": c_file("static const int twice = 1;\n")},
     "redefinition"),
    (checks.headers_compile_alone,
     {"src/base/x.h": HEADER + "static inline char c(int i)\n{\n\treturn i;\n}\n#endif\n"},
     "conversion"),
    (checks.public_header_is_cxx, {"src/vmm/pageferry-vmm.h": c_file("int template;\n")}, "g++"),
    (checks.public_header_is_plain_c, {"src/vmm/pageferry-vmm.h": c_file('#include "base/a.h"\n')},
     "with gcc"),
    (checks.functions_fit_a_screen, {"src/base/x.c": c_file(LONG_FUNCTION)}, "f has 84 lines"),
    (checks.functions_fit_a_screen, {"tests/x.py": LONG_PYTHON}, "g has 81 lines"),
    (checks.functions_fit_a_screen, {"scripts/x": LONG_SHELL}, "h has 82 lines"),
    (checks.files_are_short, {"src/base/x.c": c_file("\n" * 700)}, "has 702 lines"),
    (checks.files_say_what_they_are, {"src/base/x.c": "/* x.c - no licence line. */\n"}, "first line"),
    (checks.files_say_what_they_are, {"src/base/x.c": SPDX + "int x;\n"}, "first comment"),
    (checks.files_say_what_they_are, {"src/base/x.c": c_file("", "base/y.c")}, "x.c - purpose"),
    (checks.files_say_what_they_are, {"scripts/x": "#!/bin/sh\necho\n"}, "no SPDX"),
    (checks.banned_calls_are_absent, {"migrate/x.c": c_file("int f(char *s)\n{\n\treturn atoi(s);\n}\n")},
     "x.c:5: atoi()"),
    (checks.banned_calls_are_absent, {"src/base/x.c": c_file("void f(void)\n{\n\texit(1);\n}\n")},
     "exit()"),
    (checks.banned_calls_are_absent, {"src/base/x.c": c_file('void f(void)\n{\n\tfprintf(stderr, "");\n}\n')},
     "stderr"),
    (checks.nothing_sleeps, {"migrate/x.c": c_file("void f(void)\n{\n\tusleep(1);\n}\n")}, "usleep"),
    (checks.nothing_sleeps, {"tests/x.py": "import time\ntime.sleep(1)\n"}, "time.sleep"),
    (checks.nothing_sleeps, {"scripts/x.sh": "#!/bin/sh\nsleep 1\n"}, "x.sh:2"),
    (checks.nothing_is_left_over, {"src/base/x.c": c_file("/* TO" + "DO: later */\n")}, "x.c:3"),
    (checks.every_source_is_built, {"tests/unit/test-x.c": c_file("")}, "test-x.c is in no"),
    (checks.the_tarball_has_every_file, {"tests/e2e/test_x.py": "X = 1\n"}, "tests/e2e/test_x.py would"),
    (checks.the_tarball_has_every_file, {"tests/x.py": "X = 1\n", "Makefile.am": "# What tests need.\n"}, "tests/x.py would"),
    (checks.the_tarball_has_every_file, {"src/base/x.h": HEADER + "#endif\n"}, "src/base/x.h would"),
    (checks.skips_have_reasons, {"tests/x.c": c_file("void f(void)\n{\n\tskip();\n}\n")}, "x.c:5"),
    (checks.shell_is_sound, {"scripts/x.sh": "#!/bin/sh\nrm $1\n"}, "SC2086"),
    (checks.documents_name_what_exists, {"NOTES.md": "See base/gone.c.\n"}, "base/gone.c"),
    (checks.documents_name_what_exists, {"NOTES.md": "See pf_gone().\n"}, "pf_gone()"),
    (checks.the_map_shows_every_file, {"src/base/x.c": c_file("")}, "base/x.c"),
)


def tree_of(folder, files):
    for name, text in files.items():
        path = pathlib.Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Tree(folder)


def verdict(check, files):
    with tempfile.TemporaryDirectory(prefix="pageferry-lint-") as folder:
        return check(tree_of(folder, {**GOOD, **files}))


def wrong_verdicts(check):
    """What is wrong with a check: [] if it accepts the good tree and refuses every bad one."""
    wrong = [f"complains about a good tree: {problem}" for problem in verdict(check, {})]
    cases = [case for case in BAD if case[0] is check]
    if not cases:
        wrong.append("has no bad input that proves it can fail")
    for _, files, expected in cases:
        problems = verdict(check, files)
        if not any(expected in problem for problem in problems):
            wrong.append(f"given bad {', '.join(files)} it says {problems}, not '{expected}'")
    return wrong
