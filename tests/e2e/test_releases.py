"""Deploys into release folders are one application, whose figures are about the current release."""

from __future__ import annotations

import shutil

import pytest

APP = """\
import same{removed}


def app(environ, start_response):
    start_response('200 OK', [])
    return [same.work(environ['PATH_INFO']).encode(), b'{release}']
"""
SAME = """\
def work(path):
    if path == '/a':
        return 'a'
    return 'b'
"""


@pytest.mark.parametrize("runs_on", [False, True], ids=["ended", "still there"])
def test_a_file_has_one_entry_and_what_is_gone_leaves_no_warning(project, password, runs_on):
    data_file = project.folder / "shared" / ".coverage"
    data_file.parent.mkdir()
    env = {**password, "WSGI_COVERAGE_APP": "app:app", "PYTHONPATH": "."}
    servers = []
    for release, (path, missing) in enumerate([("/a", [4]), ("/b", []), ("/b", [])]):
        folder = project.folder / "releases" / str(release)
        folder.mkdir(parents=True)
        (folder / ".coveragerc").write_text(f"[run]\nsource = .\ndata_file = {data_file}\n")
        (folder / "app.py").write_text(
            APP.format(release=release, removed=f", only{release}" if release < 2 else "")
        )
        (folder / "same.py").write_text(SAME)
        (folder / "unused.py").write_text("x = 1\n")
        if release < 2:
            (folder / f"only{release}.py").write_text("x = 1\n")
        current = project.folder / "current"
        current.unlink(missing_ok=True)
        current.symlink_to(folder)
        server = project.gunicorn(
            "--chdir", str(current), "-w", "2", "wsgi_coverage.wsgi:application", env=env
        )
        before = server.refresh() if release else None
        server.get(path)

        answer = server.refresh()

        names = {"app.py", "same.py", "unused.py", *([f"only{release}.py"] * (release < 2))}
        files = server.get("/debug/coverage/files").json()
        assert {each["file"] for each in files} == {str(folder / name) for name in names}
        assert answer["warnings"] == []
        report = server.get("/debug/coverage/export?format=json").json()["files"]
        assert report["same.py"]["missing_lines"] == missing
        assert report["app.py"]["missing_lines"] == []
        assert before is None or before["warnings"] == []
        if runs_on:
            servers.append(server)
            for each in servers:  # the totals are the same, whichever release is asked
                summary = each.refresh()["summary"]
                assert (summary["files"], summary["covered"]) == (
                    answer["summary"]["files"],
                    answer["summary"]["covered"],
                )
            continue
        assert server.end() == 0
        if release:
            shutil.rmtree(project.folder / "releases" / str(release - 1))
