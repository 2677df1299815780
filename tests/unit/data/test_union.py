"""The union of data files is what `coverage combine --keep` makes of them, context by context."""

import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coverage
import pytest

from wsgi_coverage.data import stamp
from wsgi_coverage.data.fold import write_union

Combined = Callable[..., tuple[Any, list[str]]]
MakeData = Callable[..., Path]

CONTEXTS = ["", "load", "runtime", "nightly|load", "nightly|runtime", "test_it|run"]
PATHS = "[paths]\nsource =\n    {project}\n    /container/*/app\n    C:\\build\n"
RELATIVE = "[run]\nrelative_files = true\n"
CONFIGS = {"plain": "", "paths": PATHS, "relative": RELATIVE, "both": RELATIVE + PATHS}


def random_name(draw: random.Random, project: Path, number: int) -> str:
    folder = draw.choice(["", "pkg/", "pkg/deep/"])
    name = f"{folder}module_{number}.py"
    if draw.random() < 0.5:  # some are here and some are not: path remapping looks for that
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("x = 1\n")
    there = [str(project / name), f"/container/one/app/{name}", f"/container/2/app/{name}"]
    return draw.choice([*there, f"/elsewhere/{name}"])


def random_data_file(path: Path, draw: random.Random, names: list[str], *, branch: bool) -> Path:
    data = coverage.CoverageData(str(path))
    for context in draw.sample(CONTEXTS, draw.randint(1, len(CONTEXTS))):
        data.set_context(context)
        chosen = draw.sample(names, draw.randint(1, len(names)))
        if branch:
            ends = [-1, -70_000, *range(1, 40), 900, 70_000]
            data.add_arcs(
                {
                    name: [
                        (draw.choice(ends), draw.choice(ends)) for _ in range(draw.randint(1, 30))
                    ]
                    for name in chosen
                }
            )
        else:
            data.add_lines(
                {
                    name: draw.sample(range(1, draw.choice([9, 90, 9000])), draw.randint(0, 8))
                    for name in chosen
                }
            )
    measured = sorted(data.measured_files())
    data.add_file_tracers({name: "plugin" for name in measured if "module_3" in name})
    data.touch_file(draw.choice(names).replace("module_3", "module_33"))
    data.close(force=True)
    if draw.random() < 0.5:
        stamp.put(path, stamp.Stamp(worker_id=path.name, host="h", epoch=0))
    return path


def by_coverage(project: Path, target: Path, data_files: list[Path], *, branch: bool) -> None:
    cov = coverage.Coverage(data_file=str(target), branch=branch)
    cov.combine([str(path) for path in data_files], keep=True)
    cov.get_data().close(force=True)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("branch", [False, True], ids=["statements", "branches"])
def test_the_union_is_what_coverage_combine_makes(
    project: Path,
    combined: Combined,
    content_of: Callable[[Path], Any],
    tmp_path: Path,
    seed: int,
    config: str,
    branch: bool,
) -> None:
    draw = random.Random(seed)
    names = [random_name(draw, project, number % 7) for number in range(12)]
    data_files = [
        random_data_file(project / f".coverage.{number}", draw, sorted(set(names)), branch=branch)
        for number in range(5)
    ]

    found, warnings = combined(*data_files, branch=branch, config=config.format(project=project))

    by_coverage(project, tmp_path / "theirs", data_files, branch=branch)
    assert found == content_of(tmp_path / "theirs")
    assert warnings == []


def test_windows_names_become_names_of_this_system(project: Path, combined: Combined) -> None:
    # coverage.py does so to names that no rule of [paths] fits in newer releases than 7.15.0 only.
    path = project / ".coverage.windows"
    data = coverage.CoverageData(str(path))
    data.add_lines({"C:\\build\\app.py": [1], "D:\\other\\app.py": [2]})
    data.close()

    found, _ = combined(path, config=PATHS.format(project=project))

    assert set(found.tracers) == {str(project / "app.py"), "D:/other/app.py"}


def test_names_are_mapped_in_the_order_in_which_coverage_combine_maps_them(
    project: Path, combined: Combined, content_of: Callable[[Path], Any], tmp_path: Path
) -> None:
    # With relative files each new top folder becomes a rule for the names that follow.
    for folder in ("a", "b"):
        (project / folder / "b").mkdir(parents=True)
        (project / folder / "m.py").write_text("x = 1\n")
        (project / folder / "b" / "m.py").write_text("x = 1\n")
    names = ["/x/a/b/m.py", "b/m.py", "/y/a/b/m.py", "a/m.py", "/z/a/b/m.py"]
    data_files = []
    for number in range(2):
        path = project / f".coverage.{number}"
        data = coverage.CoverageData(str(path))
        for line, name in enumerate(names, start=1):
            data.add_lines({name: [line]})
        data.close()
        version = str(stamp.fingerprint("a/m.py"))  # and of every other, so that none is left out
        stamp.put_fingerprints(path, dict.fromkeys(reversed(names), version))
        data_files.append(path)
        names.reverse()

    found, _ = combined(*data_files, config=RELATIVE)

    by_coverage(project, tmp_path / "theirs", data_files, branch=False)
    assert found == content_of(tmp_path / "theirs")
    assert len(found.tracers) < len(names)


