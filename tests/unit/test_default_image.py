"""Which image the page boots: `serve.py --image`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hartwell.setup import builder, commands, image
from hartwell.setup.steps import Progress, SetupError


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two images, of which the first one is the default."""
    monkeypatch.setattr(image, "IMAGES", tmp_path)
    for name in ("shell", "debian"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "image.json").write_text("{}")
        image.add_to_index(name)
    return tmp_path


def index(images: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((images / "index.json").read_text())
    return found


def test_an_image_that_is_there_becomes_the_default_and_stays_it(images: Path) -> None:
    assert index(images) == {"default": "shell", "images": ["debian", "shell"], "chosen": False}
    commands.choose_image("debian", None, Progress())
    assert index(images) == {"default": "debian", "images": ["debian", "shell"], "chosen": True}
    image.add_to_index("shell")  # as set-up does when the shell image is made again
    assert index(images)["default"] == "debian"


def test_one_that_is_not_there_is_built(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(builder, "build", lambda name, mirror, progress, default: asked.append((name, mirror, default)))
    commands.choose_image("minbase", "a mirror", Progress())
    assert asked == [("minbase", "a mirror", True)]


def test_one_that_nobody_knows_is_named(images: Path) -> None:
    with pytest.raises(SetupError, match=r"nothing: no such recipe.*debian, minbase"):
        commands.choose_image("nothing", None, Progress())
    assert index(images)["default"] == "shell"
