"""Python's WebAssembly, changed so that V8 compiles its largest functions once.

V8 guesses, in optimised code, whom a call through the table will reach, and takes that
function in.  A wrong guess throws the code of the whole caller away, up to ten times.  The
loop that runs Python's bytecode takes in many small functions that call what a type does,
and costs a quarter of a second each time.  Here all calls through the table go through small
functions, one for each type, which reach so many others that nothing is guessed.
docs/decisions/0045-python-compiled-once.md.

The instructions' forms: WebAssembly Core Specification 3.0, section 5.4, and the older
exceptions (try, delegate), which Emscripten may still write.
"""

from __future__ import annotations

from hartwell.setup.steps import SetupError
from hartwell.wasm_format import MAGIC, Reader, bodies, counted, sections, unsigned

_TYPE, _IMPORT, _FUNCTION, _CODE = 1, 2, 3, 10
_I32, _FORM = b"\x7f", 0x60
_VALUES = {0x7F, 0x7E, 0x7D, 0x7C, 0x7B, 0x70, 0x6F}
_CALL, _CALL_INDIRECT, _LOCAL_GET, _END = b"\x10", 0x11, b"\x20", b"\x0b"
# Instructions that are followed by numbers (types of blocks, labels, functions, locals,
# constants), and how many; such that are followed by nothing; and those behind 0xfc.
_NUMBERS = {
    **dict.fromkeys((0x02, 0x03, 0x04, 0x06, 0x07, 0x08, 0x09, 0x0C, 0x0D, 0x10, 0x12, 0x14, 0x15, 0x18), 1), 0x13: 2,
    **dict.fromkeys((*range(0x20, 0x27), 0x3F, 0x40, 0x41, 0x42, 0xD0, 0xD2), 1),
}
_PLAIN = {0x00, 0x01, 0x05, 0x0A, 0x0B, 0x0F, 0x19, 0x1A, 0x1B, *range(0x45, 0xC5), 0xD1}
_BULK = (0,) * 8 + (2, 1, 2, 1, 2, 1, 2, 1, 1, 1)


def steady(module: bytes) -> bytes:
    """The same module, which calls through its first table by way of small functions behind its own.

    No function, type or slot gets another number.  SetupError when it has what is not known here.
    """
    try:
        parts = list(sections(module))
        by_kind = dict(parts)
        types = _types(by_kind[_TYPE])
        functions = Reader(by_kind[_FUNCTION])
        count = functions.unsigned()
        through: dict[int, int] = {}  # type: number of the function that calls it
        first = _imported(by_kind[_IMPORT]) + count
        made = [_rewritten(body, through, first) for body in bodies(by_kind[_CODE])]
    except (KeyError, IndexError, ValueError) as error:
        raise SetupError(f"Pyodide's WebAssembly is not as expected: {error!r}") from error
    new_types = [
        bytes([_FORM]) + unsigned(len(parameters) + 1) + parameters + _I32 + unsigned(len(results)) + results
        for parameters, results in (types[type_] for type_ in through)
    ]
    by_kind[_TYPE] = unsigned(len(types) + len(new_types)) + _after_count(by_kind[_TYPE]) + b"".join(new_types)
    by_kind[_FUNCTION] = b"".join((
        unsigned(count + len(through)), by_kind[_FUNCTION][functions.at :],
        *(unsigned(len(types) + number) for number in range(len(through))),
    ))
    made += [_caller(type_, len(types[type_][0])) for type_ in through]
    by_kind[_CODE] = unsigned(len(made)) + b"".join(counted(body) for body in made)
    return MAGIC + b"".join(
        bytes([kind]) + counted(by_kind[kind] if kind in (_TYPE, _FUNCTION, _CODE) else body) for kind, body in parts
    )


def _types(section: bytes) -> list[tuple[bytes, bytes]]:
    """Parameters and results of each; all are functions of plain values."""
    reader = Reader(section)
    types = []
    for _ in range(reader.unsigned()):
        if reader.byte() != _FORM:
            raise ValueError("a type that is no function's")
        types.append((reader.counted(), reader.counted()))
        if not set(b"".join(types[-1])) <= _VALUES:
            raise ValueError("a type of other values than numbers, vectors and plain references")
    return types


def _after_count(section: bytes) -> bytes:
    reader = Reader(section)
    reader.unsigned()
    return section[reader.at :]


def _imported(section: bytes) -> int:
    """How many functions come from outside; their numbers are the first."""
    reader = Reader(section)
    functions = 0
    for _ in range(reader.unsigned()):
        reader.counted()
        reader.counted()
        kind = reader.byte()
        if kind == 0:
            functions += 1
        elif kind != 2:  # the type of a table's elements, a global's; 0 of a tag
            reader.byte()
        if kind in (1, 2):  # limits
            if reader.byte() & 1:
                reader.unsigned()
            reader.unsigned()
        elif kind == 3:
            reader.byte()
        else:
            reader.unsigned()
    return functions


def _caller(type_: int, parameters: int) -> bytes:
    """The body of a function that calls through the table what its last parameter says."""
    gets = b"".join(_LOCAL_GET + unsigned(number) for number in range(parameters + 1))
    return unsigned(0) + gets + bytes([_CALL_INDIRECT]) + unsigned(type_) + unsigned(0) + _END


def _rewritten(body: bytes, through: dict[int, int], first: int) -> bytes:
    """`through`: by type, the function for its calls; what it lacks gets the next number from `first` on."""
    if _CALL_INDIRECT not in body:
        return body
    reader = Reader(body)
    for _ in range(reader.unsigned()):  # locals
        reader.unsigned()
        reader.byte()
    out, done = [], 0
    while reader.at < len(body):
        at = reader.at
        code = reader.byte()
        if code == _CALL_INDIRECT:
            type_, table = reader.unsigned(), reader.unsigned()
            if table == 0:
                out += [body[done:at], _CALL, unsigned(through.setdefault(type_, first + len(through)))]
                done = reader.at
        else:
            _skip(reader, code)
    return b"".join((*out, body[done:]))


def _skip(reader: Reader, code: int) -> None:
    """Reads what follows an instruction's first byte."""
    if code in _NUMBERS:
        for _ in range(_NUMBERS[code]):
            reader.unsigned()
    elif code == 0x0E:  # br_table
        for _ in range(reader.unsigned() + 1):
            reader.unsigned()
    elif code == 0x1C:  # select with types
        reader.counted()
    elif code == 0x1F:  # try_table
        reader.unsigned()
        for _ in range(reader.unsigned()):
            for _ in range(2 if reader.byte() < 2 else 1):
                reader.unsigned()
    elif 0x28 <= code <= 0x3E:
        _skip_address(reader)
    elif code in (0x43, 0x44):
        reader.take(4 if code == 0x43 else 8)
    elif code == 0xFC:
        number = reader.unsigned()
        if number >= len(_BULK):
            raise ValueError(f"an instruction 0xfc {number}")
        for _ in range(_BULK[number]):
            reader.unsigned()
    elif code == 0xFD:
        number = reader.unsigned()
        if number <= 11 or 84 <= number <= 93:
            _skip_address(reader)
        reader.take(16 if number in (12, 13) else 1 if 21 <= number <= 34 or 84 <= number <= 91 else 0)
    elif code not in _PLAIN:
        raise ValueError(f"an instruction {code:#x}")


def _skip_address(reader: Reader) -> None:
    if reader.unsigned() & 0x40:  # another memory than the first
        reader.unsigned()
    reader.unsigned()