def test_a_file_of_another_tracer_than_before_is_set_aside(
    project: Path, data_file: MakeData, combined: Combined
) -> None:
    first, second = (data_file(f".coverage.{n}", {"page.html": [n]}) for n in (1, 2))
    for path, plugin in ((first, "one"), (second, "two")):
        data = coverage.CoverageData(str(path))
        data.read()
        data.add_file_tracers({str(project / "page.html"): plugin})
        data.close()

    found, (warning,) = combined(first, second)

    page = str(project / "page.html")
    assert found.lines == {("", page): {1}}
    assert found.tracers == {page: "one"}
    assert warning == (
        f"data file {second} is set aside: "
        f"Conflicting file tracer name for {page!r}: 'one' vs 'two'"
    )


def test_files_that_could_have_run_are_there_with_their_tracer(
    project: Path, data_file: MakeData, combined: Combined
) -> None:
    more = [(str(project / "app.py"), "other"), ("never.html", "plugin"), ("never.py", None)]

    found, _ = combined(data_file(".coverage.a", {"app.py": [1]}), could_run=more)

    assert found.tracers == {str(project / "app.py"): "", "never.html": "plugin", "never.py": ""}


def test_files_that_could_have_run_are_mapped_as_those_that_have(
    project: Path, data_file: MakeData, combined: Combined
) -> None:
    for name in ("app.py", "never.py"):
        (project / name).write_text("x = 1\n")
    path = project / ".coverage.elsewhere"
    data = coverage.CoverageData(str(path))
    data.add_lines({"C:\\build\\app.py": [1]})
    data.close()
    more = [("C:\\build\\app.py", None), ("C:\\build\\never.py", None)]

    found, _ = combined(path, config=PATHS.format(project=project), could_run=more)

    assert set(found.tracers) == {str(project / "app.py"), str(project / "never.py")}


def test_files_that_only_could_have_run_are_measured_files_still(
    project: Path, combined: Combined
) -> None:
    path = project / ".coverage.a"
    data = coverage.CoverageData(str(path))
    data.add_arcs({})
    data.touch_file("never.py")
    data.close()

    found, warnings = combined(path, branch=True, could_run=[("other.py", None)])

    assert found.has_arcs
    assert set(found.tracers) == {"never.py", "other.py"}
    assert warnings == []


def test_a_file_that_mixes_lines_and_branches_is_set_aside(
    data_file: MakeData, combined: Combined
) -> None:
    path = data_file(".coverage.mixed", {"app.py": [1]})
    with sqlite3.connect(path) as connection:
        connection.execute("insert into arc values (1, 1, 1, 2)")
    connection.close()

    found, (warning,) = combined(path, data_file(".coverage.a", {"app.py": [2]}))

    assert list(found.lines.values()) == [{2}]
    assert warning == f"data file {path} is set aside: it holds both lines and branches"


def test_the_union_can_be_added_to_by_coverage(
    project: Path, data_file: MakeData, combined: Combined, tmp_path: Path
) -> None:
    combined(data_file(".coverage.a", {"app.py": [1]}), data_file(".coverage.b", {"app.py": [2]}))
    data = coverage.CoverageData(str(tmp_path / "workspace" / "data.coverage"))
    data.read()

    data.add_lines({str(project / "app.py"): [3]})

    assert sorted(data.lines(str(project / "app.py")) or ()) == [1, 2, 3]
    data.close(force=True)


def test_the_union_is_a_sound_database_without_a_seal(
    data_file: MakeData, combined: Combined, tmp_path: Path
) -> None:
    path = data_file(".coverage.a", {"app.py": [1]})
    stamp.put(path, stamp.Stamp(worker_id="w", host="h", epoch=0))

    combined(path)

    target = tmp_path / "workspace" / "data.coverage"
    connection = sqlite3.connect(target)
    assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
    assert connection.execute("pragma foreign_key_check").fetchall() == []
    connection.close()
    assert not stamp.is_sealed(target.read_bytes())


def test_folding_keeps_contexts_tracers_names_and_versions(
    project: Path, content_of: Callable[[Path], Any], tmp_path: Path
) -> None:
    paths = [project / f".coverage.{number}" for number in (1, 2)]
    for number, path in enumerate(paths, start=1):
        data = coverage.CoverageData(str(path))
        data.set_context(["load", "runtime"][number - 1])
        data.add_lines({"C:\\app\\page.html": [number], "/app/x.py": [number]})
        data.add_file_tracers({"C:\\app\\page.html": "plugin"})
        data.close()
        stamp.put_fingerprints(path, {"/app/x.py": "v1", f"/app/{number}.py": "v1"})

    used = write_union(paths, tmp_path / "folded")

    found = content_of(tmp_path / "folded")
    assert used == paths
    assert found.tracers == {"C:\\app\\page.html": "plugin", "/app/x.py": ""}
    assert found.lines == {
        ("load", "C:\\app\\page.html"): {1},
        ("load", "/app/x.py"): {1},
        ("runtime", "C:\\app\\page.html"): {2},
        ("runtime", "/app/x.py"): {2},
    }
    with stamp.reading(tmp_path / "folded") as connection:
        versions = stamp.read_fingerprints(connection)
    assert versions == {
        "/app/x.py": "v1",
        "/app/1.py": "v1",
        "/app/2.py": "v1",
    }
