"""How long it takes to collect what a test has run, from four workers of a small application.

python tests/bench/collecting.py [--branch]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from sites import APP, DASHBOARD, Way, as_json, served

TIMES = 60
COLLECT = f"{DASHBOARD}/snapshot?reset=1&keep=0&detail=lines"
MODULE = """
def price(net, *, reduced=False):
    rate = 7 if reduced else 19
    if net < 0:
        raise ValueError(net)
    return round(net * (100 + rate) / 100, 2)


class Basket:
    def __init__(self):
        self.items = []

    def add(self, name, net):
        for item in self.items:
            if item[0] == name:
                return False
        self.items.append((name, price(net)))
        return True

    def total(self):
        out = 0
        for _, amount in self.items:
            out += amount
        return out
"""
HANDLERS = """
import part_0, part_1, part_2, part_3, part_4, part_5, part_6, part_7
parts = [part_0, part_1, part_2, part_3, part_4, part_5, part_6, part_7]
@app.get("/")
def home():
    return "home"
@app.get("/<int:number>")
def one(number):
    basket = parts[number % 8].Basket()
    basket.add("tea", number)
    return str(basket.total())
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--branch", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "app.py").write_text(APP.format(body=HANDLERS))
        for number in range(8):
            (folder / f"part_{number}.py").write_text(MODULE)
        branch = "branch = true\n" if chosen.branch else ""
        (folder / ".coveragerc").write_text(f"[run]\nsource = .\n{branch}")
        with served(folder, Way("ours", sys.executable), workers=4) as site:
            times, answer = [], b""
            for number in range(TIMES):
                for each in range(8):
                    site.timed(f"/{number + each}")
                seconds, status, answer = site.ask(COLLECT, "POST")
                assert status == 200, answer
                times.append(seconds * 1000)
    found = as_json(answer)
    assert len(found["workers"]) == 4
    times = sorted(times[3:])
    statements = found["detail"]["totals"]["num_statements"]
    print(
        f"a collection from 4 workers, {statements} statements{', branches' * chosen.branch}: "
        f"median {statistics.median(times):.1f} ms, fastest {times[0]:.1f}, slowest {times[-1]:.1f}"
    )


if __name__ == "__main__":
    main()
