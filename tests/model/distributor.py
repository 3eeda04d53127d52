#!/usr/bin/env python3
"""Model of the hand-over of a distributor (gw-distributor(5)): tokens in the storage queue, messages that leave the endpoint's queue for
a worker's and come back, control messages, sessions.

What it has: messages that are handed out, tried again at once, sent back for a delayed retry, and one that somebody put straight into a
worker's queue; workers that are killed and start again (or never do) at every step, a distributor that is, an operator who drains or
unregisters; workers on this root, whose death a lock tells, and workers elsewhere, whose control messages overtake one another and
which are silent for a while. A step is one commit: that a commit is all or nothing is shown by transfer.py.

The steps in the code (tools/distributor): starting, returned, heartbeat, taken_back, balance: ReadyTable; one commit: HandOver::turn and
take_back; the worker's side: Enlistment and Settler.

What must hold: a message is handled once, whatever is killed; a worker never has more than its capacity, neither in its queue nor as
tokens and messages that are out; a drained worker gets nothing; and when everything has come to rest, all messages are handled and every
worker has as many tokens as it has capacity.
"""
import sys
from collections import namedtuple

from explore import explore, put, run_cases

# place of a message: ("E",), ("Q", w) in the worker's queue, ("T", w) on its way there, ("C", w) claimed, ("D",) handled, ("-",) nowhere
# slots: (number, worker, work); work: None (a token) or (message, generation). record: (session, capacity, gone, draining)
State = namedtuple("State", "place out gen tried handled slots record control session alive kills up half worker_half operator drained beats")

WITHOUT = {
    "session": "a start adds tokens to those of the session before (bug 978)",
    "direct": "a message that was not handed out gives a token back (bug 1966)",
    "retry": "an immediate retry gives the token back as well (bugs 571, 851)",
    "failure": "a delayed retry gives no token back (bugs 1115, 2518, 4325)",
    "memory": "what is out is known in memory only (bugs 2033, 2700)",
    "atomic": "token and message leave in two commits (bug 814)",
    "apart": "message and return leave the worker in two commits",
    "stranded": "nobody takes back what a dead worker had (documentation bug 815)",
    "drain": "a start forgets that the worker is drained (bug 1967)",
    "twice": "messages are taken back although somebody works on them",
    "beats": "a heartbeat that is older than a hand-out says that it is lost",
    "late": "a start that was overtaken by the next one counts",
}


