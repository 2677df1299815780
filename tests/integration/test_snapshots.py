"""Snapshots over HTTP: labels, ids, limits, a full disk."""

import errno
import html
import os
import re
from pathlib import Path
from typing import Any

import pytest
from stand_ins import Site, build
from wsgi_calls import BROWSER, JSON

from wsgi_coverage.errors import RefreshBusyError
from wsgi_coverage.model import Report
from wsgi_coverage.report.publish import Publisher

LABEL = (
    "it's \"quoted\"\r\n\tand\nbroken <script>alert('x')</script> &amp; {{ 7*7 }} "
    "é ü 漢字 🎉 \u202e \x7f ../../etc %2e%2e \\"
)
LABEL += "x" * (500 - len(LABEL))
READERS = ["", "/report", "/files", "/export", "/export?format=json", "/html/"]
DISHONEST = [
    "..",
    "%2e%2e",
    "..%2f..%2fetc",
    "%00",
    "20260101T000000.000000Z-00000000",
    "20260101T000000.000000Z-00000000%0a",
    "20260101T000000.000000Z-00000000%00",
    "٢0260101T000000.000000Z-00000000",
    ".",
    "x" * 5000,
]


def take(site: Site, **form: str) -> dict[str, object]:
    answer = site.post("/snapshot", JSON, form=form)
    assert answer.status == 200, answer.body
    taken: dict[str, object] = answer.json()
    return taken


def test_a_snapshot_answers_with_all_its_keys(site: Site) -> None:
    taken = take(site, label="before the release")

    assert set(taken) == {"id", "label", "size", "taken_at", "complete", "workers", "warnings"}
    assert taken["warnings"] == []
    assert taken["label"] == "before the release"


def test_a_label_comes_from_the_query_or_from_the_form(site: Site) -> None:
    assert site.post("/snapshot?label=a+b", JSON).json()["label"] == "a b"
    assert site.post("/snapshot", JSON, form={"label": "a b"}).json()["label"] == "a b"


@pytest.mark.parametrize("query", ["", "?label="])
def test_no_label_is_null(site: Site, query: str) -> None:
    assert site.post(f"/snapshot{query}", JSON).json()["label"] is None
    assert site.get("/snapshots").json()[0]["label"] is None


def test_a_label_survives_unchanged(site: Site) -> None:
    assert len(LABEL) == 500

    taken = take(site, label=LABEL)

    assert taken["label"] == LABEL
    assert site.get("/snapshots").json()[0]["label"] == LABEL


@pytest.mark.parametrize("path", ["/", "/snapshots"])
def test_a_label_is_escaped_on_the_dashboard(site: Site, path: str) -> None:
    take(site, label=LABEL)
    take(site, label="another, so that a line is drawn")
    site.post("/refresh")

    page = site.get(path, BROWSER).text

    assert "<script>" not in page
    assert html.escape("<script>alert(", quote=False) in page
    assert "{{ 7*7 }}" in page


def test_only_letters_and_digits_of_a_label_become_part_of_a_path(
    site: Site, tmp_path: Path
) -> None:
    identity = take(site, label="../../escaped")["id"]

    named = [path.name for path in tmp_path.rglob("*escaped*")]

    assert sorted(named) == [f"{identity}", f"{identity}.coverage"]
    assert re.fullmatch(r"[0-9TZ.]+-[0-9a-f]{8}-escaped", str(identity))


@pytest.mark.parametrize(("length", "status"), [(1000, 200), (1001, 400)])
def test_a_label_has_at_most_1000_characters(site: Site, length: int, status: int) -> None:
    answer = site.post("/snapshot", JSON, form={"label": "é" * length})

    assert answer.status == status
    assert len(site.get("/snapshots").json()) == (status == 200)


def test_snapshots_are_listed_newest_first(site: Site) -> None:
    taken = [take(site, label=str(number))["id"] for number in range(5)]

    assert [each["id"] for each in site.get("/snapshots").json()] == taken[::-1]


def test_there_are_no_snapshots_at_first(site: Site) -> None:
    assert site.get("/snapshots").json() == []


@pytest.mark.parametrize("path", READERS)
def test_a_snapshot_has_every_format(site: Site, path: str) -> None:
    identity = take(site)["id"]

    assert site.get(f"/snapshots/{identity}{path}").status == 200


