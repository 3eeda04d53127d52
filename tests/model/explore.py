"""Explores every reachable state of a small model, breadth first, and prints the shortest way to a bad one.

A model gives the first state, steps(state) -> [(label, next state)], and fault(state) -> text or None.
States are immutable and hashable (named tuples of numbers). Where actors are alike, alike(state) gives one state for all that
differ only in who is who: only that one is looked at.
"""
import gc
import sys
import time
from collections import deque, namedtuple

Outcome = namedtuple("Outcome", "states fault trace")


def put(items, index, value):
    """A tuple with one element replaced."""
    return items[:index] + (value,) + items[index + 1:]


def explore(first, steps, fault, alike=lambda state: state, limit=5_000_000):
    came_from = {alike(first): None}
    todo = deque(came_from)
    while todo:
        state = todo.popleft()
        text = fault(state)
        if text:
            return Outcome(len(came_from), text, way_to(state, came_from, first, steps, alike))
        for _, following in steps(state):
            following = alike(following)
            if following not in came_from:
                if len(came_from) >= limit:
                    raise SystemExit(f"more than {limit} states: the model does not end")
                came_from[following] = state
                todo.append(following)
    return Outcome(len(came_from), None, None)


def way_to(last, came_from, first, steps, alike):
    """The labels from first to last, gone once more, so that everybody keeps his name on the way."""
    stations = []
    while came_from[last]:
        stations.append(last)
        last = came_from[last]
    labels, state = [], first
    for station in reversed(stations):
        label, state = next((label, following) for label, following in steps(state) if alike(following) == station)
        labels.append(label)
    return labels


def run_cases(cases):
    """cases: [(name, expect_fault, function -> Outcome)]. TAP on stdout; the exit status says whether all were as expected."""
    gc.disable()  # there are no cycles, and a third of the time was spent looking for them among the states
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
