"""What has run in its forms: a reading of a memory, a data file, the store's content."""

from __future__ import annotations

import coverage
import pytest

from wsgi_coverage.data import stamp
from wsgi_coverage.data.datafile import UnusableError
from wsgi_coverage.data.phases import Phase
from wsgi_coverage.data.reading import Record, arc_of, by_context
from wsgi_coverage.fleet import content
from wsgi_coverage.store.memory import Memory
from wsgi_coverage.store.redis import Content, StoredSource


@pytest.fixture
def memory(tmp_path):
    (tmp_path / "memory").mkdir()
    return Memory(tmp_path / "memory")


def mark(memory, name, *lines, phase=Phase.RUNTIME, version="v1"):
    place = memory.place(name, version, 100)
    chunk = memory.chunk(phase, 0, place.chunk)
    for line in lines:
        chunk[place.at + line] = 1


def source(name="app.py", context="runtime", **more):
    usual = {"version": "v1", "tracer": "", "has_arcs": False}
    return StoredSource(name=name, context=context, **{**usual, **more})


class TestReadings:
    def test_lines_are_told_apart_by_phase(self, memory):
        mark(memory, "app.py", 3, 5)
        mark(memory, "app.py", 1, phase=Phase.LOAD)
        mark(memory, "other.py", 7, phase=None)

        found = content.of_readings([memory.read()], None)

        assert found.lines == {
            source(): 0b101000,
            source(context="load"): 0b10,
            source("other.py", context=""): 1 << 7,
        }

    def test_a_source_of_which_nothing_ran_is_known(self, memory):
        memory.place("never.py", "v1", 10)

        assert content.of_readings([memory.read()], None).lines == {source("never.py", ""): 0}

    def test_a_static_context_goes_with_them(self, memory):
        mark(memory, "app.py", 3)

        assert [*content.of_readings([memory.read()], "nightly").lines] == [
            source(context="nightly|runtime")
        ]

    def test_arcs_and_labelled_lines_are_records(self, memory):
        arc = arc_of(-1, 4)
        records = {
            Record("app.py", "v1", "", None, True, (arc,)): None,
            Record("page.html", None, "jinja", "label", False, (2, 3)): None,
        }
        reading = memory.read()
        object.__setattr__(reading, "records", {Phase.RUNTIME: [*records]})

        found = content.of_readings([reading], None)

        assert found.arcs == {source(has_arcs=True): {arc}}
        assert found.lines == {
            StoredSource("page.html", None, "jinja", "label", False): 0b1100,
        }

    def test_content_comes_back_as_a_reading(self, memory):
        mark(memory, "app.py", 3, 5)
        mark(memory, "app.py", 1, phase=Phase.LOAD)
        mark(memory, "new.py", 99)
        memory.place("never.py", "v1", 10)
        found = content.of_readings([memory.read()], "nightly")

        reading = content.as_reading(found, name="fleet a", epoch=3, static="nightly")

        executed = {
            (claim.name, claim.version): by_context(lines, "nightly")
            for claim, lines in reading.executed()
        }
        assert executed == {
            ("app.py", "v1"): {"nightly|load": 0b10, "nightly|runtime": 0b101000},
            ("new.py", "v1"): {"nightly|runtime": 1 << 99},
            ("never.py", "v1"): {},
        }
        assert (reading.host, reading.epoch, reading.records) == ("fleet a", 3, {})

    def test_what_has_another_context_comes_back_as_a_record(self):
        arcs = {source(context="label", has_arcs=True): {arc_of(1, 2), arc_of(-1, 1)}}
        lines = {source(context="other|runtime"): 0b110, source(version=None): 0b10}

        reading = content.as_reading(
            Content(lines=lines, arcs=arcs), name="f", epoch=0, static=None
        )

        assert reading.sources == ()
        assert {record.context: record.numbers for record in reading.records[None]} == {
            "label": (arc_of(-1, 1), arc_of(1, 2)),
            "other|runtime": (1, 2),
            "runtime": (1,),
        }


class TestDataFiles:
    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / ".coverage.x"

    def test_lines_with_their_contexts_versions_and_plugins(self, path):
        data = coverage.CoverageData(str(path))
        data.set_context("runtime")
        data.add_lines({"app.py": [3, 5], "page.html": [2]})
        data.set_context("load")
        data.add_lines({"app.py": [1]})
        data.touch_file("never.py")
        data.add_file_tracers({"page.html": "jinja"})
        data.close()
        stamp.put_fingerprints(path, {"app.py": "v1"})

        found = content.of_data_file(path)

        ran = {source: bits for source, bits in found.lines.items() if bits}
        assert ran == {
            source(): 0b101000,
            source(context="load"): 0b10,
            StoredSource("page.html", None, "jinja", "runtime", False): 0b100,
        }
        assert {each.name for each in found.lines} == {"app.py", "never.py", "page.html"}

    def test_arcs(self, path):
        data = coverage.CoverageData(str(path))
        data.set_context("runtime")
        data.add_arcs({"app.py": [(-1, 3), (3, -1)]})
        data.close()

        found = content.of_data_file(path)

        assert found.arcs[source(version=None, has_arcs=True)] == {arc_of(-1, 3), arc_of(3, -1)}
        assert found.lines == {}

    def test_a_damaged_one_is_refused(self, path):
        path.write_text("no data file")

        with pytest.raises(UnusableError):
            content.of_data_file(path)


class TestDifferences:
    def test_only_what_is_new(self):
        arcs = source(has_arcs=True)
        known = Content(lines={source("a"): 0b11, source("b"): 0}, arcs={arcs: {1}})
        now = Content(
            lines={source("a"): 0b111, source("b"): 0, source("c"): 0}, arcs={arcs: {1, 2}}
        )

        assert content.without(now, known) == Content(
            lines={source("a"): 0b100, source("c"): 0}, arcs={arcs: {2}}
        )
        assert content.without(known, known) == Content(lines={}, arcs={})

    def test_all_of_both(self):
        arcs = source(has_arcs=True)
        first = Content(lines={source("a"): 0b1}, arcs={arcs: {1}})
        second = Content(lines={source("a"): 0b10, source("b"): 0}, arcs={arcs: {2}})

        assert content.united([first, second]) == Content(
            lines={source("a"): 0b11, source("b"): 0}, arcs={arcs: {1, 2}}
        )