def test_a_snapshots_data_file_is_a_download_named_after_it(site: Site) -> None:
    identity = take(site)["id"]

    answer = site.get(f"/snapshots/{identity}")

    assert answer.body.startswith(b"SQLite format 3")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{identity}.coverage"'


def test_taking_a_snapshot_publishes_no_report(site: Site) -> None:
    take(site)

    assert site.get("/report").error == "no-report"


def test_a_snapshot_stays_after_a_reset(reported: Site) -> None:
    identity = take(reported)["id"]

    reported.post("/reset", JSON)

    assert reported.get(f"/snapshots/{identity}/report").status == 200


def test_a_deleted_snapshot_is_gone(site: Site, tmp_path: Path) -> None:
    first, second = take(site)["id"], take(site)["id"]

    answer = site.call("DELETE", f"/snapshots/{first}", JSON)

    assert answer.json() == {"status": "deleted", "id": first}
    assert [each["id"] for each in site.get("/snapshots").json()] == [second]
    left = {path.name for path in (tmp_path / ".wsgi-coverage-snapshots").iterdir()}
    assert left == {second, f"{second}.coverage"}
    assert site.call("DELETE", f"/snapshots/{first}", JSON).error == "unknown-snapshot"


def test_the_dashboard_deletes_a_snapshot_by_post(site: Site) -> None:
    identity = take(site)["id"]

    answer = site.post(f"/snapshots/{identity}/delete", BROWSER)

    assert (answer.status, answer.headers["Location"]) == (303, "../../?notice=deleted")
    assert site.get("/snapshots").json() == []


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("identity", DISHONEST)
def test_an_id_that_no_snapshot_has_is_404(reported: Site, identity: str, reader: str) -> None:
    take(reported)

    answer = reported.get(f"/snapshots/{identity}{reader}")

    assert answer.status == 404
    assert answer.error in ("unknown-snapshot", "not-found")


@pytest.mark.parametrize("identity", DISHONEST)
def test_deleting_what_no_snapshot_has_as_id_is_404(site: Site, identity: str) -> None:
    kept = take(site)["id"]

    for answer in (
        site.call("DELETE", f"/snapshots/{identity}", JSON),
        site.post(f"/snapshots/{identity}/delete", JSON),
    ):
        assert answer.status == 404
        assert answer.error in ("unknown-snapshot", "not-found")
    assert [each["id"] for each in site.get("/snapshots").json()] == [kept]


def test_a_folder_that_is_no_whole_snapshot_is_not_listed(site: Site, tmp_path: Path) -> None:
    identity = str(take(site)["id"])
    folder = tmp_path / ".wsgi-coverage-snapshots"
    (folder / "20260101T000000.000000Z-00000000").mkdir()
    (folder / "mine").mkdir()
    torn = folder / "20260101T000000.000000Z-00000001"
    torn.mkdir()
    (torn / "meta.json").write_text('{"id": ', encoding="utf-8")

    answer = site.get("/snapshots")

    assert [each["id"] for each in answer.json()] == [identity]


