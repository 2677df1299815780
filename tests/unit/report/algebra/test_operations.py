"""Merge, subtract and intersect keep to set arithmetic, in each phase and for each label."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsgi_coverage.data.bits import bits_of, numbers_of
from wsgi_coverage.data.phases import Phase, label_of, phase_of
from wsgi_coverage.model import Operation
from wsgi_coverage.report.algebra.operations import Result

FEW = settings(max_examples=60, deadline=None, database=None)

Lines = dict[str, dict[str, set[int]]]  # by context and file

KNOWN = ["load", "runtime", "runtime|x", "runtime|y", "nightly|runtime"]
UNKNOWN = ["", "by hand"]
OPERATIONS: dict[Operation, Callable[..., set[int]]] = {
    Operation.MERGE: lambda first, *others: first.union(*others),
    Operation.SUBTRACT: lambda first, *others: first.difference(*others),
    Operation.INTERSECT: lambda first, *others: first.intersection(*others),
}


def reports(contexts: list[str]) -> st.SearchStrategy[list[Lines]]:
    lines = st.sets(st.integers(1, 5), min_size=1)
    files = st.dictionaries(st.sampled_from(["a.py", "b.py"]), lines, min_size=1)
    one = st.dictionaries(st.sampled_from(contexts), files)
    return st.lists(one, min_size=2, max_size=4)


def made(operation: Operation, operands: list[Lines], convert: Callable[..., Any] = bits_of) -> Any:
    """The result, and its lines by context and file."""
    result = Result(operation)
    for each in operands:
        result.add(
            {
                context: {file: convert(lines) for file, lines in files.items()}
                for context, files in each.items()
            }
        )
    back: Callable[[Any], set[int]] = set if convert is frozenset else lambda v: {*numbers_of(v)}
    out: Lines = {}
    for context, file, value in result.executed():
        out.setdefault(context, {}).setdefault(file, set()).update(back(value))
    return result, out


def ran(report: Lines, file: str, of: Callable[[str], bool]) -> set[int]:
    """The lines of a file in the contexts that are chosen."""
    return set().union(*(files.get(file, set()) for each, files in report.items() if of(each)))


@pytest.mark.parametrize("convert", [bits_of, frozenset], ids=["lines", "branches"])
@pytest.mark.parametrize("operation", Operation)
@FEW
@given(operands=reports(KNOWN))
def test_each_phase_is_the_operation_on_that_phase(
    operation: Operation, convert: Callable[..., Any], operands: list[Lines]
) -> None:
    result, found = made(operation, operands, convert)

    assert result.tells_phases
    for file in ("a.py", "b.py"):
        for phase in Phase:
            expected = OPERATIONS[operation](
                *(ran(each, file, lambda c, p=phase: phase_of(c) == p) for each in operands)
            )
            assert ran(found, file, lambda c, p=phase: phase_of(c) == p) == expected


@pytest.mark.parametrize("operation", Operation)
@FEW
@given(operands=reports(KNOWN))
def test_a_label_is_the_operation_on_that_label_within_the_runtime(
    operation: Operation, operands: list[Lines]
) -> None:
    _, found = made(operation, operands)

    for file in ("a.py", "b.py"):
        for label in ("x", "y"):
            lines = [ran(each, file, lambda c, x=label: label_of(c) == x) for each in operands]
            expected = OPERATIONS[operation](*lines)
            if operation is Operation.SUBTRACT:
                others = (
                    ran(each, file, lambda c: phase_of(c) == "runtime") for each in operands[1:]
                )
                expected = lines[0].difference(*others)
            assert ran(found, file, lambda c, x=label: label_of(c) == x) == expected


@pytest.mark.parametrize("operation", Operation)
@FEW
@given(operands=reports([*KNOWN, *UNKNOWN]))
def test_where_a_phase_is_not_known_the_operation_is_on_all_that_ran(
    operation: Operation, operands: list[Lines]
) -> None:
    result, found = made(operation, operands)

    if not result.tells_phases or operation is Operation.MERGE:
        for file in ("a.py", "b.py"):
            expected = OPERATIONS[operation](
                *(ran(each, file, lambda _: True) for each in operands)
            )
            assert ran(found, file, lambda _: True) == expected


@FEW
@given(operands=reports(KNOWN))
def test_the_order_matters_to_a_subtraction_alone(operands: list[Lines]) -> None:
    def total(operation: Operation, order: list[Lines]) -> list[set[int]]:
        _, found = made(operation, order)
        return [ran(found, file, lambda _: True) for file in ("a.py", "b.py")]

    for operation in (Operation.MERGE, Operation.INTERSECT):
        assert total(operation, operands) == total(operation, operands[::-1])


def test_a_line_that_ran_at_load_here_and_at_runtime_there_is_in_no_intersection() -> None:
    here, there = {"load": {"a.py": {1}}}, {"runtime": {"a.py": {1}}}

    assert made(Operation.INTERSECT, [here, there])[1] == {}
    assert made(Operation.SUBTRACT, [here, there])[1] == here
    assert made(Operation.MERGE, [here, there])[1] == {**here, **there}


def test_a_merge_of_many_is_that_of_two_after_another() -> None:
    operands: list[Lines] = [{"runtime": {"a.py": {n, 7}}} for n in range(4)]

    by_two = reduce(lambda a, b: made(Operation.MERGE, [a, b])[1], operands)

    assert made(Operation.MERGE, operands)[1] == by_two == {"runtime": {"a.py": {0, 1, 2, 3, 7}}}