def check(without=(), workers=2, capacity=1, messages=2, direct=0, kills=(1, 1), elsewhere=False, operator=None, ends=None, beats=0):
    """`direct`: so many messages are put straight into worker 0's queue. `kills`: of the distributor, of workers. `ends`: this worker
    never starts again. `beats`: so often a worker is silent without reason, or sends a heartbeat without need."""
    all_workers = range(workers)
    total = messages + direct
    first = State(place=(("E",),) * messages + (("Q", 0),) * direct, out=(None,) * total, gen=(0,) * total, tried=False, handled=(0,) * total,
                  slots=(), record=(None,) * workers, control=(), session=(0,) * workers, alive=(False,) * workers, kills=kills,
                  up=True, half=None, worker_half=None, operator=operator, drained=(False,) * workers, beats=beats)

    def move(s, m, place, out=None):
        return s._replace(place=put(s.place, m, place), out=put(s.out, m, out))

    def send(s, *item):
        control = s.control + (item,)
        return s._replace(control=tuple(sorted(control, key=repr)) if elsewhere else control)

    def slot_of(s, number):
        return next((slot for slot in s.slots if slot[0] == number), None)

    def without_slot(s, number):
        return s._replace(slots=tuple(slot for slot in s.slots if slot[0] != number))

    def with_slot(s, number, w, work):
        return s._replace(slots=tuple(sorted(without_slot(s, number).slots + ((number, w, work),), key=repr)))

    def with_token(s, w):
        # Numbers are never used again; one that nothing names any more cannot be told from a new one, and makes fewer states.
        named = {slot[0] for slot in s.slots} | {out[0] for out in s.out if out} | {item[2][0] for item in s.control if item[0] == "return" and item[2]}
        if s.worker_half is not None and s.worker_half[1]:
            named.add(s.worker_half[1][0])
        return with_slot(s, next(n for n in range(100) if n not in named), w, None)

    def ready(s, w):
        return s.record[w] is not None and not s.record[w][2] and not s.record[w][3]

    def balance(s, w):
        mine = [slot for slot in s.slots if slot[1] == w]
        free = [slot for slot in mine if slot[2] is None]
        wanted = max(0, s.record[w][1] - (len(mine) - len(free))) if ready(s, w) else 0
        for slot in free[wanted:]:
            s = without_slot(s, slot[0])
        for _ in range(wanted - len(free)):
            s = with_token(s, w)
        return s

    def free_slot(s, number, w):
        s = without_slot(s, number)
        mine = sum(slot[1] == w for slot in s.slots)
        return with_slot(s, number, w, None) if ready(s, w) and mine < s.record[w][1] else s

    # --- the distributor -----------------------------------------------------------------------------------------------------------
    def apply(s, item):
        kind, w = item[0], item[1]
        record = s.record[w]
        if kind == "start":
            if record is not None and item[2] < record[0] and "late" not in without:
                return s
            draining = record is not None and record[3] and "drain" not in without
            s = s._replace(record=put(s.record, w, (item[2], capacity, False, draining)))
            if "session" in without:
                for _ in range(capacity):
                    s = with_token(s, w)
                return s
            for slot in s.slots:
                if slot[1] == w and slot[2] is None:
                    s = without_slot(s, slot[0])
            return balance(s, w)
        if kind == "return":
            if item[2] is None:  # "direct": how many, not which
                return with_token(s, w) if ready(s, w) else s
            number, work = item[2]
            slot = slot_of(s, number)
            if slot is None or slot[1] != w or slot[2] != work:
                return s
            return free_slot(s, number, w)
        if kind == "beat":
            if record is None or record[0] != item[2]:
                return s
            s = s._replace(record=put(s.record, w, record[:2] + (False, record[3])))
            if not elsewhere:  # out when it was sent, and not among what it had: somebody took it away by hand
                for number, owner, work in s.slots:
                    if owner == w and work is not None and work not in item[3] and (work in item[4] or "beats" in without):
                        s = free_slot(s, number, w)
            return balance(s, w)
        if record is None:
            return s
        if kind == "drain":
            s = s._replace(record=put(s.record, w, record[:3] + (True,)), drained=put(s.drained, w, True))
            return balance(s, w)
        if kind == "unregister":  # what is out stays written down until it comes back
            s = s._replace(record=put(s.record, w, (record[0], record[1], True, False)))
            return balance(s, w)
        raise AssertionError(kind)

    def hand_out(s, m, slot, add):
        number, w, _ = slot
        work = (m, s.gen[m])
        to = ("T" if elsewhere else "Q", w)
        if "atomic" in without:
            add(f"takes a token of worker {w}", with_slot(s, number, w, work)._replace(half=(m, number, w)))
        else:
            add(f"hands message {m} to worker {w}", move(with_slot(s, number, w, work), m, to, (number, work)))

    def take_back(s, w, add):
        for m in range(total):
            claimed = s.place[m] == ("C", w) and "twice" in without
            if s.out[m] is None or (s.place[m] != ("Q", w) and not claimed):
                continue
            t = s
            slot = slot_of(s, s.out[m][0])
            if slot is not None and slot[2] == s.out[m][1]:
                t = free_slot(t, slot[0], w)
            t = t._replace(gen=put(t.gen, m, t.gen[m] + 1), worker_half=(w, None, m) if claimed else t.worker_half)
            add(f"takes message {m} back from worker {w}", move(t, m, ("E",)))

    def distributor(s, add):
        if not s.up:
            return add("starts again", s._replace(up=True))
        if s.kills[0] > 0:
            t = s._replace(up=False, half=None, kills=put(s.kills, 0, s.kills[0] - 1))
            if "memory" in without:
                t = t._replace(slots=tuple(slot for slot in t.slots if slot[2] is None))
            add("is killed", t)
        if s.half is not None:
            m, number, w = s.half
            return add(f"sends message {m} to worker {w}", move(s._replace(half=None), m, ("Q", w), (number, (m, s.gen[m]))))
        for i, item in enumerate(s.control):
            if i > 0 and not elsewhere:
                break
            add(f"applies {item}", apply(s._replace(control=s.control[:i] + s.control[i + 1:]), item))
        for m in range(total):
            if s.place[m] == ("E",):
                for w in all_workers:
                    slot = next((slot for slot in s.slots if slot[1] == w and slot[2] is None), None)
                    if slot is not None:
                        hand_out(s, m, slot, add)
                break  # in order
        for w in all_workers:
            record = s.record[w]
            if record is None:
                continue
            if not record[2] and not s.alive[w]:
                add(f"misses worker {w}", balance(s._replace(record=put(s.record, w, record[:2] + (True, record[3]))), w))
            elif not record[2] and s.beats > 0:
                add(f"hears nothing of worker {w}", balance(s._replace(record=put(s.record, w, record[:2] + (True, record[3])), beats=s.beats - 1), w))
            elif record[2] and not elsewhere and "stranded" not in without:
                take_back(s, w, add)

    # --- a worker --------------------------------------------------------------------------------------------------------------------
    def give_back(s, w, m):
        if s.out[m] is None:
            return send(s, "return", w, None) if "direct" in without else s
        return send(s, "return", w, s.out[m])

    def settle(s, w, m, add):
        def leave(label, t):
            if "apart" in without:
                add(label, t._replace(worker_half=(w, s.out[m], None)))
            else:
                add(label, give_back(s, w, m)._replace(place=t.place, out=t.out, handled=t.handled, tried=t.tried, gen=t.gen))

        leave(f"handles message {m}", move(s._replace(handled=put(s.handled, m, s.handled[m] + 1)), m, ("D",)))
        if m > 0 or s.tried:
            return
        once_more = s._replace(tried=True)
        again = move(once_more, m, ("Q", w), s.out[m])
        add(f"tries message {m} again at once", give_back(again, w, m) if "retry" in without else again)
        if s.out[m] is not None:
            back = move(once_more._replace(gen=put(s.gen, m, s.gen[m] + 1)), m, ("E",))
            if "failure" in without:
                add(f"sends message {m} back", back)
            else:
                leave(f"sends message {m} back", back)

    def worker(s, w, add):
        mine = [m for m in range(total) if s.place[m] == ("C", w)]
        if not s.alive[w]:
            for m in mine:  # the queue gives back what a dead process had claimed
                add(f"'s claim of message {m} is recovered", move(s, m, ("Q", w), s.out[m]))
            if w != ends or s.session[w] == 0:
                session = s.session[w] + 1
                add("starts", send(s._replace(alive=put(s.alive, w, True), session=put(s.session, w, session)), "start", w, session))
            return
        half = s.worker_half if s.worker_half is not None and s.worker_half[0] == w else None
        if s.kills[1] > 0:
            t = s._replace(alive=put(s.alive, w, False), kills=put(s.kills, 1, s.kills[1] - 1))
            add("is killed", t._replace(worker_half=None) if half else t)
        if half and half[2] is None:
            return add("sends the return", send(s._replace(worker_half=None), "return", w, half[1]))
        if half:
            add(f"handles message {half[2]}", s._replace(worker_half=None, handled=put(s.handled, half[2], s.handled[half[2]] + 1)))
        for m in range(total):
            if s.place[m] == ("T", w):
                add(f"'s queue gets message {m}", move(s, m, ("Q", w), s.out[m]))
            if s.place[m] == ("Q", w) and len(mine) < capacity:
                add(f"claims message {m}", move(s, m, ("C", w), s.out[m]))
        for m in mine:
            settle(s, w, m, add)
        lost = s.record[w] is not None and s.record[w][2] and s.record[w][0] == s.session[w]
        vanished = s.operator == "purged" and not elsewhere
        if not any(item[0] in ("beat", "start") and item[1] == w for item in s.control) and (lost or vanished or s.beats > 0):
            holds = tuple(s.out[m][1] for m in range(total) if s.place[m] in (("Q", w), ("C", w)) and s.out[m] is not None)
            handed_out = tuple(slot[2] for slot in s.slots if slot[1] == w and slot[2] is not None)
            t = s if lost or vanished else s._replace(beats=s.beats - 1)
            add("sends a heartbeat", send(t._replace(operator=None) if vanished else t, "beat", w, s.session[w], holds, handed_out))

    def steps(s):
        out = []
        distributor(s, lambda label, t: out.append((f"distributor {label}", t)))
        for w in all_workers:
            worker(s, w, lambda label, t, w=w: out.append((f"worker {w} {label}", t)))
        if s.operator == "purge":
            for m in range(total):
                if s.place[m][0] == "Q":
                    out.append((f"operator purges message {m}", move(s._replace(operator="purged"), m, ("D",))))
        elif s.operator not in (None, "purged"):
            out.append((f"operator says {s.operator}", send(s._replace(operator=None), s.operator, 0)))
        return out

    def balanced(s, w):
        mine = [slot for slot in s.slots if slot[1] == w]
        if any(slot[2] is not None for slot in mine):
            return False
        return len(mine) == (capacity if ready(s, w) else 0)

    def fault(s):
        if any(n > 1 for n in s.handled):
            return "DOUBLE: a message was handled twice"
        for w in all_workers:
            if sum(slot[1] == w for slot in s.slots) > capacity:
                return f"DUPLICATE TOKEN: worker {w} has more slots than capacity"
            if sum(s.place[m] in (("Q", w), ("C", w)) and s.out[m] is not None for m in range(total)) > capacity:
                return f"OVERLOAD: worker {w} was handed more than its capacity"
            if s.drained[w] and any(slot[1] == w and slot[2] is None for slot in s.slots):
                return f"UNDRAINED: worker {w} has tokens although it was drained"
        if steps(s):
            return None
        if any(place != ("D",) for place in s.place):
            return "STUCK: everything rests, and a message was not handled"
        if any(s.alive[w] and not balanced(s, w) for w in all_workers):
            return "LOST TOKEN: everything rests, and a worker has another number of tokens than its capacity"
        return None

    return explore(first, steps, fault)


