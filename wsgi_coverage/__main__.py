"""`python -m wsgi_coverage`: the same as the command `wsgi-coverage`."""

import sys

from wsgi_coverage.command import main

if __name__ == "__main__":
    sys.exit(main())
