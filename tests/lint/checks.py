# SPDX-License-Identifier: LGPL-2.1-or-later
"""checks.py - the rules of the house, one function each: it takes a Tree, returns the violations."""
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess

LINES_MAX_FUNCTION = 80
LINES_MAX_FILE = 700

# Who may include whom (DESIGN.md section 9).  A layer is a folder; it may include itself.
# tests/ and migrate/ may include every layer.
LAYERS = {
    "src/base": (),
    "src/core": ("base",),
    "src/wire": ("base",),
    "src/memory": ("base",),
    "src/net": ("base", "wire"),
    "src/vmm": ("base", "wire"),
}
# Generated headers, and the files that may know them.
GENERATED = {
    "tests/guest/guest-image.h": ("tests/guest/image.c",),
    "proto/wire.pb-c.h": ("src/wire/msg.c",),
    "proto/vmm.pb-c.h": ("src/wire/vmm_msg.c",),
}
# core/ decides; everything that it reaches, through our own headers too, comes from this list.
CORE_SYSTEM_HEADERS = {
    "inttypes.h", "limits.h", "pthread.h", "stdatomic.h", "stdbool.h", "stddef.h", "stdint.h",
    "stdlib.h", "string.h",
}

BANNED = "strcpy strcat sprintf vsprintf strtok atoi atol atoll alloca gets".split()
BANNED_SLEEPS = "sleep usleep nanosleep clock_nanosleep".split()
BANNED_IN_SRC = (
    "exit _exit abort assert printf vprintf puts putchar perror syslog sd_journal_print".split()
)

WARNINGS = (
    "-Wall -Wextra -Wshadow -Wconversion -Wvla -Wstrict-prototypes -Wmissing-prototypes "
    "-Wformat=2 -Wundef -Wwrite-strings -Werror"
).split()
PACKAGES = "openssl libnl-3.0 libnl-route-3.0 libprotobuf-c jansson libsystemd".split()
PUBLIC_HEADER = "src/vmm/pageferry-vmm.h"

INCLUDE = re.compile(r"^\s*#\s*include\s*([<\"])([^>\"]+)[>\"]", re.MULTILINE)


class Skip(Exception):
    """A check that cannot be made here, and why."""


def need(tool):
    if not shutil.which(tool):
        raise Skip(f"{tool} is not installed")


def includes(tree, path):
    """(quoted?, name) of each include in the file."""
    text = re.sub(r"/\*.*?\*/", "", tree.text(path), flags=re.DOTALL)
    return [(m.group(1) == '"', m.group(2)) for m in INCLUDE.finditer(text)]


def own_header(tree, name, includer=""):
    """The project's file that #include "name" means, or None.  Tests may name their siblings."""
    places = ["src/" + name, name]
    if str(includer).startswith("tests/"):
        places.append(os.path.join(os.path.dirname(includer), name))
    return next((place for place in places if (tree.root / place).is_file()), None)


def includes_go_downwards(tree):
    bad = []
    for path in tree.kind(".c", ".h"):
        layer = next((l for l in LAYERS if str(path).startswith(l + "/")), None)
        if layer is None and path.parts[0] == "src":
            bad.append(f"{path} is in no layer that LAYERS knows")
        allowed = None if layer is None else {layer} | {"src/" + l for l in LAYERS[layer]}
        for quoted, name in includes(tree, path):
            if name in GENERATED:
                if path.parts[0] != "tests" and str(path) not in GENERATED[name]:
                    bad.append(f"{path} includes {name}; only {GENERATED[name][0]} may")
                continue
            target = own_header(tree, name, path)
            if not quoted:
                if target and "/" in name:
                    bad.append(f"{path}: <{name}> is ours: write it in quotes")
                continue
            if name == "config.h":
                continue
            if target is None or ("/" not in name and path.parts[0] != "tests"):
                bad.append(f'{path}: "{name}" is no file of ours, written with its folder')
            elif allowed is not None and os.path.dirname(target) not in allowed:
                bad.append(f"{path} includes {name}, which is not below it")
    return bad


