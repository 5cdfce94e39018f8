"""What a GPU program makes of its host: kernels it launches, and waits for the device.

Read from the text of an optimised HLO module, so that no device is needed. Whatever
moves or computes data and stands in the entry computation, or in one that control flow
calls, is a launch of its own: a fusion, a library call, a copy.

- A loop of known trip count is counted as often as it turns. One whose condition is
  computed is counted once, and is a wait: in each turn the host reads whether to go on.
- A conditional is a wait too, for the host reads which branch to take. It is counted by
  the branch that launches most.
"""

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

SYNC = "sync"

# What only names, groups or reinterprets what is there, or ends what began before.
_FREE = frozenset(
    {
        "add-dependency",
        "after-all",
        "bitcast",
        "constant",
        "domain",
        "get-tuple-element",
        "opt-barrier",
        "parameter",
        "partition-id",
        "replica-id",
        "tuple",
    }
)

_HEAD = re.compile(r"(?P<entry>ENTRY )?%?(?P<name>[\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?[\w.\-]+ = (?P<rest>.*)")
_OPCODE = re.compile(r"\s*(?P<opcode>[\w\-]+)\(")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_BODY = re.compile(r"\bbody=%?([\w.\-]+)")
_CALLED = re.compile(r"\b(?:to_apply|calls|called_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"\bbranch_computations=\{([^}]*)\}")
_TWO_BRANCHES = re.compile(r"\b(?:true|false)_computation=%?([\w.\-]+)")
_TARGET = re.compile(r'custom_call_target="([^"]+)"')


class Launches(NamedTuple):
    """Of one call of a program.

    Attributes:
      kernels: Launched.
      syncs: Waits of the host for the device, before the result.
      kinds: Both, by what they are: "fusion", the name of a library call, "sync while".
    """

    kernels: int
    syncs: int
    kinds: dict[str, int]


class _Instruction(NamedTuple):
    opcode: str
    line: str


def launches(module: str) -> Launches:
    """Counts a module's.

    Args:
      module: The text of the compiled program, `compiled.as_text()`.
    """
    computations, entry = _computations(module)

    # One computation is often called from many places.
    @cache
    def count(name: str) -> Counter[str]:
        total: Counter[str] = Counter()
        for instruction in computations[name]:
            total += _of_instruction(instruction)
        return total

    def _of_instruction(instruction: _Instruction) -> Counter[str]:
        opcode, line = instruction
        if opcode in _FREE or opcode.endswith("-done"):
            return Counter()
        if opcode == "while":
            body, trips = count(_found(_BODY, line)), _TRIPS.search(line)
            if trips is None:
                return body + Counter({f"{SYNC} while": 1})
            return Counter({kind: n * int(trips[1]) for kind, n in body.items()})
        if opcode == "conditional":
            dearest = max(map(count, _branches(line)), key=_kernels)
            return dearest + Counter({f"{SYNC} conditional": 1})
        if opcode in ("call", "async-start"):
            return count(_found(_CALLED, line))
        if opcode == "custom-call":
            return Counter({_found(_TARGET, line): 1})
        return Counter({opcode.removesuffix("-start"): 1})

    kinds = count(entry)
    return Launches(_kernels(kinds), kinds.total() - _kernels(kinds), dict(kinds))


def _kernels(kinds: Counter[str]) -> int:
    return sum(n for kind, n in kinds.items() if not kind.startswith(SYNC))


def _computations(module: str) -> tuple[dict[str, list[_Instruction]], str]:
    """Instructions by the name of their computation, and the entry's name."""
    found: dict[str, list[_Instruction]] = {}
    own: list[_Instruction] = []
    entry = ""
    for line in module.splitlines():
        if head := _HEAD.match(line):
            own = found.setdefault(head["name"], [])
            entry = head["name"] if head["entry"] else entry
        elif instruction := _INSTRUCTION.match(line):
            own.append(_Instruction(_opcode(instruction["rest"]), line))
    return found, entry


def _opcode(rest: str) -> str:
    """What follows the type, which for a tuple has blanks and brackets in it."""
    end = next(_ends_of_type(rest))
    match = _OPCODE.match(rest, end)
    if match is None:
        raise ValueError(f"no instruction of HLO: {rest[:80]}")
    return match["opcode"]


def _ends_of_type(rest: str) -> Iterator[int]:
    depth = 0
    for at, sign in enumerate(rest):
        depth += (sign in "([{") - (sign in ")]}")
        if sign == " " and depth == 0:
            yield at


def _branches(line: str) -> list[str]:
    if two := _TWO_BRANCHES.findall(line):
        return two
    return [name.strip(" %") for name in _found(_BRANCHES, line).split(",")]


def _found(pattern: re.Pattern[str], line: str) -> str:
    match = pattern.search(line)
    if match is None:
        raise ValueError(f"{pattern.pattern} is not in: {line.strip()[:120]}")
    return match[1]
