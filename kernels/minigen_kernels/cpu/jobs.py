"""Jobs: compiled code that has helper threads call it too, with the arguments it was called with.

A helper waits for jobs in compiled code and never asks for Python's lock between them: who asks
while another thread holds it falls asleep, and to be woken takes longer than many kernels run
(40 µs against 2 µs, measured). So a kernel itself gives the job, by call_helpers(), once Python has
unpacked its arguments: it leaves a copy of them, and the address of its own code, on the board of
each helper.

A board's STATE counts on by three for each job: 3j while there is none, 3j + 1 when job j is given,
3j + 2 when the helper has begun it, 3j + 3 when it is done, or was taken back.
"""

from __future__ import annotations

import sys
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from .jit import intrinsic, jit
from .simd import I32, I64, _counter, await_counter, set_counter

# Words of a board: the state in a cache line of its own, then what changes with each job.
STATE, CODE, FAILED, CORE, ARGUMENTS, WORDS = 0, 8, 9, 10, 16, 512
# Of a kernel's counters: two for its tasks, then where the boards lie, and how many they are.
BOARDS, HELPERS, COUNTERS = 2, 3, 4


@intrinsic
def call_helpers(typing_context, counters):
    """Have helpers call the function that this stands in, with its own arguments.

    counters is one of them: a call with 0 helpers, as theirs is, gives no job.
    """

    def codegen(context, builder, signature, args):
        function, array = builder.function, args[0]
        given = _uncounted(list(function.args)[2:])  # behind Numba's own, for result and error
        kept = ir.LiteralStructType([value.type for value in given])
        if context.get_abi_sizeof(kept) > 8 * (WORDS - ARGUMENTS):
            raise ValueError(f"{function.name}: too many arguments for a board of {WORDS} words")
        code = builder.ptrtoint(_begin(builder, function, kept), I64)
        core = _this_core(builder)
        helpers = _counter(context, builder, counters, array, I64(HELPERS))
        count = builder.load(helpers)
        builder.store(I64(0), helpers)
        first = builder.load(_counter(context, builder, counters, array, I64(BOARDS)))
        values = kept(ir.Undefined)
        for i, value in enumerate(given):
            values = builder.insert_value(values, value, i)
        with cgutils.for_range(builder, count) as loop:
            board = builder.add(first, builder.mul(loop.index, I64(8 * WORDS)))
            builder.store(values, _word(builder, board, ARGUMENTS, kept))
            builder.store(code, _word(builder, board, CODE, I64))
            builder.store(core, _word(builder, board, CORE, I64))
            builder.atomic_rmw("add", _word(builder, board, STATE, I64), I64(1), "seq_cst")
        return context.get_dummy_value()

    return types.void(counters), codegen


def _this_core(builder: Any) -> Any:
    """The number of the core that this runs on; -1 where the system does not tell."""
    if sys.platform != "linux":
        return I64(-1)
    ask = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(I32, []), "sched_getcpu"
    )
    return builder.sext(builder.call(ask, []), I64)


@intrinsic
def _is_beside(typing_context, core):
    """Does this run on another core than that one, as far as the system tells?"""

    def codegen(context, builder, signature, args):
        mine = _this_core(builder)
        unknown = builder.icmp_signed("<", mine, I64(0))
        return builder.or_(unknown, builder.icmp_signed("!=", mine, args[0]))

    return types.boolean(types.int64), codegen


def _uncounted(arguments: list[Any]) -> list[Any]:
    """The arguments, with nobody to count the users of their arrays.

    Numba's count lies in memory that goes when the giver's call ends, and a helper may come later
    than that. The pointer to it is the first of an array's fields, a pointer to Python's object is
    the second, and no two pointers follow each other elsewhere.
    """
    pointers = [isinstance(value.type, ir.PointerType) for value in arguments]
    return [
        value.type(None) if pointers[i : i + 2] == [True, True] else value
        for i, value in enumerate(arguments)
    ]


def _begin(builder: Any, function: Any, kept: Any) -> Any:
    """A new function of LLVM that calls `function` with what is kept at an address."""
    name = builder.module.get_unique_name(f"{function.name}.job")
    begin = ir.Function(builder.module, ir.FunctionType(I32, [I64]), name)
    begin.linkage = "internal"
    inside = ir.IRBuilder(begin.append_basic_block())
    values = inside.load(inside.inttoptr(begin.args[0], kept.as_pointer()))
    own = [inside.bitcast(inside.alloca(I64, 4), arg.type) for arg in function.args[:2]]
    given = [inside.extract_value(values, i) for i in range(len(kept.elements))]
    inside.ret(inside.call(function, [*own, *given]))
    return begin


def _word(builder: Any, board: Any, n: int, kind: Any) -> Any:
    """A pointer to what stands on the board from word n on."""
    return builder.inttoptr(builder.add(board, I64(8 * n)), kind.as_pointer())


@intrinsic
def _run(typing_context, board):
    """Do the job on the board; 0, or another number if it failed."""

    def codegen(context, builder, signature, args):
        start = builder.ptrtoint(_counter(context, builder, board, args[0], I64(0)), I64)
        code = builder.load(_word(builder, start, CODE, I64))
        begin = builder.inttoptr(code, ir.FunctionType(I32, [I64]).as_pointer())
        status = builder.call(begin, [builder.add(start, I64(8 * ARGUMENTS))])
        return builder.zext(status, I64)

    return types.int64(board), codegen


@intrinsic
def _exchange(typing_context, counters, n, expected, value):
    """counters[n] = value if it was as expected, and whether it was, in one breath."""
    signature = types.boolean(counters, types.int64, types.int64, types.int64)

    def codegen(context, builder, signature, args):
        pointer = _counter(context, builder, counters, *args[:2])
        result = builder.cmpxchg(pointer, args[2], args[3], "seq_cst", "seq_cst")
        return builder.extract_value(result, 1)

    return signature, codegen


@jit(nogil=True)
def serve(board, first, patience):
    """Do the jobs on the board, until there was none for so many looks (`first`: at first): True.

    False: jobs are given by a thread on this very core, of which each would have half. The system
    may leave them together for a tenth of a second, beside an idle core.
    """
    over, looks = await_counter(board, STATE, 0, 1) // 3 * 3, first
    while _is_beside(board[CORE]):
        state = await_counter(board, STATE, over + 1, looks)
        if state <= over:
            return True
        if not _is_beside(board[CORE]):
            break
        looks = patience
        if state % 3 == 1 and _exchange(board, STATE, state, state + 1):
            if _run(board) != 0:
                board[FAILED] = 1
            set_counter(board, STATE, state + 2)
        over = (state + 2) // 3 * 3
    return False


@jit(nogil=True)
def finish(boards, looks):
    """Take back what no helper has begun, and wait for the others, for so many looks each.

    How many still work; when none does, -1 if one of them failed.
    """
    working, failed = 0, 0
    for r in range(len(boards)):
        board = boards[r]
        state = await_counter(board, STATE, 0, 1)
        if state % 3 == 1 and _exchange(board, STATE, state, state + 2):
            continue
        over = (state + 2) // 3 * 3
        if await_counter(board, STATE, over, looks) < over:
            working += 1
        failed |= board[FAILED]
    return working if working > 0 else -failed
