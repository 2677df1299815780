"""Names of sources that neither SQLite nor a browser holds, behind the true tracer."""

import os
import sys

import pytest
from child_scripts import SHOP, WRAPPED


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems refuse such names")
def test_a_source_whose_name_is_no_utf_8_takes_no_other_line_away(run_script, tmp_path) -> None:
    with open(os.fsencode(tmp_path) + b"/caf\xe9.py", "w") as file:
        file.write("def f():\n    return 1\n")
    told = run_script(
        WRAPPED
        + """
    import os
    path = os.fsdecode(os.path.abspath(b"caf\\xe9.py"))
    names = {}
    exec(compile(open(path).read(), path, "exec"), names)
    names["f"]()
    answers = [ask("POST", path, JSON) for path in ("/refresh", "/snapshot", "/refresh")]
    found = ask("GET", "/health", JSON).json()["diagnoses"]
    app._worker.save()
    print(json.dumps({
        "statuses": [each.status for each in answers],
        "warnings": answers[0].json()["warnings"],
        "executed": executed(app),
        "health": [each["text"] for each in found if each["name"] == "unmeasured-code"],
        "saved": len(app._worker.store.published()),
    }))
    """,
        {"shop.py": SHOP, ".coveragerc": "[run]\nsource = .\nomit = script.py\n"},
    )

    assert told["statuses"] == [200, 200, 200]
    assert any("caf\\udce9.py' is set aside" in each for each in told["warnings"])
    assert told["executed"]
    assert told["saved"] == 1
    if sys.version_info >= (3, 12):
        assert any("its name is no UTF-8" in each for each in told["health"])
