"""A source that is edited under a server, and a report that outlives what it was made of."""

from __future__ import annotations

import os
import signal

DASHBOARD = "/debug/coverage"
OUT_OF_DATE = "This report is out of date"
ENDED = "every process that the report was made of has ended since"


def outdated(server):
    """What GET /health says of the published report; the dashboard has to say the same."""
    said = server.get(f"{DASHBOARD}/health").json()["report"]["outdated"]
    page = server.get(f"{DASHBOARD}/").text
    assert all(sentence in page for sentence in said)
    assert (OUT_OF_DATE in page) == bool(said)
    return said


def edit(project, routes):
    """Another version of the application, in which every line has moved."""
    return project.write(routes.FILE, f"# edited\n{routes.text}")


def test_a_source_edited_since_it_was_loaded_is_left_out_and_the_others_stay(
    project, routes, password
):
    routes.write(project)
    project.write("other.py", "def other():\n    return 1\n")
    project.write("served.py", (project.folder / "served.py").read_text() + "import other\n")
    server = project.gunicorn("-w", "2", "served:application", env=password)
    server.wait_for_workers(2)
    server.get("/r0")
    source = edit(project, routes)

    report = server.refresh()

    assert server.exported() == {"other.py": {1}}
    files = {each["file"]: each for each in server.get(f"{DASHBOARD}/files").json()}
    assert files[str(source)]["covered"] is None
    assert "has changed since it was loaded" in files[str(source)]["reason"]
    assert files[str(project.folder / "other.py")]["covered"] == 1
    assert any(f"{source} has changed since" in warning for warning in report["warnings"])
    page = server.get(f"{DASHBOARD}/").text
    assert f"{source} has changed since" in page


def test_workers_that_load_the_new_version_bring_its_figures_back(project, routes, password):
    routes.write(project)
    server = project.gunicorn("-w", "1", "served:application", env=password)
    server.get("/r0")
    edit(project, routes)
    server.end()
    restarted = project.gunicorn("-w", "1", "served:application", env=password)
    restarted.get("/r1")

    report = restarted.refresh()

    assert restarted.exported() == {routes.FILE: {line + 1 for line in routes.of(["/r1"])}}
    assert any("what they recorded of it is left out" in w for w in report["warnings"])


def test_a_report_whose_source_was_edited_says_so_until_the_next_one(project, routes, password):
    routes.write(project)
    server = project.gunicorn("-w", "2", "served:application", env=password)
    server.get("/r0")
    server.refresh()
    before = server.get(f"{DASHBOARD}/report").text
    assert outdated(server) == []

    source = edit(project, routes)

    [sentence] = outdated(server)
    assert "1 source has changed since the report was made" in sentence
    assert str(source) in sentence
    assert server.get(f"{DASHBOARD}/report").text == before
    server.refresh()
    assert outdated(server) == []


def test_a_report_that_an_earlier_process_published_says_so_until_the_next_one(
    project, routes, password
):
    routes.write(project)
    first = project.gunicorn("-w", "2", "served:application", env=password)
    first.wait_for_workers(2)
    first.get("/r0")
    first.refresh()
    before = first.get(f"{DASHBOARD}/report").text
    assert outdated(first) == []
    first.end()

    server = project.gunicorn("-w", "2", "served:application", env=password)

    assert server.get(f"{DASHBOARD}/report").text == before
    [sentence] = outdated(server)
    assert sentence.startswith(ENDED)
    server.refresh()
    assert outdated(server) == []


def test_the_report_of_a_server_that_was_killed_and_edited_says_both(project, routes, password):
    routes.write(project)
    first = project.gunicorn("-w", "1", "served:application", env=password)
    first.get("/r0")
    first.refresh()
    first.kill()
    source = edit(project, routes)

    server = project.gunicorn("-w", "1", "served:application", env=password)

    ended, changed = outdated(server)
    assert ended.startswith(ENDED)
    assert str(source) in changed


def test_one_worker_that_is_left_is_enough_for_a_report_not_to_be_of_an_earlier_process(
    project, routes, password
):
    routes.write(project)
    server = project.gunicorn("-w", "2", "served:application", env=password)
    workers = server.wait_for_workers(2)
    server.get("/r0")
    server.refresh()
    ended = min(workers)

    os.kill(ended, signal.SIGTERM)
    server.wait_for_workers(2, but={ended})

    assert outdated(server) == []


def test_there_is_nothing_to_say_of_a_report_that_there_is_not(project, routes, password):
    routes.write(project)
    server = project.gunicorn("-w", "1", "served:application", env=password)

    health = server.get(f"{DASHBOARD}/health").json()

    assert health["report"] is None
    assert OUT_OF_DATE not in server.get(f"{DASHBOARD}/").text
