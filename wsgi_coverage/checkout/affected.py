"""Tell for which labels code ran that has changed since: the tests to run for a change.

A line of a function that was changed or removed concerns the labels that ran it. Where lines were
added, or the change is of more than single lines (other indentation, `else:`, another local
variable), the labels count that ran any line of the function. What runs while the application is
loaded concerns all labels, and so does every change of which it cannot be told what it concerns.

Concurrency: functions without state.
"""

from __future__ import annotations

import ast
import inspect
import io
import re
import tokenize
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from types import CodeType
from typing import NamedTuple

from wsgi_coverage.analysis.reporting import PYTHON
from wsgi_coverage.checkout.remap import files_of, remap
from wsgi_coverage.checkout.sources import fingerprints_of
from wsgi_coverage.data import database, regular_files, stamp
from wsgi_coverage.data.bits import bits_of, numbers_of
from wsgi_coverage.data.datafile import open_data_file
from wsgi_coverage.data.phases import Phase, label_of, phase_of
from wsgi_coverage.data.union import has_branches
from wsgi_coverage.line_ranges import shown
from wsgi_coverage.report.finished.contexts import LINES

WORD = re.compile(rb"\w+")
BLOCKS = (
    *(ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar),
    *(ast.Match, ast.match_case, ast.ExceptHandler),
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef),
)
LONE_RETURN = re.compile(rb"\r(?!\n)")
SUSPENDS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
CONTINUE = (b"elif", b"else", b"except", b"finally", b"case")


