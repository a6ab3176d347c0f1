"""Hibernation: machines that go to sleep in the store and wake where they were.

    structures.py   struct Machine and struct Hart as bytes, and back, over versions
    manifest.py     the text of a snapshot: written, read, checked
    saver.py        takes snapshots of a machine that runs
    wake.py         makes a machine of a snapshot
    recipe.py       what a wake writes where, for JavaScript
    seed.py         stores ahead what a booted machine has of its image
    shelf.py        the sleeping machines: list, rename, delete

docs/snapshot-format.md specifies what is stored, docs/hibernation.md what is
promised.  Nothing but saver and wake knows a machine; none knows a platform.
"""
