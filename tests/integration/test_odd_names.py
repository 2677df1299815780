"""Names of sources that neither SQLite nor a browser holds, behind the true tracer."""

import os
import sys
from pathlib import Path

import pytest
from child_scripts import SHOP, WRAPPED
from coverage import CoverageData

LATE = 7  # line


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems refuse such names")
@pytest.mark.parametrize("branch", [False, True])
def test_a_source_whose_name_is_no_utf_8_takes_no_other_line_away(
    run_script, tmp_path, branch
) -> None:
    with open(os.fsencode(tmp_path) + b"/caf\xe9.py", "w") as file:
        file.write("def f():\n    return 1\n")
    told = run_script(
        WRAPPED
        + """
    import os
    path = os.fsdecode(os.path.abspath(b"caf\\xe9.py"))
    names = {}
    with open(path) as file:
        exec(compile(file.read(), path, "exec"), names)
    names["f"]()
    answers = [ask("POST", path, JSON) for path in ("/refresh", "/snapshot", "/refresh")]
    found = ask("GET", "/health", JSON).json()["diagnoses"]
    app._worker.save()
    data = app._worker.engine._cov.get_data()
    print(json.dumps({
        "statuses": [each.status for each in answers],
        "warnings": answers[0].json()["warnings"],
        "executed": executed(app),
        "health": [each["text"] for each in found if each["name"] == "unmeasured-code"],
        "saved": len(app._worker.store.published()),
        "lent": [os.path.basename(each) for each in data.measured_files()],
    }), flush=True)
    sys.modules["shop"].late()
    """,
        {
            "shop.py": SHOP + "    def late():\n        return 1\n",
            ".coveragerc": f"[run]\nsource = .\nomit = script.py\nbranch = {branch}\n",
        },
    )

    assert told["statuses"] == [200, 200, 200]
    assert any("caf\\udce9.py' is set aside" in each for each in told["warnings"])
    assert told["executed"]
    assert told["saved"] == 1
    assert told["lent"] == ["shop.py"]
    kept = CoverageData(str(*tmp_path.glob(".coverage.*")))  # written at the end
    kept.read()
    assert [Path(each).name for each in kept.measured_files()] == ["shop.py"]
    assert LATE in kept.lines(kept.measured_files().pop())
    if sys.version_info >= (3, 12) and not branch:  # under the first engine
        assert any("its name is no UTF-8" in each for each in told["health"])
