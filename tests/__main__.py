"""`python3 -m tests [pytest arguments]`: sets up what the tests need, then runs pytest.

Needs Python and git only: what serve.py makes, the test packages, a browser
and a gdb are fetched when they are absent.  The exit status is pytest's.
"""

import os
import sys
from typing import NoReturn

if sys.version_info < (3, 11):
    sys.stderr.write("the tests need Python 3.11 or newer; this is %d.%d (%s)\n" % (sys.version_info[:2] + (sys.executable,)))
    sys.exit(1)

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "py"))

from hartwell.setup import browser, commands, gdb, paths
from hartwell.setup.steps import Progress


def prepare() -> int:
    """Sets up and tells the tests which browser and which gdb to use."""
    commands.prepare_tests()
    os.environ[browser.VARIABLE] = str(browser.find_or_install(Progress()))
    os.environ[gdb.VARIABLE] = str(gdb.find_or_install(Progress()))
    return 0


def main() -> NoReturn:
    """Prepares, then becomes pytest."""
    if status := commands.reported(prepare):
        sys.exit(status)
    python = str(paths.venv_python())
    os.chdir(ROOT)
    os.execv(python, [python, "-m", "pytest", *sys.argv[1:]])


if __name__ == "__main__":
    main()
