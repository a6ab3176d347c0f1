"""Downloads a file whose digest is known: goes on after an interruption, keeps nothing that is not right."""

from __future__ import annotations

import hashlib
import http.client
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path

from hartwell.setup.mirror import apt_proxy
from hartwell.setup.steps import Progress, SetupError, disk_error, size_words

BLOCK = 1 << 18
TRIES = 4
TIMEOUT = 60  # seconds without a byte


class NotThere(SetupError):
    """The server has no such file, or another one under its name."""


def download(url: str, target: Path, size: int, sha256: str, progress: Progress) -> None:
    """Leaves the file of that size and digest at `target`.

    A part that an earlier run left beside it is completed.  Raises NotThere
    when the server lacks the file or has another, SetupError when it can't be
    reached.
    """
    if target.is_file() and _digest(target) == sha256:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    trouble: Exception | None = None
    for attempt in range(TRIES):
        if attempt:
            time.sleep(2**attempt)
        try:
            _fetch(url, part, size, progress)
            break
        except urllib.error.HTTPError as error:
            if error.code in (404, 410, 403):
                raise NotThere(f"{url}: the server answered {error.code} {error.reason}") from error
            trouble = error
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            trouble = error
        except OSError as error:
            raise disk_error(error, f"writing {part}") from error
    else:
        reason = getattr(trouble, "reason", trouble)
        raise SetupError(
            f"{url}: cannot be reached ({reason}). Is there a network? "
            "Run the same command again when there is, it goes on where it stopped"
        )
    got = _digest(part)
    if part.stat().st_size != size or got != sha256:
        found = size_words(part.stat().st_size)
        part.unlink()
        raise NotThere(
            f"{url}: {found} with SHA-256 {got} came, but {size_words(size)} with {sha256} were expected"
        )
    part.replace(target)


def _fetch(url: str, part: Path, size: int, progress: Progress) -> None:
    have = part.stat().st_size if part.exists() else 0
    if have > size:
        part.unlink()
        have = 0
    if have == size:
        return
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with opener(url).open(request, timeout=TIMEOUT) as answer:
        if have and getattr(answer, "status", None) != 206:
            have = 0
        with part.open("ab" if have else "wb") as file:
            while block := answer.read(BLOCK):
                file.write(block)
                have += len(block)
                progress.bytes(have, size)
                if have > size:
                    break
    if have < size:
        raise ConnectionError(f"the connection ended after {size_words(have)} of {size_words(size)}")


def opener(url: str) -> urllib.request.OpenerDirector:
    """Opens with apt's proxy where it has one, else with what the environment says."""
    scheme = url.split(":")[0]
    proxy = apt_proxy(scheme) if scheme in ("http", "https") else None
    handlers: list[urllib.request.BaseHandler] = [
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
    ]
    if proxy:
        handlers.append(urllib.request.ProxyHandler({scheme: proxy}))
    return urllib.request.build_opener(*handlers)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
