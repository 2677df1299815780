"""A program in a pod, measured as py-coverage-http's server does, with its endpoints.

`python coverage_http.py FOLDER` runs `shop.py` from a folder, prints the port, and serves until its
standard input ends.
"""

import base64
import json
import runpy
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import coverage


class Endpoints(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/coverage":
            self.answer(
                label=parse_qs(url.query)["name"][0],
                timestamp="2026-01-01T00:00:00+00:00",
                coverage_data=base64.b64encode(DUMPED).decode(),
                files_combined=1,
            )
        elif url.path == "/health":
            self.answer(status="ok", coverage_enabled=True)
        else:
            self.send_error(404)

    def answer(self, **answer: object) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


folder = Path(sys.argv[1])
measured = coverage.Coverage(data_file=None, source=[str(folder)], config_file=False)
with measured.collect():
    runpy.run_path(str(folder / "shop.py"), run_name="__main__")
DUMPED = measured.get_data().dumps()
with ThreadingHTTPServer(("127.0.0.1", 0), Endpoints) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()
    server.shutdown()
