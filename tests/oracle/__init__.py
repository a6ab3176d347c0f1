"""Random programs whose outcome QEMU decided.

    records    what a program starts from, and the file that keeps the outcomes
    programs   makes random programs from the instruction tables
    generate   runs them in QEMU and writes ../core/data/differential.xz

`tests/core/test_differential.py` runs the same programs in cpu.wasm and
compares.  Neither QEMU nor a compiler is needed for that, only to make new
data: ``PYTHONPATH=py:. python -m tests.oracle.generate``.
"""
