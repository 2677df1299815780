"""How many made-up inputs a test tries: few, always the same; many random ones in `nox -s fuzz`."""

from __future__ import annotations

import os

VARIABLE = "FUZZ_EXAMPLES"
ARE_RANDOM = VARIABLE in os.environ
EXAMPLES = int(os.environ.get(VARIABLE, "60"))
