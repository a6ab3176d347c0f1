"""GET /mirror/...: Debian's archive for the guest, from the mirror that this machine uses.

Only that archive is passed on, as it is: its own signatures protect what a
guest installs from it.
"""

from __future__ import annotations

import contextlib
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from email.message import Message
from http import HTTPStatus
from typing import IO

from hartwell.setup.download import opener
from hartwell.setup.mirror import find_mirrors
from hartwell.setup.steps import SetupError

PREFIX = "/mirror/"
SECONDS = 60.0  # without a byte
_ASKED = ("Range", "If-Modified-Since", "If-Range", "If-None-Match")
_TOLD = ("Content-Length", "Content-Range", "Last-Modified", "ETag", "Accept-Ranges")
_PATH = re.compile(r"(?:[A-Za-z0-9._~%+:=@-]+/)*[A-Za-z0-9._~%+:=@-]*")


@contextlib.contextmanager
def open_file(
    given: str | None, path: str, headers: Mapping[str, str] | Message, head: bool
) -> Iterator[tuple[int, dict[str, str], IO[bytes]]]:
    """Status, headers and body of a file below the mirror.

    Raises SetupError when there is no mirror, or none answers.
    """
    if not _PATH.fullmatch(path) or ".." in path.replace("%2e", ".").replace("%2E", ".").split("/"):
        raise FileNotFoundError(path)
    asked = {name: headers[name] for name in _ASKED if name in headers}
    trouble: Exception | None = None
    for mirror in find_mirrors(given):
        url = f"{mirror}/{path}"
        request = urllib.request.Request(url, headers=asked, method="HEAD" if head else "GET")
        try:
            answer = opener(url).open(request, timeout=SECONDS)
        except urllib.error.HTTPError as error:
            answer = error  # a status of the mirror's, such as 304 or 404
        except OSError as error:
            trouble = error
            continue
        with answer:
            told: Message = answer.headers
            yield answer.status or HTTPStatus.OK, {name: told[name] for name in _TOLD if told[name]}, answer
        return
    raise SetupError(f"no Debian mirror answers ({trouble})")
