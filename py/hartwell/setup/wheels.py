"""static/wheels: Hartwell itself and what it stands on, for the Python in the page.

Hartwell's wheel is written here (the binary distribution format, version 1.0),
from nothing but the sources: the same sources give the same bytes, which is
what the page's snapshot of Python goes by.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from pathlib import Path

from hartwell import __version__
from hartwell.setup import paths, venv
from hartwell.setup.steps import Step, digest, digest_files, replace_folder, scratch_folder, write_file

FOLDER = paths.STATIC / "wheels"
FETCHED = paths.STATE / "wheels"
PINS = venv.REQUIREMENTS / "wheels.txt"
PACKAGE = paths.ROOT / "py" / "hartwell"
PYTHON = "3.14"  # Pyodide's
NAME = f"hartwell-{__version__}-py3-none-any.whl"
_BEGINNING = (1980, 1, 1, 0, 0, 0)  # of zip's time; a wheel of the same sources has the same bytes


def fetch_step() -> Step:
    """Fetches the wheels that others made."""
    key = digest("wheels 1", PYTHON, PINS.read_bytes())
    return Step("wheels", "fetching Python's packages for the page", key, (FETCHED,), lambda _: _fetch())


def _fetch() -> None:
    with scratch_folder(FETCHED) as folder:
        venv.pip(
            "download", "--no-deps", "--require-hashes", "--only-binary=:all:", "--python-version", PYTHON,
            "--implementation", "py", "--abi", "none", "--platform", "any", "-d", str(folder), "-r", str(PINS),
        )
        replace_folder(folder, FETCHED)


def step() -> Step:
    """Makes Hartwell's wheel and puts all wheels and their list into static/wheels."""
    fetched = sorted(FETCHED.glob("*.whl"))
    names = [*(path.name for path in fetched), NAME]
    key = digest("wheel 2", PINS.read_bytes(), __version__, digest_files(sources(), PACKAGE), *names)
    outputs = (FOLDER / "wheels.json", *(FOLDER / name for name in names))
    return Step("wheel", "packing Hartwell's Python", key, outputs, lambda _: _fill(fetched))


def _fill(fetched: list[Path]) -> None:
    with scratch_folder(FOLDER) as folder:
        for path in fetched:
            (folder / path.name).write_bytes(path.read_bytes())
        (folder / NAME).write_bytes(build())
        # The page knows by the digests which Python it has kept, before it has fetched a wheel.
        names = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
        write_file(folder / "wheels.json", (json.dumps(names, indent=2) + "\n").encode())
        replace_folder(folder, FOLDER)


def sources() -> list[Path]:
    """Hartwell's modules, without the set-up, which no page runs."""
    return sorted(
        path for path in PACKAGE.rglob("*.py")
        if path.relative_to(PACKAGE).parts[0] != "setup" and "__pycache__" not in path.parts
    )


def build() -> bytes:
    """Hartwell's wheel."""
    info = f"hartwell-{__version__}.dist-info"
    files = {f"hartwell/{path.relative_to(PACKAGE).as_posix()}": path.read_bytes() for path in sources()}
    files[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: hartwell\nVersion: {__version__}\n"
        "Summary: A Linux computer in a browser tab\nLicense: MIT\nRequires-Python: >=3.11\n"
        "Requires-Dist: pyelftools\nRequires-Dist: pyte\n"
    ).encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: hartwell\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = f"{info}/RECORD"
    lines = [f"{name},sha256={_record_digest(data)},{len(data)}" for name, data in files.items()]
    files[record] = "\n".join([*lines, f"{record},,", ""]).encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, _BEGINNING)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, wherever it is made
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    return out.getvalue()


def _record_digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