def headers_form_no_cycle(tree):
    graph = {
        str(path): [own_header(tree, name) for quoted, name in includes(tree, path) if quoted]
        for path in tree.kind(".h")
    }
    bad, state = [], {}

    def visit(node, trail):
        if state.get(node) == "done":
            return
        if node in trail:
            bad.append(" -> ".join(trail[trail.index(node) :] + [node]))
            return
        for target in graph.get(node, []):
            if target:
                visit(target, trail + [node])
        state[node] = "done"

    for header in graph:
        visit(header, [])
    return bad


def core_does_no_io(tree):
    bad = []
    for path in tree.kind(".c", ".h"):
        if not str(path).startswith("src/core/"):
            continue
        todo, seen = [str(path)], set()
        while todo:
            here = todo.pop()
            if here in seen:
                continue
            seen.add(here)
            for quoted, name in includes(tree, here):
                target = own_header(tree, name) if quoted else None
                if target:
                    todo.append(target)
                elif not quoted and name not in CORE_SYSTEM_HEADERS:
                    bad.append(f"{path} reaches <{name}>" + (f" through {here}" * (here != str(path))))
    return sorted(set(bad))


def compiler_flags(tree):
    flags = ["-D_GNU_SOURCE", f"-I{tree.root}/src", f"-I{tree.root}", f"-I{os.getcwd()}"]
    found = subprocess.run(
        ["pkg-config", "--cflags"] + PACKAGES, text=True, capture_output=True, check=True
    )
    return flags + found.stdout.split()


def syntax_check(command, header):
    # Twice, so that an include guard which does not guard is found too.
    code = f'#include "{header}"\n#include "{header}"\n'
    run = subprocess.run(
        command + ["-fsyntax-only", "-"], input=code, text=True, capture_output=True, check=False
    )
    if run.returncode == 0:
        return []
    first = next((l for l in run.stderr.splitlines() if "error" in l), run.stderr.strip())
    return [f"{header} alone with {command[0]} {command[2]}: {first}"]


def headers_compile_alone(tree):
    need("gcc")
    need("clang")
    need("pkg-config")
    flags = compiler_flags(tree)
    jobs = [
        ([compiler, "-xc", "-std=gnu11"] + WARNINGS + flags, str(path))
        for compiler in ("gcc", "clang")
        for path in tree.kind(".h")
    ]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda job: syntax_check(*job), jobs)
    return [problem for result in results for problem in result]


def public_header(tree, commands):
    """Compiles it without our include folders, as a VMM's author does."""
    for command in commands:
        need(command[0])
    if not (tree.root / PUBLIC_HEADER).is_file():
        return [f"{PUBLIC_HEADER} is not there"]
    header = str(tree.root / PUBLIC_HEADER)
    return [p for c in commands for p in syntax_check(c + ["-Wall", "-Wextra", "-Werror"], header)]


def public_header_is_plain_c(tree):
    old = ["-xc", "-std=gnu90", "-Wdeclaration-after-statement"]
    strict = ["-xc", "-std=c99", "-pedantic-errors"]
    return public_header(tree, [[c] + args for c in ("gcc", "clang") for args in (old, strict)])


def public_header_is_cxx(tree):
    return public_header(tree, [["g++", "-xc++", "-std=c++11", "-pedantic-errors"]])


def functions_fit_a_screen(tree):
    need("ctags")
    return [
        f"{f.path}:{f.line}: {f.name} has {f.lines} lines"
        for f in tree.functions()
        if f.lines > LINES_MAX_FUNCTION
    ]


def files_are_short(tree):
    bad = []
    for path in set(tree.kind(".c", ".h", ".py", ".sh")) | set(tree.scripts()):
        lines = len(tree.text(path).splitlines())
        if lines > LINES_MAX_FILE:
            bad.append(f"{path} has {lines} lines")
    return sorted(bad)


