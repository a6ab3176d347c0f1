"""The commands that set a checkout up: `python3 serve.py` and what `python3 -m tests` does first."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from hartwell.errors import HartwellError
from hartwell.setup import (
    build,
    builder,
    bundle,
    gdb_bridge,
    heap,
    image,
    node,
    npm,
    passt,
    paths,
    preboot,
    preparing,
    relay,
    venv,
    wheels,
)
from hartwell.setup.mirror import find_mirrors
from hartwell.setup.preparing import Preparation
from hartwell.setup.server import DEFAULT_PORT, Server, open_browser
from hartwell.setup.steps import Progress, Runner, SetupError, only_one
from hartwell.setup.websocket import Endpoint


def set_up(mirror: str | None, progress: Progress, tests: bool = False) -> Runner:
    """Does all steps that are not done; SetupError says what could not be."""
    try:
        paths.STATE.mkdir(parents=True, exist_ok=True)
        with only_one(progress):
            return _steps(mirror, Runner(progress), tests)
    except OSError as error:
        raise SetupError(f"set-up cannot write to {paths.ROOT}: {error}") from error


def _steps(mirror: str | None, runner: Runner, tests: bool) -> Runner:
    # A step is made when its turn comes: its key and outputs depend on those before it.
    runner.run(venv.step())
    runner.run(venv.serve_step())
    runner.run(build.step())
    if node.needed():
        runner.run(node.step())
    for step in npm.steps():
        runner.run(step)
    join_page(runner)
    runner.run(wheels.fetch_step())
    runner.run(wheels.step())
    runner.run(heap.step())
    if tests:
        runner.run(venv.tests_step())
        runner.run(npm.checkers_step())
    runner.run(image.step(mirror))
    if not image.read_index():
        image.add_to_index(image.NAME)
    preboot.write_index()
    runner.run(passt.step(mirror))
    return runner


def join_page(runner: Runner) -> None:
    """Joins the page's files.  Where that fails it comes file by file."""
    esbuild = bundle.package()
    try:
        if esbuild:
            runner.run(bundle.program_step(esbuild))
    except SetupError as error:
        runner.progress.note(f"  {error}\n  the page will be given file by file")
        esbuild = None
    runner.run(bundle.step(esbuild))


def boot_ahead(name: str, runner: Runner) -> None:
    """Boots an image for the page to wake.  Where that fails the page boots it itself."""
    try:
        runner.run(preboot.step(name))
    except SetupError as error:
        runner.progress.note(f"  {error}\n  the page will boot it instead")


def choose_image(name: str, mirror: str | None, progress: Progress) -> None:
    """Makes `name` the default image; builds it first where it is not there yet.

    Raises SetupError when there is neither an image nor a recipe of that name.
    """
    with builder.one_build(progress):
        if (image.IMAGES / name / "image.json").is_file():
            image.add_to_index(name, default=True)
        else:
            builder.build(name, mirror, progress, default=True)


def serve(arguments: list[str] | None = None) -> int:
    """`python3 serve.py`: sets up what is absent and serves the page; its exit status."""
    parser = argparse.ArgumentParser(
        prog="serve.py", description="Sets up what is absent (the first time: about 10 minutes and 300 MB), then serves "
        "the page and opens it.  Ctrl-C ends it.",
    )
    parser.add_argument("--port", type=int, metavar="N", help=f"default {DEFAULT_PORT}; 0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1", metavar="H", help="address or name to listen on (default 127.0.0.1)")
    parser.add_argument("--no-open", action="store_true", help="open no browser")
    parser.add_argument("--no-preboot", dest="preboot", action="store_false", help="boot no machine ahead for the page")
    parser.add_argument(
        "--image", metavar="NAME", help="the image that the page boots from now on, such as shell or debian; built first "
        "where it is not there yet (debian: 10 minutes and 1 GB)"
    )
    parser.add_argument(
        "--no-debian", dest="debian", action="store_false",
        help="do not prepare Debian behind the page; without this it is built at the lowest priority, and the page says when "
        "it is there"
    )
    parser.add_argument("--mirror", metavar="URL", help="a Debian mirror, instead of those of this machine's apt")
    relay.add_options(parser)
    options = parser.parse_args(arguments)

    def act() -> int:
        sockets = endpoints(options)  # what is wrong with an option is said at once
        if options.mirror:
            find_mirrors(options.mirror)
        # First, since a port that is taken should not be learned after ten minutes.
        with Server(options.host, options.port) as server:
            runner = set_up(options.mirror, Progress())
            given = os.environ.get(image.VARIABLE)
            if options.image:
                choose_image(options.image, options.mirror, runner.progress)
            default = given or str(image.read_index()["default"])
            if options.preboot and (options.image or default == image.NAME):  # others take minutes: behind the page
                boot_ahead(default, runner)
            server.endpoints |= sockets
            server.mirror = options.mirror
            preparation = Preparation()
            server.answers |= answers(preparation, given)
            name = preparing.wanted(options.preboot) if options.debian and not given else None
            try:
                if name is not None:
                    preparation.start(name, options.mirror, options.preboot, _say)
                return _serve(server, not options.no_open)
            finally:
                preparation.stop()

    return reported(act)


def answers(preparation: Preparation, given: str | None) -> dict[str, Callable[[], dict[str, Any]]]:
    """What serve.py says itself, by path.  `given`: the default image of this process alone."""
    said: dict[str, Callable[[], dict[str, Any]]] = {"/preparing.json": preparation.state}
    if given:
        said["/static/images/index.json"] = lambda: {**image.read_index(), "default": given}
    return said


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def endpoints(options: argparse.Namespace) -> dict[str, Endpoint]:
    """The WebSockets that serve.py offers to the page, by path."""
    return {relay.PATH: relay.from_options(options).endpoint(), gdb_bridge.PATH: gdb_bridge.endpoint()}


def _serve(server: Server, browser: bool) -> int:
    url = server.url()
    print(f"ready {url}", flush=True)
    if server.host not in ("127.0.0.1", "localhost", "::1"):
        print(
            f"note: other machines reach this server at --host {server.host}, but browsers give the page its shared "
            "memory only over https or on localhost (an ssh tunnel does)", file=sys.stderr,
        )
    if browser:
        open_browser(url)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever(poll_interval=0.2)
    return 0


def reported(act: Callable[[], int]) -> int:
    """Does `act`; the errors that a user can do something about become one message and status 1."""
    before = signal.signal(signal.SIGTERM, _interrupt)  # a polite end, as with Ctrl-C
    try:
        return act()
    except HartwellError as error:
        print(f"{_line_end()}hartwell: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{_line_end()}hartwell: stopped; the same command goes on where this one was", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _line_end() -> str:
    """Ends the line that Progress rewrites on a terminal."""
    return "\n" if sys.stderr.isatty() else ""


def prepare_tests(mirror: str | None = None) -> None:
    """What `python3 -m tests` needs: all that serve.py makes, test packages and checkers."""
    set_up(mirror, Progress(), tests=True)
