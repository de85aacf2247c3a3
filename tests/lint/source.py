# SPDX-License-Identifier: LGPL-2.1-or-later
"""source.py - the tree that the lint checks look at: files by kind, C without comments, functions."""
import ast
import collections
import pathlib
import re
import subprocess

FOLDERS = ("src", "migrate", "tests", "proto", "scripts", ".ci")
IGNORED = {"__pycache__", ".pytest_cache", ".deps"}
# By a build in the source tree itself.
GENERATED = {"config.h", "guest-image.h"}

Function = collections.namedtuple("Function", "path name line lines")

# A comment, or a literal: whichever begins first swallows the other.
LEXEME = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.DOTALL)


def without_comments(text):
    """The same text with comments and what stands in quotes blanked out; lines keep their numbers.
    An #include keeps its name."""

    def blank(match):
        line_start = text.rfind("\n", 0, match.start()) + 1
        if re.match(r"\s*#\s*include\s", text[line_start : match.start() + 1]):
            return match.group(0)
        return re.sub(r"[^\n]", " ", match.group(0))

    return LEXEME.sub(blank, text)


class Tree:
    def __init__(self, root):
        self.root = pathlib.Path(root).resolve()
        self.files = sorted(
            path.relative_to(self.root)
            for folder in FOLDERS
            for path in (self.root / folder).rglob("*")
            if path.is_file() and not IGNORED & set(path.parts)
        ) + sorted(path.relative_to(self.root) for path in self.root.glob("*.*") if path.is_file())

    def text(self, path):
        return (self.root / path).read_text(errors="replace")

    def kind(self, *suffixes):
        """Files with these suffixes, generated ones left out."""
        return [p for p in self.files if p.suffix in suffixes and not self.generated(p)]

    @staticmethod
    def generated(path):
        return ".pb-c." in path.name or path.name in GENERATED

    def scripts(self):
        """Shell scripts, by suffix or by their first line."""
        return [
            p
            for p in self.files
            if p.suffix == ".sh"
            or (not p.suffix and re.match(r"#!.*\b(ba)?sh\b", self.text(p)[:80]))
        ]

    def functions(self):
        return self.c_functions() + self.python_functions() + self.shell_functions()

    def c_functions(self):
        paths = [str(p) for p in self.kind(".c", ".h")]
        if not paths:
            return []
        tags = subprocess.run(
            ["ctags", "-f", "-", "--languages=C", "--langmap=C:.c.h", "--kinds-C=f"]
            + ["--fields=+ne", "--sort=no", "-L", "-"],
            input="\n".join(paths), cwd=self.root, text=True, capture_output=True, check=True,
        ).stdout
        found = []
        for tag in tags.splitlines():
            name, path = tag.split("\t")[:2]
            start = re.search(r"\tline:(\d+)", tag)
            end = re.search(r"\tend:(\d+)", tag)
            if not (start and end):
                raise RuntimeError("ctags gives no `end:`; universal-ctags is needed")
            first, last = int(start.group(1)), int(end.group(1))
            found.append(Function(path, name, first, last - first + 1))
        return found

    def python_functions(self):
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
        return [
            Function(str(path), node.name, node.lineno, node.end_lineno - node.lineno + 1)
            for path in self.kind(".py")
            for node in ast.walk(ast.parse(self.text(path)))
            if isinstance(node, kinds)
        ]

    def shell_functions(self):
        found = []
        for path in self.scripts():
            start = name = None
            for number, line in enumerate(self.text(path).splitlines(), 1):
                begins = re.match(r"([A-Za-z_]\w*) *\(\)", line)
                if begins:
                    start, name = number, begins.group(1)
                elif line.startswith("}") and start:
                    found.append(Function(str(path), name, start, number - start + 1))
                    start = None
        return found
