"""Whatever names coverage.py's formats names all of them."""

import re
from pathlib import Path

from wsgi_coverage.model import EXPORT_FORMATS
from wsgi_coverage.report import formats
from wsgi_coverage.web.exports import EXPORTS

ROOT = Path(__file__).parents[2]


def test_every_format_has_its_file_in_the_folder_of_a_report() -> None:
    assert {*formats.EXPORTS} == {*EXPORT_FORMATS}


def test_every_format_has_its_title_its_type_and_the_name_that_it_is_saved_under() -> None:
    assert {*EXPORTS} == {*EXPORT_FORMATS}


def test_every_format_is_documented_with_its_type_and_the_name_that_it_is_saved_under() -> None:
    page = (ROOT / "docs/reference/http.md").read_text(encoding="utf-8")
    section = page.partition("\n## GET /export\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)`.*?\| `([\w/-]+)` \|(?: `(.+)`)? \|$", section, re.M)

    assert {(name, mimetype, filename or None) for name, mimetype, filename in rows} == {
        (name, export.mimetype, export.filename) for name, export in EXPORTS.items()
    }