def test_there_is_a_limit_to_the_number_of_snapshots(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsgi_coverage.report.snapshots.MAX_SNAPSHOTS", 1)
    first = take(site)["id"]

    answer = site.post("/snapshot", JSON)

    assert (answer.status, answer.error) == (409, "snapshot-limit")
    site.call("DELETE", f"/snapshots/{first}")
    assert site.post("/snapshot", JSON).status == 200


def test_nothing_measured_yet_is_no_snapshot(site: Site) -> None:
    site.worker.store.published = lambda *, before=None: []

    answer = site.post("/snapshot", JSON)

    assert (answer.status, answer.error) == (409, "no-data")
    assert site.get("/snapshots").json() == []


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Every build writes a part and then finds no room; undo() makes room."""

    def out_of_room(source: object, folder: Path, **_: object) -> None:
        (folder / "report.txt").write_text("half of it", encoding="utf-8")
        raise OSError(errno.ENOSPC, "No space left on device")

    patch = pytest.MonkeyPatch()
    patch.setattr("wsgi_coverage.control.control.build", out_of_room)
    yield patch
    patch.undo()


@pytest.mark.parametrize("accept", [JSON, BROWSER])
def test_a_full_disk_is_507_and_nothing_half_written_is_listed(
    site: Site, full_disk: pytest.MonkeyPatch, accept: dict[str, str], tmp_path: Path
) -> None:
    answer = site.post("/snapshot", accept)

    assert answer.status == 507
    assert "disk-full" in answer.text
    assert "no room" in answer.text
    assert site.get("/snapshots").json() == []
    assert list((tmp_path / ".wsgi-coverage-snapshots").iterdir()) == []


def test_after_a_full_disk_it_works_again(
    site: Site, full_disk: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert site.post("/snapshot", JSON).status == 507
    assert site.post("/refresh", JSON).status == 507
    full_disk.undo()
    monkeypatch.setattr("wsgi_coverage.control.control.build", build)

    assert site.post("/snapshot", JSON).status == 200
    assert site.post("/refresh", JSON).status == 200
    assert len(site.get("/snapshots").json()) == 1


def test_a_full_disk_leaves_the_published_report_as_it_was(
    reported: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = reported.get("/report").body

    def out_of_room(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("wsgi_coverage.control.control.build", out_of_room)

    assert reported.post("/refresh", JSON).error == "disk-full"
    assert reported.get("/report").body == before


def test_a_disk_that_is_full_at_the_last_step_leaves_nothing_either(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def out_of_room(folder: Path, *_: object) -> None:
        (folder / "meta.json").write_text('{"id": ', encoding="utf-8")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("wsgi_coverage.report.snapshots.write_meta", out_of_room)

    assert site.post("/snapshot", JSON).error == "disk-full"
    assert site.get("/snapshots").json() == []
    assert list((tmp_path / ".wsgi-coverage-snapshots").iterdir()) == []


@pytest.mark.parametrize(
    ("number", "slug"),
    [
        (errno.ENOSPC, "disk-full"),
        (errno.EDQUOT, "disk-full"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "access-denied"),
        (errno.EPERM, "access-denied"),
        (errno.EMFILE, "no-descriptors"),
        (errno.ENFILE, "no-descriptors"),
        (errno.EIO, "storage"),
    ],
)
@pytest.mark.parametrize("path", ["/refresh", "/snapshot", "/reset"])
def test_what_the_system_refuses_to_write_is_507_wherever_it_shows(
    site: Site, monkeypatch: pytest.MonkeyPatch, path: str, number: int, slug: str
) -> None:
    def refuse(verb: str, *, wait: float) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(site.worker, "ask_all", refuse)

    answer = site.post(path, JSON)

    assert (answer.status, answer.error) == (507, slug)
    assert site.get("/snapshots").json() == []


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("detail=files", "detail must be lines, got 'files'"),
        ("keep=maybe", "keep must be 1 or 0, got 'maybe'"),
        ("reset=2", "reset must be 1 or 0, got '2'"),
    ],
)
def test_a_parameter_that_says_nothing_known_is_refused_and_nothing_is_done(
    site: Site, query: str, message: str
) -> None:
    answer = site.post(f"/snapshot?{query}", JSON)

    assert (answer.status, answer.error) == (400, "bad-parameter")
    assert answer.json()["message"] == message
    assert site.worker.asked == []


def test_a_snapshot_that_is_not_kept_has_no_id_and_is_in_no_list(site: Site) -> None:
    answer = site.post("/snapshot?keep=0&label=x", JSON)

    assert answer.status == 200
    assert (answer.json()["id"], answer.json()["label"]) == (None, "x")
    assert site.get("/snapshots").json() == []


@pytest.mark.parametrize("path", ["/snapshot", "/snapshot?keep=0", "/snapshot?reset=1", "/refresh"])
def test_nothing_else_is_built_meanwhile(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str
) -> None:
    """Two calls of coverage.py at once end the interpreter."""
    refused = []

    def build_and_try_to_build(*args: Any, **keywords: Any) -> Report:
        with pytest.raises(RefreshBusyError), Publisher(cache_dir).lock(timeout=0.0):
            pass
        refused.append(path)
        return build(*args, **keywords)

    cache_dir = Path(site.get("/health").json()["cache_dir"])
    for name in ("build", "build_detail"):
        monkeypatch.setattr(f"wsgi_coverage.control.control.{name}", build_and_try_to_build)

    assert site.post(path, JSON).status == 200
    assert refused == [path]


def test_a_snapshot_with_a_reset_asks_every_worker_once_and_withdraws_the_report(
    reported: Site,
) -> None:
    reported.worker.asked.clear()

    answer = reported.post("/snapshot?reset=1", JSON)

    assert answer.status == 200
    assert reported.worker.verbs == ["collect"]
    assert reported.get("/report").error == "no-report"
    assert [each["id"] for each in reported.get("/snapshots").json()] == [answer.json()["id"]]
