"""Ask a running application for its coverage, from another process or another machine.

    from wsgi_coverage.client import Client

    client = Client("https://shop.example/debug/coverage", password="secret")
    client.refresh()
    print(client.report())
    client.export(".coverage.e2e")

Each method answers with what the dashboard says, unchanged: the same JSON, the same bytes as curl
gets (docs/reference/http.md). What goes wrong is a `ClientError`.
"""

from wsgi_coverage.client.client import Client
from wsgi_coverage.client.errors import (
    BadAddressError,
    ClientError,
    FailedError,
    NotADashboardError,
    RefusedError,
    UnreachableError,
    VersionMismatchError,
)
from wsgi_coverage.model import ExportFormat as Format
from wsgi_coverage.model.answers import (
    Context,
    Diff,
    File,
    Forgotten,
    Function,
    Health,
    LinesOfContext,
    MadeOf,
    Refreshed,
    Snapshot,
    Source,
    Status,
    Taken,
    WorkerAnswer,
)

__all__ = [
    "BadAddressError",
    "Client",
    "ClientError",
    "Context",
    "Diff",
    "FailedError",
    "File",
    "Forgotten",
    "Format",
    "Function",
    "Health",
    "LinesOfContext",
    "MadeOf",
    "NotADashboardError",
    "Refreshed",
    "RefusedError",
    "Snapshot",
    "Source",
    "Status",
    "Taken",
    "UnreachableError",
    "VersionMismatchError",
    "WorkerAnswer",
]
