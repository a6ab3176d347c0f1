"""Files between the person, the page and the guest, in a real browser."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.tab import Tab

DATA = bytes(range(256)) * 2000
MOUNTED = "for i in $(seq 600); do grep -q /mnt/host /proc/mounts && exit; sleep 0.2; done; exit 1"
# Puts files on an element as a person's hand would.
DROP = """async ([selector, name, text]) => {
    const data = new DataTransfer();
    data.items.add(new File([text], name));
    const element = document.querySelector(selector);
    for (const type of ['dragover', 'drop'])
        element.dispatchEvent(new DragEvent(type, {dataTransfer: data, bubbles: true, cancelable: true}));
}"""
# Keeps what the bar above the console says.
NOTE = """() => {
    const notice = document.querySelector('hw-notice');
    window.noted = [];
    new MutationObserver(() => window.noted.push(notice.textContent)).observe(notice, {childList: true});
}"""
# A folder of the origin's stands in for one that the person picks: the dialogue is the browser's own.
PICK = """async (name) => {
    const root = await navigator.storage.getDirectory();
    const folder = await root.getDirectoryHandle(name, {create: true});
    window.showDirectoryPicker = async () => folder;
}"""


@pytest.fixture(scope="module")
def shared(machine_tab: Tab) -> Iterator[Tab]:
    """The machine, once the folder is mounted in it."""
    run(machine_tab, MOUNTED)
    yield machine_tab
    assert machine_tab.errors == []


def run(tab: Tab, command: str) -> str:
    """What a command in the guest prints; it must succeed."""
    result = tab.python(f"r = await machine.run({command!r}, timeout=240); [r.returncode, r.stdout, r.stderr]")
    assert result[0] == 0, f"{command}: {result}"
    return str(result[1])


def open_files(tab: Tab) -> None:
    tab.page.get_by_role("navigation", name="Panels").get_by_role("button", name="Files").click()


def test_python_and_the_guest_see_the_same_files(shared: Tab) -> None:
    shared.python(f"await machine.files.write('/mnt/host/data', bytes(range(256)) * {len(DATA) // 256})")
    assert run(shared, "sha256sum </mnt/host/data").split()[0] == hashlib.sha256(DATA).hexdigest()
    run(shared, "head -c 300000 /dev/urandom >/mnt/host/made; sha256sum </mnt/host/made >/tmp/sum")
    digest = shared.python("import hashlib; hashlib.sha256(await machine.files.read('made')).hexdigest()")
    assert run(shared, "cat /tmp/sum").split()[0] == digest
    assert shared.python("(await machine.files.read('/etc/hostname')).decode()") == "hartwell\n"
    shared.python("await machine.files.write('/root/from host', 'text')")
    assert run(shared, "cat '/root/from host'") == "text"


def test_a_folder_is_copied_both_ways(shared: Tab) -> None:
    run(shared, """cd /tmp && mkdir -p tree/a/b && for i in 1 2 3 4 5 6; do head -c ${i}000 /dev/urandom >tree/a/b/f$i; done
        ln -s b/f1 tree/a/link; chmod 600 tree/a/b/f1
        cp -a tree /mnt/host/ && cp -a /mnt/host/tree back && diff -r tree back && [ -L back/a/link ]
        cd /mnt/host && mv tree/a/b/f2 tree/a/b/g2 && rm tree/a/b/f3 && cat tree/a/b/* | sha256sum >/tmp/tree.sum""")
    assert "600" in run(shared, "stat -c %a /tmp/back/a/b/f1")
    names = shared.python("[e['name'] for e in await machine.files.list('/mnt/host/tree/a/b')]")
    assert names == ["f1", "f4", "f5", "f6", "g2"]


def test_what_is_dropped_on_the_console_is_in_the_guest(shared: Tab) -> None:
    shared.page.evaluate(NOTE)  # good news goes by itself, after seconds in which nobody here may have looked
    for place in ("/mnt/host/report.txt", "/mnt/host/report-2.txt"):
        shared.page.evaluate(DROP, ["hw-console", "report.txt", "dropped é"])
        shared.page.wait_for_function("place => window.noted.some(text => text.includes(place))", arg=place)
        assert run(shared, f"cat {place}") == "dropped é"
    shared.page.evaluate("document.querySelector('hw-notice button')?.click()")
    shared.page.locator("hw-notice").wait_for(state="hidden")


def test_the_files_panel_gives_files_and_folders(shared: Tab, tmp_path: Path) -> None:
    run(shared, "mkdir -p /mnt/host/out/inner; printf content >/mnt/host/out/inner/file")
    open_files(shared)
    panel = shared.page.locator("hw-files-panel")
    row = panel.locator("tr", has_text="out/")
    with shared.page.expect_download() as download:
        row.get_by_role("button", name="tar").click()
    download.value.save_as(tmp_path / "out.tar")
    with tarfile.open(fileobj=io.BytesIO((tmp_path / "out.tar").read_bytes())) as archive:
        assert "out/inner/file" in archive.getnames()
    panel.get_by_role("button", name="out/").click()
    panel.get_by_role("button", name="inner/").click()
    with shared.page.expect_download() as download:
        panel.get_by_role("button", name="file", exact=True).click()
    assert download.value.suggested_filename == "file"
    download.value.save_as(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"content"
    panel.get_by_role("button", name="/mnt/host", exact=True).click()
    panel.get_by_role("button", name="saved/").wait_for()
    shared.page.keyboard.press("Escape")


def test_a_folder_of_the_persons_to_read_and_to_write(shared: Tab) -> None:
    page = shared.page
    open_files(shared)
    panel = page.locator("hw-files-panel")
    for name, writable in (("fixed", False), ("open", True)):
        page.evaluate(PICK, name)
        panel.get_by_label("The guest may change it").set_checked(writable)
        panel.get_by_role("button", name="Share a folder").click()
        panel.get_by_role("button", name=f"{name}/").wait_for()
    page.keyboard.press("Escape")
    assert run(shared, "touch /mnt/host/fixed/new 2>&1 || echo refused").strip().endswith("refused")
    run(shared, """cd /mnt/host/open && mkdir d && cp -r /tmp/tree/a/b d/ && mv d/b/f1 d/moved && mv d e
        cat e/b/f[2-6] >/tmp/one; cat /tmp/tree/a/b/f[2-6] >/tmp/two; cmp /tmp/one /tmp/two
        cmp e/moved /tmp/tree/a/b/f1 && rm -r e/b && printf 12345 >x && printf 67 >>x && truncate -s 6 x""")
    assert run(shared, "cat /mnt/host/open/x; ls /mnt/host/open/e") == "123456moved\n"
    assert run(shared, "rmdir /mnt/host/open/e 2>/dev/null || echo full") == "full\n"
    kept = page.evaluate("""async () => {
        const root = await (await navigator.storage.getDirectory()).getDirectoryHandle('open');
        return (await (await root.getFileHandle('x')).getFile()).text();
    }""")
    assert kept == "123456"


def test_saved_files_outlast_the_page(new_tab: Callable[..., Tab], shared: Tab) -> None:
    run(shared, "mkdir -p /mnt/host/saved/notes; printf kept >/mnt/host/saved/notes/one; sync")
    other = new_tab()
    other.open("?boot=no")
    text = other.python("""
from hartwell import files
(await files.Files(files.shared(), None).read('saved/notes/one')).decode()""")
    assert text == "kept"
    other.page.close()


@pytest.mark.parametrize("folder", ["saved", "picked"])
def test_a_file_stays_itself_while_it_is_read_and_after_it_is_moved(shared: Tab, folder: str) -> None:
    """Its time of change is when somebody wrote to it, and a new name is no new file (inode)."""
    if folder == "picked":
        shared.page.evaluate(PICK, folder)
        open_files(shared)
        shared.page.get_by_label("The guest may change it").check()
        shared.page.get_by_role("button", name="Share a folder").click()
        shared.page.get_by_role("button", name=f"{folder}/").wait_for()
    run(shared, f"""cd /mnt/host/{folder}; mkdir -p a; printf one >a/f; sync; sleep 1.1
        exec 3<a/f; head -c 1 <&3; stat -c %Y a/f >/tmp/times; sleep 1.1; stat -c %Y a/f >>/tmp/times; exec 3<&-
        stat -c %i a/f >/tmp/numbers; mv a/f a/g; stat -c %i a/g >>/tmp/numbers
        stat -c %i a/g >>/tmp/numbers; mv a b; stat -c %i b/g >>/tmp/numbers
        printf two >b/h; stat -c %i b/h >>/tmp/numbers; mv b/h b/g; stat -c %i b/g >>/tmp/numbers; cat b/g >/tmp/text""")
    assert len(set(run(shared, "cat /tmp/times").split())) == 1
    first, moved, again, inside, second, replaced = run(shared, "cat /tmp/numbers").split()
    assert first == moved == again == inside
    assert second == replaced != first
    assert run(shared, "cat /tmp/text") == "two"
