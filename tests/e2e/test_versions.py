"""A source that changes under a running server: old lines are never shown against new text."""

from __future__ import annotations


def test_an_edited_source_has_no_figures_until_the_workers_load_it(project, routes, password):
    routes.write(project, early=True)
    server = project.gunicorn("-w", "2", "served:application", env=password)
    workers = server.wait_for_workers(2)
    for pid in workers:
        with server.only(pid, workers):
            server.get("/r0")
    project.write(routes.FILE, "# a line more, so that all the others move\n" + routes.text)

    report = server.refresh()

    (entry,) = server.get("/debug/coverage/files").json()
    assert (entry["covered"], entry["percent"]) == (None, None)
    assert "changed since it was loaded" in entry["reason"]
    assert report["summary"]["percent"] is None
    warned = [each for each in report["warnings"] if "lines.py has changed since" in each]
    assert all(any(str(pid) in each for each in warned) for pid in workers)


def test_after_a_restart_only_the_new_version_counts(project, routes, password):
    routes.write(project, early=True)
    first = project.gunicorn("-w", "2", "served:application", env=password)
    first.get("/r0")
    first.end()
    project.write(routes.FILE, routes.text + "# edited\n")
    server = project.gunicorn("-w", "2", "served:application", env=password)
    server.get("/r1")

    report = server.refresh()

    assert server.exported() == {routes.FILE: routes.load | routes.of(["/r1"])}
    assert any("lines.py has changed since" in warning for warning in report["warnings"])