def files_say_what_they_are(tree):
    spdx = "SPDX-License-Identifier: LGPL-2.1-or-later"
    bad = []
    for path in tree.kind(".c", ".h"):
        text = tree.text(path)
        if not text.startswith(f"/* {spdx} */\n"):
            bad.append(f"{path}: its first line is not /* {spdx} */")
            continue
        # "/* folder/name.c - what it is for": at least three words.
        head = re.match(r"[^\n]*\n/\*[\s*]*(?:[\w./-]*/)?(\S+) - ((?:\S+[\s*]+){2}\S)", text)
        if not head or head.group(1) != path.name:
            bad.append(f"{path}: its first comment does not begin with '{path.name} - purpose'")
    for path in set(tree.kind(".py", ".sh")) | set(tree.scripts()):
        if spdx not in "".join(tree.text(path).splitlines()[:2]):
            bad.append(f"{path}: no SPDX line in its first two")
    return sorted(bad)


def calls(text, names):
    pattern = re.compile(r"(?<![\w.>])(" + "|".join(names) + r")\s*\(")
    for match in pattern.finditer(text):
        yield match.group(1), text.count("\n", 0, match.start()) + 1


def banned_calls_are_absent(tree):
    from source import without_comments

    bad = []
    for path in tree.kind(".c", ".h"):
        names = BANNED + (BANNED_IN_SRC if path.parts[0] == "src" else [])
        code = without_comments(tree.text(path))
        bad += [f"{path}:{line}: {name}()" for name, line in calls(code, names)]
        if path.parts[0] == "src":
            bad += [
                f"{path}:{code.count(chr(10), 0, m.start()) + 1}: writes to stderr"
                for m in re.finditer(r"\b(?:stderr|STDERR_FILENO)\b", code)
            ]
    return bad


def nothing_sleeps(tree):
    """An event with a deadline is waited for; a sleep is too long, or too short."""
    from source import without_comments

    bad = []
    for path in tree.kind(".c", ".h"):
        code = without_comments(tree.text(path))
        bad += [f"{path}:{line}: {name}()" for name, line in calls(code, BANNED_SLEEPS)]
    for path in tree.kind(".py"):
        for number, line in enumerate(tree.text(path).splitlines(), 1):
            if re.search(r"\btime\.sleep\(|\bfrom time import .*\bsleep\b", line.split("#")[0]):
                if path.parts[:2] != ("tests", "lint"):
                    bad.append(f"{path}:{number}: time.sleep")
    for path in tree.scripts():
        for number, line in enumerate(tree.text(path).splitlines(), 1):
            if re.match(r"\s*sleep\s", line):
                bad.append(f"{path}:{number}: sleep")
    return bad


def nothing_is_left_over(tree):
    word = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b|#\s*if\s+0\b")
    return [
        f"{path}:{number}: {line.strip()[:60]}"
        for path in tree.kind(".c", ".h", ".py", ".sh", ".proto", ".inc", ".md") + tree.scripts()
        for number, line in enumerate(tree.text(path).splitlines(), 1)
        if word.search(line)
    ]


def every_source_is_built(tree):
    """A test program that nobody lists is a test that never runs."""
    lists = [p for p in tree.files if p.name in ("Makefile.am", "Makefile.inc")]
    listed = {
        name
        for p in lists
        for name in re.findall(r"[\w./-]+\.[cS]\b", tree.text(p).replace("%D%", str(p.parent)))
    }
    return [f"{p} is in no Makefile.inc" for p in tree.kind(".c", ".S") if str(p) not in listed]


# Files of this place alone: nobody who has the tarball can use them.
NOT_SHIPPED = {".gitignore", ".ci/run"}


def tracked(tree):
    """What git has; in a tree without it, all that is there."""
    if not (tree.root / ".git").exists():
        return [str(p) for p in tree.files if len(p.parts) > 1]
    need("git")
    run = subprocess.run(["git", "ls-files", "-z"], cwd=tree.root, text=True, capture_output=True,
                         check=True)
    return [name for name in run.stdout.split("\0") if name]


def makefile_words(tree):
    """All words of the Makefiles, but for comments; and those of EXTRA_DIST, which may name a folder."""
    words, extra = set(), set()
    for path in tree.files:
        if path.name not in ("Makefile.am", "Makefile.inc"):
            continue
        text = re.sub(r"(^|\s)#.*", "", tree.text(path)).replace("%D%", str(path.parent))
        for line in text.replace("\\\n", " ").splitlines():
            words.update(line.split())
            if line.startswith("EXTRA_DIST"):
                extra.update(line.split())
    return words, extra