class Hunk(NamedTuple):
    """Lines that were replaced by others; where one of the two numbers is 0, after `start`."""

    start: int  # the first line before
    length: int
    new_start: int  # the first line afterwards
    new_length: int

    def turned(self) -> Hunk:
        """Return what turns the new lines into the old ones."""
        return Hunk(self.new_start, self.new_length, self.start, self.length)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A file of a checkout that has changed."""

    file: str  # relative to the checkout
    old: bytes | None  # its content before; None: there was none
    new: bytes | None  # its content now; None: it was removed
    hunks: Sequence[Hunk] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Affected:
    """The labels that a change concerns."""

    labels: frozenset[str] = frozenset()  # for which code ran that has changed
    known: frozenset[str] = frozenset()  # all labels
    all_of_them: tuple[str, ...] = ()  # sentences: why the change may concern every label
    # Changed files of which it is not known for whom they matter, and why; to the caller, some may
    # be known not to.
    unmapped: Mapping[str, str] = field(default_factory=dict)

    def reasons(self) -> list[str]:
        """Return sentences that say why the change may concern every label; none: it does not."""
        return [*self.all_of_them, *(f"{file}: {why}" for file, why in self.unmapped.items())]


def affected(
    data_file: Path,
    changes: Iterable[Change],
    folder: Path,
    ignored: Collection[str] = (),
) -> Affected:
    """Find the labels that changes concern.

    Args:
        data_file: what has run for which labels, with the versions of the sources.
        changes: what has changed in the checkout.
        folder: the checkout.
        ignored: patterns of files that concern no label.

    Raises:
        UnusableError: the data file cannot be used.
    """
    wanted = [
        each for each in changes if not any(fnmatch(each.file, pattern) for pattern in ignored)
    ]
    ran = _Ran(data_file)
    if not ran.labels:
        return Affected(all_of_them=("nothing has run for any label",))
    if ran.has_branches:
        return Affected(all_of_them=("the data has branches, of which labels are not known",))
    sources = [each for each in wanted if each.file.endswith(PYTHON)]
    versions = _Versions(folder, sources)
    measured = _measured(ran, [each.file for each in sources], {*files_of(folder)}, versions)
    labels: set[str] = set()
    whole = [*_of_other_versions(ran, measured, {each.file for each in wanted}, versions)]
    unmapped: dict[str, str] = {}
    for change in wanted:
        name = measured.get(change.file)
        if name is None:
            unmapped[change.file] = _why_unmapped(change)
        elif not ran.any_of(name):  # a test, for instance
            unmapped[change.file] = "nothing of it ran in the application"
        else:
            try:
                labels |= _concerned(change, ran, name, versions)
            except _AllError as error:
                whole.append(f"{change.file}: {error}")
    return Affected(
        labels=frozenset(labels),
        known=frozenset(ran.labels),
        all_of_them=tuple(whole),
        unmapped=unmapped,
    )


def _why_unmapped(change: Change) -> str:
    if change.old is None:
        return "it is new"
    if change.new is None:
        return "it was removed, and was not measured"
    return "it is not among the measured sources"


class _AllError(Exception):
    """A change may concern every label; the message says why."""


class _Ran:
    """What has run, by measured file."""

    def __init__(self, data_file: Path) -> None:
        self.labels: set[str] = set()
        self.by_label: dict[str, dict[str, int]] = {}  # by file; bit n is line n
        self.load: dict[str, int] = {}
        self.untold: dict[str, int] = {}  # in an unknown phase
        self.runtime: dict[str, int] = {}
        with open_data_file(data_file) as connection:
            self.has_branches: bool = has_branches(connection)
            self.versions: Mapping[str, str] = stamp.read_fingerprints(connection)
            self.files: list[str] = [
                name for (name,) in database.fetch(connection, "select path from file", kind=str)
            ]
            rows = database.fetch(connection, LINES, kind=bytes)
        for context, file, numbits in rows:
            bits, label = int.from_bytes(numbits, "little"), label_of(context)
            if label is not None:
                self.labels.add(label)
                of = self.by_label.setdefault(file, {})
                of[label] = of.get(label, 0) | bits
            else:
                phases = {Phase.LOAD: self.load, Phase.RUNTIME: self.runtime, None: self.untold}
                ran = phases[phase_of(context)]
                ran[file] = ran.get(file, 0) | bits

    def any_of(self, name: str) -> bool:
        """Tell whether any line of a measured file has run."""
        phases = self.load, self.runtime, self.untold
        return any(of.get(name) for of in phases) or name in self.by_label


def _measured(
    ran: _Ran, changed: Collection[str], files: Collection[str], versions: _Versions
) -> dict[str, str]:
    """Return the name in the data of each file of the checkout that was measured.

    Args:
        ran: the data.
        changed: sources that have changed, removed ones among them.
        files: the files that there are.
        versions: of the sources.
    """
    by_name: dict[str, list[str]] = {}
    for file in {*changed, *files}:
        by_name.setdefault(file.rpartition("/")[2], []).append(file)

    def alike(path: str) -> Collection[str]:
        version = ran.versions.get(path)
        known = by_name.get(path.replace("\\", "/").rpartition("/")[2], ())
        found = [file for file in known if version in versions.of(file)]
        return [file for file in found if file in changed] or found

    found = remap(ran.files, {*changed, *files}, alike)
    return {file: name for name, file in found.files.items()}


def _of_other_versions(
    ran: _Ran, measured: Mapping[str, str], changed: Collection[str], versions: _Versions
) -> Iterator[str]:
    """Yield why the data may not be about this checkout: sources that have not changed."""
    for file, name in sorted(measured.items()):
        if file in changed or not ran.any_of(name):
            continue
        if (why := _why_another(ran, name, versions.of(file))) is not None:
            yield f"{file}: {why}"


def _why_another(ran: _Ran, name: str, known: Collection[str]) -> str | None:
    """Return why a version of a source is not the one that was measured; None: it is."""
    version = ran.versions.get(name)
    if version is None:
        return "the data does not tell which version of it was measured"
    return None if version in known else "another version of it was measured"


class _Versions:
    """The fingerprints of the sources of a checkout; of both versions, where one has changed."""

    def __init__(self, folder: Path, changes: Iterable[Change]) -> None:
        self._folder = folder
        self._known = {
            each.file: _fingerprints(each.old) | _fingerprints(each.new) for each in changes
        }

    def of(self, file: str) -> Collection[str]:
        """Return the fingerprints of a source, with each kind of line ends; none: it is gone."""
        if file not in self._known:
            try:
                self._known[file] = fingerprints_of(regular_files.read(self._folder / file))
            except (OSError, ValueError):
                self._known[file] = set()
        return self._known[file]


def _fingerprints(content: bytes | None) -> set[str]:
    return set() if content is None else fingerprints_of(content)


def _concerned(change: Change, ran: _Ran, name: str, versions: _Versions) -> set[str]:
    """Return the labels for which lines ran that have changed.

    Raises:
        _AllError: the change may concern every label.
    """
    version, hunks = ran.versions.get(name), change.hunks
    if (why_not := _why_another(ran, name, versions.of(change.file))) is not None:
        raise _AllError(why_not)
    if version in _fingerprints(change.old):
        here, there = change.old, change.new
    else:
        here, there = change.new, change.old
        hunks = [each.turned() for each in hunks]
    if here is None or there is None:
        raise _AllError("it was added or removed")
    measured, other = _Source(here), _Source(there)
    if measured.encoding != other.encoding:
        raise _AllError(f"its encoding was {measured.encoding} or {other.encoding}")
    if measured.means_the_same_as(other):
        return set()
    if not hunks:
        raise _AllError("Git does not tell what has changed in it")
    labels: set[str] = set()
    for lines in _lines_of(hunks, measured, other):
        labels |= _labels_of(bits_of(lines), ran, name)
    return labels


def _labels_of(lines: int, ran: _Ran, name: str) -> set[str]:
    if at_load := ran.load.get(name, 0) & lines:
        raise _AllError(f"line {shown(numbers_of(at_load))} ran while it was loaded")
    if untold := ran.untold.get(name, 0) & lines:
        raise _AllError(f"line {shown(numbers_of(untold))} ran, maybe while it was loaded")
    labels = {label for label, bits in ran.by_label.get(name, {}).items() if bits & lines}
    if not labels and (of_none := ran.runtime.get(name, 0) & lines):
        raise _AllError(f"line {shown(numbers_of(of_none))} ran for requests without a label")
    return labels


def _lines_of(hunks: Iterable[Hunk], measured: _Source, other: _Source) -> Iterator[range]:
    """Yield lines of the measured version, of which some have to have run for a label to count.

    Raises:
        _AllError: what has changed runs while the application is loaded.
    """
    for hunk in hunks:
        old = measured.in_statements(range(hunk.start, hunk.start + hunk.length))
        new = other.in_statements(range(hunk.new_start, hunk.new_start + hunk.new_length))
        functions = {measured.function(line).name for line in old}
        functions |= {other.function(line).name for line in new}
        for each in functions:
            measured.check_is_called_as(other, each)
        statements = [measured.statement(line) for line in old]
        is_alike = measured.is_laid_out_as(other, hunk) if new else measured.are_simple(old)
        is_by_line = is_alike and all(
            measured.scopes.get(each) == other.scopes.get(each) for each in functions
        )
        if is_by_line and None not in statements:
            yield from (each for each in statements if each is not None)
        else:
            yield from (each.body for each in measured.functions if each.name in functions)


class Scope(NamedTuple):
    """What the lines of a function decide, whether they run or not."""

    kind: int  # flags of generators and coroutines
    local: frozenset[str]
    cells: frozenset[str]
    free: frozenset[str]


class _Function(NamedTuple):
    name: str  # as `__qualname__`
    body: range  # its lines that run with it


class _Source:
    """A version of a source: which lines belong to which statement and function.

    Raises:
        _AllError: it cannot be parsed.
    """

    def __init__(self, content: bytes) -> None:
        if LONE_RETURN.search(content):
            raise _AllError("it has line ends that Git does not count")
        self._lines = [line.rstrip(b"\r") for line in content.split(b"\n")]
        self.functions: list[_Function] = []  # outer ones before inner ones
        # The lines of each statement without those of statements in it, by each of its lines.
        self._statements: dict[int, range] = {}
        self._headers: set[int] = set()  # lines of statements that have others in them
        self._in: dict[int, _Function | None] = {}  # the function that runs a statement, by line
        try:
            self._tree = ast.parse(content)
            self.encoding: str = tokenize.detect_encoding(io.BytesIO(content).readline)[0]
            # Of each function what a line of it decides that need not run: its kind and names.
            self.scopes: dict[str, list[Scope]] = {}
            for name, scope in _scopes(compile(content, "source", "exec")):
                self.scopes.setdefault(name, []).append(scope)
            self._collect(self._tree, "", None)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise _AllError(f"it cannot be parsed: {error}") from error

    def _collect(self, node: ast.AST, prefix: str, function: _Function | None) -> None:
        for child in ast.iter_child_nodes(node):
            inner, inner_prefix = function, prefix
            if isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
                lines = _own_lines(child)
                if isinstance(child, BLOCKS):
                    self._headers.update(lines)
                for line in lines:
                    self._statements.setdefault(line, lines)
                    self._in.setdefault(line, function)
            if isinstance(child, ast.ClassDef):
                inner_prefix = f"{prefix}{child.name}."
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                last = child.end_lineno or child.lineno
                body = range(_first_line_of_body(child), last + 1)
                inner = _Function(f"{prefix}{child.name}", body)
                self.functions.append(inner)
                inner_prefix = f"{inner.name}.<locals>."
            self._collect(child, inner_prefix, inner)

    def check_is_called_as(self, other: _Source, name: str) -> None:
        """Check that those who call a function are among those who run a line of its body.

        Raises:
            _AllError: they need not be.
        """
        if any(not each.body for each in self.functions if each.name == name):
            raise _AllError(f"{name} had no line that would tell who calls it")
        if name in other.scopes and name in self.scopes:
            kinds = [[each.kind for each in of.scopes[name]] for of in (self, other)]
            if kinds[0] != kinds[1]:
                raise _AllError(f"{name} is a generator, or a coroutine, in one version alone")

    def means_the_same_as(self, other: _Source) -> bool:
        """Tell whether two versions differ in comments and layout alone."""
        return ast.dump(self._tree) == ast.dump(other._tree)

    def in_statements(self, lines: Iterable[int]) -> list[int]:
        """Return those lines that are neither blank nor a comment."""
        return [line for line in lines if line in self._statements or self._has_code(line)]

    def _has_code(self, line: int) -> bool:
        text = self._lines[line - 1].strip() if line <= len(self._lines) else b""
        return bool(text) and not text.startswith(b"#")

    def statement(self, line: int) -> range | None:
        """Return the lines of a statement, without statements in it; None: the line is of none."""
        return self._statements.get(line)

    def function(self, line: int) -> _Function:
        """Return the function that runs a line.

        Raises:
            _AllError: there is none: it runs while the application is loaded.
        """
        if line in self._in:
            found = self._in[line]
        else:  # such as `else:`
            inside = [each for each in self.functions if line in each.body]
            found = inside[-1] if inside else None
        if found is None:
            raise _AllError(f"line {line} is in no function, so that it runs when it is loaded")
        return found

    def are_simple(self, lines: Iterable[int]) -> bool:
        """Tell whether no line begins a block: without that line the block may be another's."""
        return self._headers.isdisjoint(lines)

    def is_laid_out_as(self, other: _Source, hunk: Hunk) -> bool:
        """Tell whether each line was replaced by one that is reached as it was."""
        old = range(hunk.start, hunk.start + hunk.length)
        new = range(hunk.new_start, hunk.new_start + hunk.new_length)
        return [*map(self._layout, old)] == [*map(other._layout, new)]

    def _layout(self, line: int) -> tuple[bytes, bytes] | None:
        """Return the indentation, and the first word of a line that continues a statement.

        None: the line is blank, or a comment.
        """
        if not self.in_statements([line]):
            return None
        text = self._lines[line - 1]
        word = WORD.match(text.lstrip())
        indentation = text[: len(text) - len(text.lstrip())]
        return indentation, word[0] if word and word[0] in CONTINUE else b""


