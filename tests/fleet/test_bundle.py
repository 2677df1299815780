"""A finished report as one value: packed on one host, unpacked on another."""

from __future__ import annotations

import io
import json
import zipfile
from contextlib import suppress

import pytest
from coverage import CoverageData

from wsgi_coverage.analysis.cache import AnalysisCache
from wsgi_coverage.data import stamp
from wsgi_coverage.data.packed import pack, read_packed
from wsgi_coverage.fleet import bundle

HERE, THERE = "/srv/shop", "/opt/releases/7"
NAME = "0123456789abcdef" * 2  # of an analysis
OUTSIDE = "/usr/lib/python3/site.py"


@pytest.fixture
def folder(tmp_path):
    """A finished report about one source of the application, and one outside of it."""
    made = tmp_path / "made"
    (made / "sources").mkdir(parents=True)
    (made / "meta.json").write_text('{"id": "x"}')
    (made / "report.txt").write_text("app.py 100%\n")
    files = [{"file": f"{HERE}/app.py", "percent": 100.0}, {"file": OUTSIDE, "percent": None}]
    (made / "files.json").write_text(json.dumps(files))
    (made / "origin.json").write_text(
        json.dumps({"workers": ["w"], "sources": {f"{HERE}/app.py": [1, 2, 3, 4, "v1"]}})
    )
    entry = {"filename": f"{HERE}/app.py", "source": NAME, "shown": "app.py"}
    figures = {"config": {"source": [HERE]}, "files": {f"{HERE}/app.py": entry}, "failures": {}}
    (made / "figures").write_bytes(pack(figures))
    (made / "sources" / NAME).write_bytes(pack({"text": "a secret of the source"}))
    data = CoverageData(str(made / "data.coverage"))
    data.add_lines({f"{HERE}/app.py": [1, 2], OUTSIDE: [3]})
    data.write()
    data.close()
    stamp.put_fingerprints(made / "data.coverage", {f"{HERE}/app.py": "v1", OUTSIDE: "v2"})
    return made


@pytest.fixture
def unpacked(tmp_path):
    """Unpack into a folder of a host, which has analyses of its own."""

    def unpack(content, *, root=HERE):
        analyses = AnalysisCache(tmp_path / "analysis")
        target = tmp_path / "target"
        bundle.unpack(content, target, root=root, analyses=analyses)
        return target

    return unpack


def lines(folder):
    data = CoverageData(str(folder / "data.coverage"))
    data.read()
    found = {name: sorted(data.lines(name)) for name in data.measured_files()}
    data.close()
    return found


