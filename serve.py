#!/usr/bin/env python3
"""The one command: sets up what is absent, builds, serves the page and opens it.

    python3 serve.py [--port N] [--host H] [--no-open] [--no-preboot] [--no-debian] [--image NAME] [--mirror URL]

Prints one line, `ready http://HOST:PORT/`, once the page can be opened.
"""

# Nothing newer than Python 3.0 up to the check: an old one must get as far as its message.
import os
import sys

if sys.version_info < (3, 11):
    sys.stderr.write("serve.py needs Python 3.11 or newer; this is %d.%d (%s)\n" % (sys.version_info[:2] + (sys.executable,)))
    sys.exit(1)
if os.name != "posix":
    sys.stderr.write("serve.py needs Linux or macOS; on Windows run it in WSL, and open the page in any browser\n")
    sys.exit(1)

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "py"))

from hartwell.setup.commands import serve

if __name__ == "__main__":
    sys.exit(serve())
