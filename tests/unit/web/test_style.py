"""The stylesheet: what axe does not look at."""

import re
from importlib.resources import files

import pytest

SHEET = (files("wsgi_coverage.web") / "static" / "style.css").read_text(encoding="utf-8")
LIGHT, DARK = SHEET.split("@media (prefers-color-scheme: dark)")[:2]
PAIRS = {
    **{f"s{number}": f"s{number}t" for number in range(6)},
    **{name: f"{name}-t" for name in ("sl", "sn", "open")},
}
READABLE = 4.5  # WCAG 2.2, 1.4.3


def colours(scheme: str) -> dict[str, str]:
    found = dict(re.findall(r"--([\w-]+): (#\w+);", LIGHT))
    if scheme == "dark":
        found |= dict(re.findall(r"--([\w-]+): (#\w+);", DARK.partition("\n}")[0]))
    return found


def luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    digits = "".join(each * 2 for each in digits) if len(digits) == 3 else digits
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("shade", "text"), PAIRS.items())
def test_labels_can_be_read_on_every_shade_of_the_map(scheme: str, shade: str, text: str) -> None:
    known = colours(scheme)

    light, dark = sorted((luminance(known[name]) for name in (shade, text)), reverse=True)

    assert (light + 0.05) / (dark + 0.05) >= READABLE


def test_every_length_of_a_bar_has_a_rule() -> None:
    found = re.findall(r"\.w(\d+) \{ --w: (\d+)%; \}", SHEET)

    assert [(int(step), int(share)) for step, share in found] == [(n, 2 * n) for n in range(51)]


def test_the_stylesheet_asks_for_nothing_from_elsewhere() -> None:
    assert "url(" not in SHEET
    assert "@import" not in SHEET
