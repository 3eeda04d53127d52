"""Explores every reachable state of a small model, breadth first, and prints the shortest way to a bad one.

A model gives the first state, steps(state) -> [(label, next state)], and fault(state) -> text or None.
States are immutable and hashable (named tuples of numbers).
"""
import sys
import time
from collections import deque, namedtuple

Outcome = namedtuple("Outcome", "states fault trace")


def put(items, index, value):
    """A tuple with one element replaced."""
    return items[:index] + (value,) + items[index + 1:]


def explore(first, steps, fault, limit=5_000_000):
    came_from = {first: None}
    todo = deque([first])
    while todo:
        state = todo.popleft()
        text = fault(state)
        if text:
            trace = []
            while came_from[state]:
                state, label = came_from[state]
                trace.append(label)
            return Outcome(len(came_from), text, trace[::-1])
        for label, following in steps(state):
            if following not in came_from:
                if len(came_from) >= limit:
                    raise SystemExit(f"more than {limit} states: the model does not end")
                came_from[following] = (state, label)
                todo.append(following)
    return Outcome(len(came_from), None, None)


def run_cases(cases):
    """cases: [(name, expect_fault, function -> Outcome)]. TAP on stdout; the exit status says whether all were as expected."""
    wrong = 0
    print(f"1..{len(cases)}")
    for number, (name, expect_fault, function) in enumerate(cases, 1):
        begin = time.monotonic()
        outcome = function()
        seconds = time.monotonic() - begin
        good = (outcome.fault is not None) == expect_fault
        wrong += not good
        found = outcome.fault or "no fault"
        print(f"{'ok' if good else 'not ok'} {number} - {name}: {found} ({outcome.states} states, {seconds:.1f} s)")
        if outcome.trace:
            print("#   " + "; ".join(outcome.trace))
        sys.stdout.flush()
    return 1 if wrong else 0
