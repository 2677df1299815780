"""Files in folders: sums, common folders, what is not known; and their treemap."""

import json
from typing import Any

import pytest

from wsgi_coverage.web.dashboard import folders, tree, treemap_view
from wsgi_coverage.web.dashboard.tree import Part


def file(name: str, statements: int | None = 10, **more: Any) -> dict[str, Any]:
    known = (
        {"covered": 6, "missing": 4, "load": 3, "load_only": 3, "runtime": 3} if statements else {}
    )
    return {"file": name, "statements": statements, **known, **more}


def listed(*files: dict[str, Any]) -> tree.Listed:
    return tree.listed(json.dumps(files).encode())


def root_of(*files: dict[str, Any]) -> Part:
    return tree.folder_of(listed(*files).parts)


@pytest.mark.parametrize(
    ("names", "common"),
    [
        (["/srv/shop/app.py", "/srv/shop/views/basket.py"], "/srv/shop/"),
        (["/srv/shop/app.py", "/srv/shopping/app.py"], "/srv/"),
        (["/srv/app.py", "/opt/app.py"], "/"),
        (["/srv/shop/app.py"], "/srv/shop/"),
        (["app.py", "views/basket.py"], ""),
        (["app.py", "/srv/app.py"], ""),
        (["C:\\shop\\app.py", "C:\\shop\\views\\basket.py"], "C:/shop/"),
        ([], ""),
    ],
)
def test_the_common_folder(names: list[str], common: str) -> None:
    assert tree.common_folder(names) == common


def test_names_are_shown_from_the_common_folder() -> None:
    found = listed(file("/srv/shop/app.py"), file("/srv/shop/views/basket.py"))

    assert [part.path for part in found.parts] == ["app.py", "views/basket.py"]
    assert found.by_name["/srv/shop/views/basket.py"].name == "basket.py"


def test_a_folder_has_the_sums_of_its_files() -> None:
    root = root_of(file("/a/x/one.py"), file("/a/x/two.py", 20), file("/a/y.py"))

    [x, y] = root.parts
    assert (x.name, x.files, x.statements, x.missing, x.runtime) == ("x", 2, 30, 8, 6)
    assert (root.files, root.statements) == (3, 40)
    assert y.files == 1


def test_runtime_coverage_leaves_out_what_ran_at_load_only() -> None:
    [part] = listed(file("/a/x.py")).parts

    assert part.runtime_percent == pytest.approx(100 * 3 / 7, abs=0.01)
    assert part.percent == 60.0


def test_a_share_is_full_or_empty_only_where_it_is_exact() -> None:
    assert tree.share(99_999, 100_000) == 99.99
    assert tree.share(1, 100_000) == 0.01
    assert tree.share(100_000, 100_000) == 100.0
    assert tree.share(0, 100_000) == 0.0
    assert tree.share(1, 0) is None
    assert tree.share(None, 5) is None


def test_what_is_not_known_of_a_file_is_not_known_of_its_folder_and_says_why() -> None:
    root = root_of(
        file("/a/x/one.py"), file("/a/x/two.py", runtime=None, runtime_reason="no phases")
    )

    assert root.runtime is None
    assert root.runtime_percent is None
    assert root.runtime_reason == "no phases"
    assert root.missing == 8


def test_a_file_that_cannot_be_parsed_takes_no_figures_from_the_others() -> None:
    root = root_of(
        file("/a/one.py"),
        file("/a/two.py", None, covered=None, missing=None, reason="invalid syntax"),
    )

    assert (root.files, root.statements, root.missing, root.runtime) == (2, 10, 4, 3)


def test_a_folder_that_holds_only_a_folder_is_shown_with_it() -> None:
    root = root_of(file("/a/b/c/one.py"), file("/a/b/c/two.py"), file("/a/other.py"))

    assert [part.name for part in root.parts] == ["b/c", "other.py"]
    assert tree.find(root, "b/c") is root.parts[0]
    assert tree.find(root, "b/c/one.py") is not None
    assert tree.find(root, "b") is None
    assert tree.find(root, "nothing") is None