def main():
    more = (1, 2) if "--full" in sys.argv else (0, 2)
    cases = [
        ("two workers, kills of everybody", False, lambda: check(kills=(1, 2) if "--full" in sys.argv else (1, 1))),
        ("one worker of capacity 2, a message straight into its queue", False, lambda: check(workers=1, capacity=2, messages=2, direct=1, kills=more)),
        ("a worker that never comes back", False, lambda: check(ends=1, kills=more)),
        ("a worker is silent for a while", False, lambda: check(messages=1, kills=(0, 1), beats=1)),
        ("a worker is drained", False, lambda: check(operator="drain", messages=1, kills=(0, 1) if more[0] == 0 else more)),
        ("a worker is unregistered", False, lambda: check(operator="unregister", messages=1, kills=(0, 1) if more[0] == 0 else more)),
        ("a message is taken out of a worker's queue by hand", False, lambda: check(operator="purge", workers=1, kills=(0, 1), beats=1)),
        ("a worker elsewhere: control messages overtake one another", False, lambda: check(workers=1, kills=more, elsewhere=True, beats=2)),
    ]
    how = {
        "direct": {"workers": 1, "messages": 1, "direct": 1},
        "failure": {"workers": 1},
        "atomic": {"workers": 1},
        "apart": {"workers": 1},
        "stranded": {"ends": 0},
        "drain": {"operator": "drain"},
        "twice": {"beats": 1},
        "beats": {"workers": 1, "beats": 1},
        "late": {"workers": 1, "elsewhere": True, "kills": (0, 1), "beats": 1},
    }
    for rule, text in WITHOUT.items():
        cases.append((f"seeded: {text}", True, lambda rule=rule: check((rule,), **how.get(rule, {}))))
    return run_cases(cases)


if __name__ == "__main__":
    sys.exit(main())