def _first_line_of_body(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the first line of a function that runs with it: its docstring belongs to the `def`."""
    is_documented = ast.get_docstring(node, clean=False) is not None
    rest = node.body[1:] if is_documented else node.body
    return _first_line(rest[0]) if rest else (node.end_lineno or node.lineno) + 1


def _own_lines(node: ast.stmt | ast.ExceptHandler | ast.match_case) -> range:
    """Return the lines of a statement, without those of statements in its body."""
    if isinstance(node, ast.match_case):
        first, last = node.pattern.lineno, node.pattern.end_lineno or node.pattern.lineno
    else:
        first, last = _first_line(node), node.end_lineno or node.lineno
    body = getattr(node, "body", None) or getattr(node, "cases", None)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        last = max(_first_line_of_body(node) - 1, node.lineno)
    elif body:
        inner = body[0]
        before = inner.pattern.lineno if isinstance(inner, ast.match_case) else _first_line(inner)
        last = max(before - 1, getattr(node, "lineno", first))
    return range(first, last + 1)


def _first_line(node: ast.stmt | ast.ExceptHandler) -> int:
    decorators: Sequence[ast.expr] = getattr(node, "decorator_list", ())
    return min(each.lineno for each in (*decorators, node))


def _scopes(code: CodeType) -> Iterator[tuple[str, Scope]]:
    """Yield the name and the scope of each function and class."""
    for each in code.co_consts:
        if isinstance(each, CodeType):
            names = (each.co_varnames, each.co_cellvars, each.co_freevars)
            yield each.co_qualname, Scope(each.co_flags & SUSPENDS, *map(frozenset, names))
            yield from _scopes(each)
