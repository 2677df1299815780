"""What has the name of a file of ours, and is none, is set aside or named; no answer is a 500."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from child_scripts import SHOP, WRAPPED
from special_files import device, full_folder, loop, pipe

MAKERS = {each.__name__: each for each in (full_folder, loop, pipe, device)}
CACHE = ".wsgi-coverage-cache"
EPOCH = ".wsgi-coverage-epoch.coverage"

# What writes, and after each whether it is known to /health.
ASKED = ("/refresh", "/snapshot", "/snapshot?reset=1", "/pause", "/resume", "/reset")
TAKEN = """
    first = ask("POST", "/refresh?wait=1", JSON).status
    make = MAKERS[kind]
    path = Path(name)
    if path.is_dir():
        path.rename("aside")
    path.unlink(missing_ok=True)
    make(path)
    health = ask("GET", "/health").json()
    said = [each["text"] for each in health["diagnoses"] if each["name"] == "not-writable"]
    answers = {}
    for url in ASKED:
        answer = ask("POST", url, JSON)
        answers[url] = [answer.status, answer.json().get("error"), answer.json().get("message")]
    page = ask("GET", "/", BROWSER).status
    left = path.is_dir() and [each.name for each in path.iterdir()]
    print(json.dumps([first, said, answers, page, left]))
"""


@pytest.fixture
def asked(run_script: Any) -> Callable[[str, Callable[[Path], None]], Any]:
    """Put something in the place of a file or folder, then ask for all that writes."""

    def ask(name: str, make: Callable[[Path], None]) -> Any:
        support = Path(__file__).parents[1] / "support"
        names = (
            f"\n    import sys; sys.path.insert(0, {str(support)!r})\n"
            f"    from pathlib import Path\n    import special_files\n"
            f"    MAKERS = vars(special_files)\n    ASKED = {ASKED!r}\n"
            f"    kind, name = {make.__name__!r}, {name!r}\n"
        )
        first, said, answers, page, left = run_script(WRAPPED + names + TAKEN, {"shop.py": SHOP})
        assert first == 200
        assert page == 200
        assert all(status in (200, 404, 507) for status, _, _ in answers.values()), answers
        return said, answers, left

    return ask


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        (EPOCH, ["/snapshot?reset=1", "/pause", "/reset"]),
        (f"{CACHE}/current", ["/refresh", "/snapshot?reset=1", "/reset"]),
        (f"{CACHE}/build.lock", ASKED),
        (f"{CACHE}/collect.lock", ["/snapshot?reset=1"]),
        (f"{CACHE}/history.json", []),
        (f"{CACHE}/building.json", []),
    ],
)
def test_a_folder_that_has_the_name_of_a_file_is_named_and_stays(
    asked: Any, name: str, refused: list[str]
) -> None:
    said, answers, left = asked(name, full_folder)

    assert left == ["somebody's"]
    wrong = {url: each for url, each in answers.items() if each[0] != 200}
    assert list(wrong) == [*refused]
    for status, slug, message in wrong.values():
        assert (status, slug) == (507, "path-blocked")
        assert Path(name).name in message
    assert len(said) == bool(refused)
    assert all(f"{Path(name).name}: something else has that name" in text for text in said)


@pytest.mark.parametrize("make", [loop, pipe, device])
@pytest.mark.parametrize("name", [EPOCH, f"{CACHE}/history.json", f"{CACHE}/building.json"])
def test_what_is_no_folder_in_the_place_of_a_file_is_replaced(
    asked: Any, name: str, make: Callable[[Path], None]
) -> None:
    said, answers, _ = asked(name, make)

    assert said == []
    assert {status for status, _, _ in answers.values()} == {200}


@pytest.mark.parametrize("make", [loop, pipe, device])
def test_a_lock_that_is_no_regular_file_is_named(asked: Any, make: Callable[[Path], None]) -> None:
    (said,), answers, _ = asked(f"{CACHE}/build.lock", make)

    assert "build.lock: something else has that name" in said
    assert {(status, slug) for status, slug, _ in answers.values()} == {(507, "path-blocked")}


@pytest.mark.parametrize("make", [loop, pipe, device])
@pytest.mark.parametrize("name", [f"{CACHE}/analysis", f"{CACHE}/reports"])
def test_what_is_no_folder_in_the_place_of_one_is_named(
    asked: Any, name: str, make: Callable[[Path], None]
) -> None:
    (said,), answers, _ = asked(name, make)

    assert f"{Path(name).name}: something else has that name" in said
    assert answers["/refresh"][1] in ("path-blocked", "report-refused")
