"""Set-up of a checkout: what `serve.py` and `python3 -m tests` do before they start.

Runs in any CPython from 3.11 with the standard library alone, since it makes
the environment that everything else runs in.  Nothing here is imported in the
browser.  A step is skipped while what it depends on has the digest that it
had when it was last done; see `steps`.
"""
