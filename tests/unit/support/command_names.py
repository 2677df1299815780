"""The names of all commands of `wsgi-coverage`."""

import argparse

from wsgi_coverage import cli

_parsers = argparse.ArgumentParser().add_subparsers()
for _add in cli.COMMANDS:
    _add(_parsers)

COMMAND_NAMES = tuple(_parsers.choices)
