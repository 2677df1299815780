"""`wsgi-coverage collect URL…`: download data into one data file about this checkout. No state."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from wsgi_coverage.cli import asking, output, pods
from wsgi_coverage.model import CHECKOUT_FORMATS
from wsgi_coverage.system import own_files

DATA_FILE = ".coverage"
HTML_FOLDER = "htmlcov"

DESCRIPTION = """\
Collect what instances have executed up to now into one data file about this checkout, the current
folder, and report on it. Paths are mapped by [paths] in coverage.py's configuration, else by the
tail that they have in common with files of the checkout. What was recorded of another version of a
source is left out.
"""
ENDS = f"{asking.ENDS_INCOMPLETE}; of several instances, the first that failed decides"


def add(commands: Any) -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        "collect",
        help="combine the data of running instances into one data file about this checkout",
        description=DESCRIPTION + asking.ABOUT_URL,
        epilog=ENDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_instances(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=asking.output_file,
        metavar="FILE",
        help=f"the data file (default: {DATA_FILE}, readable by its owner alone)",
    )
    parser.add_argument("--append", action="store_true", help="add to what is in the data file")
    parser.add_argument(
        "--reset",
        action="store_true",
        help="reset each instance, in the same step",
    )
    parser.add_argument("--label", help="a context for the lines, a test's name for instance")
    parser.add_argument(
        "--format", choices=CHECKOUT_FORMATS, help="report on the data file, in this format"
    )
    parser.add_argument(
        "--to",
        type=Path,
        metavar="PATH",
        help=f"where the report goes (default: stdout; HTML: the folder {HTML_FOLDER})",
    )
    parser.set_defaults(run=run)


def add_instances(parser: argparse.ArgumentParser) -> None:
    """Add the arguments for instances, by URL or by pod, and for coverage.py's configuration."""
    asking.add_url(parser, "urls", "*")
    asking.add_access(parser)
    pods.add(parser, many=True)
    asking.add_wait(parser)
    parser.add_argument(
        "--rcfile", default=True, metavar="FILE", help="coverage.py's configuration"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return the exit code."""
    from wsgi_coverage.checkout.sources import Checkout
    from wsgi_coverage.client.collect import collect  # coverage.py is slow to import
    from wsgi_coverage.client.download import drafting

    target = arguments.output or Path(DATA_FILE)
    with drafting(target) as draft:
        collection = collect(
            [asking.client(arguments, url) for url in arguments.urls],
            target,
            private=arguments.output is None,
            checkout=Checkout(Path(), arguments.rcfile),
            append=arguments.append,
            reset=arguments.reset,
            label=arguments.label,
            wait=arguments.wait,
            draft=draft,
        )
        code = tell(collection, arguments)
        result = collection.result
        if result.combined:
            instances = output.plural(len(result.combined), "instance")
            output.say(f"{output.plural(result.files, 'file')} in {target}, of {instances}")
            if arguments.format is not None:
                _report(draft, arguments)
    return code


def tell(collection: Any, arguments: argparse.Namespace) -> int:
    """Print warnings and failures of a collection to stderr; return the exit code."""
    for message in (*collection.warnings, *(each.message for each in collection.failures)):
        output.say(pods.named(arguments, message))
    if collection.failures:
        return int(collection.failures[0].exit_code)
    if not collection.result.combined:
        output.say("no instance has measured anything yet: nothing is written")
        return asking.FAILED
    if not collection.complete:
        output.say("not complete: a worker did not take part")
        return asking.INCOMPLETE
    return asking.OK


def _report(data_file: Path, arguments: argparse.Namespace) -> None:
    from wsgi_coverage.checkout import reports
    from wsgi_coverage.client.download import replacing

    if arguments.format == "html":
        folder = arguments.to or Path(HTML_FOLDER)
        if arguments.to is None:
            own_files.make_folder(folder)
        reports.html(data_file, folder, arguments.rcfile)
        output.say(f"the report is {folder / 'index.html'}")
        return
    text = reports.text(data_file, arguments.format, arguments.rcfile)
    if arguments.to is None:
        if arguments.format == "text":
            output.show(text.rstrip("\n"))
        else:
            sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
        return
    with replacing(arguments.to) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")