def zipped(**files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name, content in files.items():
            made.writestr(name.replace("__", "/").replace("_DOT_", "."), content)
    return out.getvalue()


def test_it_is_the_same_where_the_application_is_in_the_same_folder(folder, unpacked):
    found = unpacked(bundle.packed(folder, root=HERE, with_sources=True))

    same = ["meta.json", "report.txt", "files.json", "origin.json", "figures", "data.coverage"]
    for name in [*same, f"sources/{NAME}"]:
        assert (found / name).read_bytes() == (folder / name).read_bytes()


def test_text_of_sources_stays_here_unless_it_is_wanted(folder, unpacked):
    content = bundle.packed(folder, root=HERE, with_sources=False)

    found = unpacked(content)

    assert list((found / "sources").iterdir()) == []
    assert f"sources/{NAME}" not in zipfile.ZipFile(io.BytesIO(content)).namelist()


def test_a_host_that_has_analysed_the_source_has_its_own_analysis(folder, unpacked, tmp_path):
    AnalysisCache(tmp_path / "analysis").put(NAME, {"text": "of this host"})

    found = unpacked(bundle.packed(folder, root=HERE, with_sources=False))

    assert read_packed(found / "sources" / NAME) == {"text": "of this host"}


def test_names_begin_where_the_application_is(folder, unpacked):
    found = unpacked(bundle.packed(folder, root=HERE, with_sources=False), root=THERE)

    assert lines(found) == {f"{THERE}/app.py": [1, 2], OUTSIDE: [3]}
    with stamp.reading(found / "data.coverage") as connection:
        versions = stamp.read_fingerprints(connection)
    assert versions == {f"{THERE}/app.py": "v1", OUTSIDE: "v2"}
    files = json.loads((found / "files.json").read_text())
    assert [each["file"] for each in files] == [f"{THERE}/app.py", OUTSIDE]
    assert [*json.loads((found / "origin.json").read_text())["sources"]] == [f"{THERE}/app.py"]
    figures = read_packed(found / "figures")
    assert figures["config"] == {"source": [THERE]}
    assert figures["files"][f"{THERE}/app.py"]["filename"] == f"{THERE}/app.py"


def test_a_folder_whose_name_begins_alike_is_another_one(folder, unpacked):
    (folder / "files.json").write_text(json.dumps([{"file": f"{HERE}-old/app.py"}]))

    found = unpacked(bundle.packed(folder, root=HERE, with_sources=False), root=THERE)

    assert json.loads((found / "files.json").read_text()) == [{"file": f"{HERE}-old/app.py"}]


def test_an_analysis_has_no_other_name_than_we_give(folder, unpacked, tmp_path):
    (tmp_path / "secret").write_bytes(pack({"text": "secret"}))
    figures = {"files": {"app.py": {"source": "../secret"}}}
    (folder / "figures").write_bytes(pack(figures))

    found = unpacked(bundle.packed(folder, root=HERE, with_sources=False))

    assert not (found / "secret").exists()


def test_a_report_that_is_being_removed_is_none(tmp_path):
    with pytest.raises(FileNotFoundError):
        bundle.packed(tmp_path / "gone", root=None, with_sources=False)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no report"),
        (b"another program's", "no report"),
        (zipped(), "no report"),
        (zipped(about_DOT_json="{}"), "no report"),
        (zipped(about_DOT_json="[]"), "no report"),
        (zipped(about_DOT_json='{"root": null}'), "lacks"),
        (zipped(about_DOT_json='{"root": null}', meta_DOT_json="{}", figures="x"), "lacks"),
        (zipped(about_DOT_json='{"root": null}', meta_DOT_json="{}", figures=pack([])), "no rep"),
        (zipped(about_DOT_json="{", meta_DOT_json="{}"), "Expecting"),
    ],
)
def test_what_is_no_report_is_refused(unpacked, content, why):
    with pytest.raises(ValueError, match=why):
        unpacked(content)


def test_a_damaged_one_is_refused(folder, unpacked):
    content = bundle.packed(folder, root=HERE, with_sources=True)
    for at in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[at] ^= 0xFF
        with suppress(bundle.BundleError, ValueError):  # or it is whole: not every byte counts
            unpacked(bytes(damaged))
    for length in range(0, len(content), 50):
        with pytest.raises(bundle.BundleError):
            unpacked(content[:length])


def test_no_file_is_written_but_those_of_a_report(folder, unpacked, tmp_path):
    content = io.BytesIO(bundle.packed(folder, root=HERE, with_sources=False))
    with zipfile.ZipFile(content, "a") as made:
        for name in ("../evil", "/evil", "sources/../../evil", "sources/evil.py", "evil"):
            made.writestr(name, "x")

    found = unpacked(content.getvalue())

    assert not [path for path in tmp_path.rglob("*") if "evil" in path.name]
    assert not any(path.name == "evil" for path in found.rglob("*"))


def test_what_is_too_large_is_refused_before_it_is_unpacked(folder, unpacked, monkeypatch):
    content = bundle.packed(folder, root=HERE, with_sources=True)
    monkeypatch.setattr(bundle, "MOST", 100)

    with pytest.raises(bundle.BundleError, match="more than"):
        unpacked(content)
    with pytest.raises(bundle.BundleError, match="more than"):
        bundle.packed(folder, root=HERE, with_sources=True)