def draw(root: Part, limit: int = 100) -> treemap_view.TreemapView:
    return treemap_view.draw(
        root,
        width=1000,
        height=400,
        limit=limit,
        share=lambda part: part.runtime_percent,
        root_path="./",
    )


def test_every_file_of_a_small_project_has_a_box_that_leads_to_its_page() -> None:
    root = root_of(file("/a/x.py", html="x_py.html"), file("/a/y.py", html="y_py.html"))

    drawn = draw(root)

    assert [tile.href for tile in drawn.tiles] == ["./source/x.py", "./source/y.py"]
    assert drawn.tiles[0].title == "x.py: 42.86 % of 10 statements, 4 unused, 3 at load only"
    assert drawn.tiles[0].label == "x.py"


@pytest.mark.parametrize("limit", [5, 40, 140])
def test_a_treemap_of_thousands_has_few_boxes_and_all_statements(limit: int) -> None:
    files = [file(f"/a/p{n % 9}/q{n % 4}/m{n}.py", 10 + n % 50) for n in range(3000)]

    drawn = draw(root_of(*files), limit)

    boxes = [tile for tile in drawn.tiles if not tile.is_heading]
    assert len(drawn.tiles) <= 2 * limit
    assert all(tile.href for tile in boxes)
    covered = sum(tile.box.area for tile in boxes)
    assert covered > 0.5 * drawn.width * drawn.height


def test_a_flat_folder_of_thousands_shows_the_largest_and_the_others_together() -> None:
    drawn = draw(root_of(*(file(f"/a/m{n}.py", 10 + n % 50) for n in range(3000))))

    together = [tile for tile in drawn.tiles if "more files" in tile.title]
    assert len(together) == 1
    assert together[0].href == "./files?in=&view=list"


@pytest.mark.parametrize(
    ("figures", "shade"),
    [
        ({"runtime": 0}, "s0"),
        ({"runtime": 1, "missing": 9}, "s1"),
        ({"runtime": 1, "missing": 1}, "s2"),
        ({"runtime": 3, "missing": 1}, "s3"),
        ({"runtime": 30, "missing": 1}, "s4"),
        ({"runtime": 9999, "missing": 1}, "s4"),
        ({"runtime": 3, "missing": 0}, "s5"),
        ({"runtime": 0, "missing": 0}, "sl"),
        ({"runtime": None}, "sn"),
    ],
)
def test_the_shade_is_what_ran_at_runtime(figures: dict[str, Any], shade: str) -> None:
    [tile] = draw(root_of(file("/a/x.py", **figures))).tiles

    assert tile.shade == shade


def by_name(parts: Any) -> list[Part]:
    return sorted(parts, key=lambda part: part.name)


def count(rows: Any) -> int:
    return sum(1 + count(row.rows) for row in rows)


def test_a_tree_of_thousands_has_few_rows_and_links_for_the_others() -> None:
    parts = listed(*(file(f"/a/p{n % 9}/q{n % 4}/m{n}.py") for n in range(3000))).parts

    branch = folders.branch(parts, "", by_name, is_open=False)

    assert 9 < count(branch.rows) <= folders.ROWS
    assert [row.part.name for row in branch.rows] == [f"p{n}" for n in range(9)]
    inner = branch.rows[-1].rows[-1]
    assert (inner.part.is_folder, inner.rows) == (True, [])


def test_a_folder_of_more_files_than_fit_says_how_many_are_left_out() -> None:
    parts = listed(*(file(f"/a/m{n:04}.py") for n in range(1000))).parts

    branch = folders.branch(parts, "", by_name, is_open=False)

    assert (len(branch.rows), branch.more) == (folders.ROWS, 1000 - folders.ROWS)


def test_what_was_looked_for_is_open_if_it_is_little() -> None:
    parts = listed(*(file(f"/a/p{n}/q/m{n}.py") for n in range(5)), file("/a/x.py")).parts

    branch = folders.branch(parts, "", by_name, is_open=True)

    assert all(row.is_open for row in branch.rows if row.part.is_folder)