def the_tarball_has_every_file(tree):
    """Named in a Makefile, or its folder in EXTRA_DIST, so that `make dist` takes it; automake takes what it is
    made of, and configure's templates, by itself."""
    named, folders_named = makefile_words(tree)
    templates = tree.text("configure.ac") if (tree.root / "configure.ac").exists() else ""

    def taken(name):
        folders = [str(folder) for folder in pathlib.PurePath(name).parents]
        return (name in named or folders_named.intersection(folders) or name in NOT_SHIPPED
                or pathlib.PurePath(name).name in ("Makefile.am", "Makefile.inc", "configure.ac")
                or (name.endswith(".in") and name[:-3] in templates))

    return [f"{name} would not be in the tarball: it is in no Makefile" for name in tracked(tree)
            if not taken(name)]


def skips_have_reasons(tree):
    """scripts/check lists every skip; one that does not say why helps nobody."""
    bad = []
    for path in tree.kind(".c"):
        lines = tree.text(path).splitlines()
        for number, line in enumerate(lines):
            if re.search(r"\bskip\(\);", line):
                before = "\n".join(lines[max(0, number - 5) : number])
                if not re.search(r"\"\s*skip(ped)?\b[^\"]*:", before, re.IGNORECASE):
                    bad.append(f'{path}:{number + 1}: print "skip NAME: reason" to stderr first')
    return bad


def shell_is_sound(tree):
    need("shellcheck")
    scripts = [str(p) for p in tree.scripts()]
    run = subprocess.run(
        ["shellcheck", "-x", "-P", "SCRIPTDIR", "-f", "gcc"] + scripts,
        cwd=tree.root, text=True, capture_output=True, check=False,
    )
    return run.stdout.splitlines() if scripts else ["there are no shell scripts"]


def documents_name_what_exists(tree):
    """Files (x.c, x.h, x.py, x.sh, x.proto) and functions (pf_x()) that the documents speak of.
    NAME is a placeholder."""
    names = {p.name for p in tree.files} | {str(p) for p in tree.files}
    tails = {"/".join(p.parts[i:]) for p in tree.files for i in range(len(p.parts))}
    code = "\n".join(tree.text(p) for p in tree.kind(".c", ".h"))
    bad = []
    for path in tree.kind(".md"):
        text = tree.text(path)
        for name in sorted(set(re.findall(r"(?<![\w./-])[\w./-]+\.(?:c|h|py|sh|proto)\b", text))):
            name = name.removeprefix("./")
            if name not in names | tails and not re.search(r"\.pb-c\.|NAME", name):
                bad.append(f"{path} names {name}, which does not exist")
        for name in sorted(set(re.findall(r"\b((?:pf|pageferry)_\w+)\(\)", text))):
            if not re.search(rf"\b{name}\b", code):
                bad.append(f"{path} names {name}(), which does not exist")
    return bad


def the_map_shows_every_file(tree):
    """ARCHITECTURE.md, "Files": each C file of src, and of migrate itself."""
    if not (tree.root / "ARCHITECTURE.md").is_file():
        return ["there is no ARCHITECTURE.md"]
    shown = set(re.findall(r"`([\w-]+\.[ch])`", tree.text("ARCHITECTURE.md").split("## Files")[-1]))
    return [
        f"ARCHITECTURE.md does not show {path}"
        for path in tree.kind(".c")
        if (path.parts[0] == "src" or str(path.parent) == "migrate") and path.name not in shown
    ]


CHECKS = (
    includes_go_downwards,
    headers_form_no_cycle,
    core_does_no_io,
    headers_compile_alone,
    public_header_is_plain_c,
    public_header_is_cxx,
    functions_fit_a_screen,
    files_are_short,
    files_say_what_they_are,
    banned_calls_are_absent,
    nothing_sleeps,
    nothing_is_left_over,
    every_source_is_built,
    the_tarball_has_every_file,
    skips_have_reasons,
    shell_is_sound,
    documents_name_what_exists,
    the_map_shows_every_file,
)
