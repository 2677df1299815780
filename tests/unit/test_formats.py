"""Whatever names coverage.py's formats names all of them."""

from wsgi_coverage.model import EXPORT_FORMATS
from wsgi_coverage.report import formats
from wsgi_coverage.web import views
from wsgi_coverage.web.dashboard import comparison


def test_every_format_has_its_file_in_the_folder_of_a_report() -> None:
    assert {*formats.EXPORTS} == {*EXPORT_FORMATS}


def test_every_format_has_its_type_and_the_name_that_it_is_saved_under() -> None:
    assert {*views.EXPORTS} == {*EXPORT_FORMATS}


def test_every_format_but_the_data_file_has_its_name_among_the_snapshots() -> None:
    assert {*comparison.FORMATS} == {*EXPORT_FORMATS} - {"coverage"}
