"""What a program is made of before a compiler sees it: its StableHLO, for any platform.

Nothing is compiled and no device of the platform is needed. The module is walked, not
its text: values have uses, and names do not.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend.mlir import ir

# A weight that goes through these is the same weight.
_SAME_NUMBERS = {
    "stablehlo.broadcast_in_dim",
    "stablehlo.concatenate",
    "stablehlo.dynamic_slice",
    "stablehlo.optimization_barrier",
    "stablehlo.pad",
    "stablehlo.reshape",
    "stablehlo.reverse",
    "stablehlo.slice",
    "stablehlo.transpose",
}


def lower(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    platform: str,
    donate: tuple[int, ...] = (),
) -> ir.Module:
    """The module; its first arguments are the leaves of the first argument."""
    jitted = jax.jit(function, donate_argnums=donate, keep_unused=True)
    lowered = jitted.trace(*arguments).lower(lowering_platforms=(platform,))
    module: ir.Module = lowered.compiler_ir("stablehlo")
    return module


def branches(module: ir.Module) -> list[str]:
    """Where a value decides what is computed."""
    named = {"stablehlo.case", "stablehlo.if"}
    return [_place(op) for op in _operations(module.operation) if op.name in named]


def open_loops(module: ir.Module) -> list[str]:
    """Loops of which nobody knows beforehand how often they turn."""
    return [
        _place(op)
        for op in _operations(module.operation)
        if op.name == "stablehlo.while" and not _counts_to_a_constant(op)
    ]


def converted(module: ir.Module, count: int) -> list[str]:
    """Where one of the first `count` arguments is given another type."""
    functions = {
        ir.StringAttr(op.attributes["sym_name"]).value: op.operation
        for op in module.body.operations
    }
    main = functions["main"].regions[0].blocks[0]
    todo = list(main.arguments)[:count]
    seen: set[Any] = set()
    found: list[str] = []
    # Of each function: calls that weights go into, and results that are weights again.
    calls: dict[str, list[Any]] = defaultdict(list)
    given_back: dict[str, set[int]] = defaultdict(set)
    while todo:
        value = todo.pop()
        if value in seen:
            continue
        seen.add(value)
        for use in value.uses:
            op, operand = use.owner.operation, use.operand_number
            if op.name == "stablehlo.convert":
                found.append(_place(op))
            elif op.name in _SAME_NUMBERS:
                todo += op.results
            elif op.name == "stablehlo.while":
                # What the loop leaves as it is, is the same behind it; what it changes
                # is not, and nothing changes weights.
                inside = [region.blocks[0].arguments[operand] for region in op.regions]
                todo += [*inside, op.results[operand]]
            elif op.name == "func.call":
                name = ir.FlatSymbolRefAttr(op.attributes["callee"]).value
                calls[name].append(op)
                todo.append(functions[name].regions[0].blocks[0].arguments[operand])
                todo += [op.results[at] for at in given_back[name]]
            elif op.name == "func.return":
                name = ir.StringAttr(op.parent.attributes["sym_name"]).value
                given_back[name].add(operand)
                todo += [call.results[operand] for call in calls[name]]
    return found


def _counts_to_a_constant(loop: Any) -> bool:
    """Whether a loop is `while i < constant: i += constant`, from a constant on."""
    condition, body = (region.blocks[0] for region in loop.regions)
    decides = _maker(_last(condition).operands[0])
    if decides is None or decides.name != "stablehlo.compare":
        return False
    counter, end = decides.operands
    places = [i for i, x in enumerate(condition.arguments) if x == counter]
    if len(places) != 1 or not _is_constant(end):
        return False
    (place,) = places
    advance = _maker(_last(body).operands[place])
    if advance is None or advance.name != "stablehlo.add":
        return False
    own, by = advance.operands
    starts = _is_constant(loop.operands[place])
    return starts and own == body.arguments[place] and _is_constant(by)


def _last(block: Any) -> Any:
    return block.operations[len(block.operations) - 1].operation


def _maker(value: Any) -> Any:
    """The operation that makes a value; None for an argument."""
    return None if isinstance(value.owner, ir.Block) else value.owner.operation


def _is_constant(value: Any) -> bool:
    maker = _maker(value)
    return maker is not None and maker.name == "stablehlo.constant"


def _operations(op: Any) -> Iterator[Any]:
    for region in op.regions:
        for block in region.blocks:
            for inner in block.operations:
                yield inner.operation
                yield from _operations(inner.operation)


def _place(op: Any) -> str:
    """An operation with its types and the line of the program that it comes from."""
    types = [str(value.type) for value in (*op.operands, *op.results)][:3]
    return f"{op.name} {' '.join(types)} {str(op.location)[:300]}"
