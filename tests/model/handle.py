#!/usr/bin/env python3
"""Model of a transaction of the commit log whose puts have de-duplication keys (gw-queue(5), transaction): a worker acknowledges its
message and sends another one under an id, in one commit, while somebody else puts a message with that id.

What it has: two attempts of the worker (the second after the first has died or given up), a plain put with the same id and body that
is tried up to twice, death of either at any step, recovery in steps that may die too, removal of a segment whose messages are all
finished, write-back at any time, power loss at any instant.

The steps in the code (libcommon/queue): inserts its row: Committer::claim_ids; writes the record: commit_logged; publishes: publish; withdraws,
voids: give_up; the look at the other's message and the second look at its row: really_there; recovery: RootImpl::recover_owner,
QueueImpl::staged_decision, withdraw_id.

What must hold: one message with this id at most; the worker's message is acknowledged only if there is one; who was told that it is stored
has one; an id whose transaction came to nothing is free again.
"""
import sys
from collections import namedtuple

from explore import explore, put, run_cases

NONE, CACHED, DURABLE = range(3)
ABSENT, STAGED, READY, VOID, REMOVED = "-SRVX"
OTHER = 2  # the plain put; 0 and 1 are the worker's attempts

State = namedtuple("State", "pc attempt frame word row row_state record target source pc2 tries saw told kills losses")

WITHOUT = {
    "withdraw": "recovery leaves the row of a transaction that came to nothing",
    "order": "recovery voids the message before it withdraws the row",
    "undecided": "whoever finds a row believes it, also while its transaction is undecided",
    "again": "nobody looks at the row again after the look at its message",
    "row-sync": "the record is written before the row is durable",
    "record-copy": "recovery acts on a record that nobody has synced",
}


def check(without=(), kills=2, losses=1):
    first = State("idle", 0, (NONE,) * 3, (ABSENT,) * 3, None, NONE, (NONE, NONE), (0, 0), READY, "idle", 0, None, 0, 0, 0)

    def word(s, i, value):
        return s._replace(word=put(s.word, i, value))

    def withdraw(s, i):
        return s._replace(row=None, row_state=NONE) if s.row == i else s

    def next_attempt(s):
        return s._replace(pc="idle" if s.attempt == 0 else "gone", attempt=1, source=READY)

    def worker(s, add):
        a, pc = s.attempt, s.pc

        def go(label, state, to):
            add(f"worker {label}", state._replace(pc=to))

        if pc == "idle" and s.source == READY:
            go("claims its message, stages what was sent", word(s._replace(source="C", frame=put(s.frame, a, CACHED)), a, STAGED), "staged")
        elif pc == "staged":
            go("syncs the log", s._replace(frame=put(s.frame, a, DURABLE)), "synced")
        elif pc == "synced":
            if s.row is None:
                go("inserts the row", s._replace(row=a, row_state=CACHED, target=put(s.target, a, 1)), "inserted")
            elif s.word[s.row] in (STAGED, VOID) and s.row != OTHER:
                go("finds an undecided row, gives up", s, "giving up")
            else:
                go("finds a row: a duplicate", s._replace(row_state=DURABLE), "decided")
        elif pc == "inserted":
            if "row-sync" in without:
                go("writes the record", s._replace(record=put(s.record, a, CACHED)), "recorded")
            go("commits the row", s._replace(row_state=DURABLE), "decided")
        elif pc == "decided":
            go("writes the record", s._replace(record=put(s.record, a, CACHED)), "recorded")
            go("cannot go on", s, "giving up")
        elif pc == "recorded":
            go("syncs the record", s._replace(record=put(s.record, a, DURABLE)), "committed")
        elif pc == "committed":
            go("publishes", word(s, a, READY if s.target[a] else VOID)._replace(source="D"), "done")
        elif pc == "giving up":
            go("withdraws its row", withdraw(s, a), "withdrawn")
        elif pc == "withdrawn":
            add("worker voids what was sent, gives its message back", next_attempt(word(s, a, VOID)))
        elif pc == "dead":
            if s.record[a] == CACHED and "record-copy" not in without:
                go("'s recovery syncs a copy of the record", s._replace(record=put(s.record, a, DURABLE)), "dead")
            elif s.record[a] != NONE:
                go("'s recovery applies the record", word(s, a, READY if s.target[a] else VOID)._replace(source="D"), "gone")
            elif "order" in without and s.word[a] == STAGED:
                go("'s recovery voids what was sent", word(s, a, VOID), "voided")
            elif s.row == a and "withdraw" not in without:
                go("'s recovery withdraws the row", withdraw(s, a), "dead")
            else:
                add("worker's recovery voids what was sent, gives its message back", next_attempt(word(s, a, VOID)))
        elif pc == "voided":
            add("worker's recovery withdraws the row", next_attempt(withdraw(s, a)))
            add("worker's recovery dies, the next one finds nothing staged", next_attempt(s))
        if pc not in ("idle", "done", "gone", "dead", "voided") and s.kills < kills:
            go("is killed", s._replace(kills=s.kills + 1), "dead")

    def other(s, add):
        pc = s.pc2

        def go(label, state, to):
            add(f"put {label}", state._replace(pc2=to))

        def not_now(label):
            go(label, word(s, OTHER, VOID)._replace(tries=s.tries + 1), "idle" if s.tries == 0 else "gone")

        if pc == "idle":
            go("stages its copy", word(s._replace(frame=put(s.frame, OTHER, CACHED)), OTHER, STAGED), "staged")
        elif pc == "staged":
            go("syncs the log", s._replace(frame=put(s.frame, OTHER, DURABLE)), "synced")
        elif pc == "synced":
            if s.row is None:
                go("inserts the row", s._replace(row=OTHER, row_state=CACHED), "inserted")
            else:
                go("finds a row", s._replace(saw=s.row), "found")
        elif pc == "inserted":
            go("commits the row", s._replace(row_state=DURABLE), "decided")
        elif pc == "decided":
            go("publishes, says stored", word(s, OTHER, READY)._replace(told=1), "done")
        elif pc == "found":
            if "undecided" in without:
                go("says duplicate", word(s, OTHER, VOID)._replace(told=1), "done")
            elif s.saw == OTHER:
                go("finds its own earlier row", s, "sure")
            elif s.word[s.saw] in (STAGED, VOID):
                not_now("finds the message undecided or void: not now")
            else:
                go("finds the message decided", s, "sure")
        elif pc == "sure":
            if s.row == s.saw or "again" in without:
                go("says duplicate", word(s, OTHER, VOID if s.saw != OTHER else s.word[OTHER])._replace(told=1), "done")
            else:
                not_now("misses the row: not now")
        elif pc == "dead":
            if s.row == OTHER:
                go("'s recovery commits, publishes", word(s, OTHER, READY)._replace(row_state=DURABLE), "gone")
            else:
                go("'s recovery voids its copy", word(s, OTHER, VOID), "gone")
        if pc not in ("idle", "done", "gone", "dead") and s.kills < kills:
            go("is killed", s._replace(kills=s.kills + 1), "dead")

    def power_loss(s, add):
        if s.losses >= losses:
            return
        options = [s]
        for i in range(3):
            if s.frame[i] == CACHED:
                options = [o._replace(frame=put(o.frame, i, f)) for o in options for f in (NONE, DURABLE)]
        for i in range(2):
            if s.record[i] == CACHED:
                options = [o._replace(record=put(o.record, i, r)) for o in options for r in (NONE, DURABLE)]
        if s.row_state == CACHED:
            options = [o for o in options for _ in (0, 1)]
            options = [o._replace(row_state=DURABLE) if i % 2 else o._replace(row=None, row_state=NONE) for i, o in enumerate(options)]
        for t in options:
            for i in range(2):
                if t.word[i] in (ABSENT, REMOVED):
                    continue
                if t.record[i] == DURABLE:
                    t = word(t, i, READY if t.target[i] else VOID)
                else:
                    t = word(t if "withdraw" in without else withdraw(t, i), i, VOID)
            if t.word[OTHER] != ABSENT:
                t = word(t, OTHER, READY if t.row == OTHER else VOID)
            done = DURABLE in t.record
            t = t._replace(losses=t.losses + 1, source="D" if done else READY, pc2=t.pc2 if t.pc2 == "idle" else "gone")
            if done or t.pc == "gone":
                t = t._replace(pc="gone")
            elif t.pc != "idle":
                t = t._replace(pc="idle" if t.attempt == 0 else "gone", attempt=1)
            add("POWER LOSS, recovery", t)

    def steps(s):
        out = []

        def add(label, state):
            out.append((label, state))

        worker(s, add)
        other(s, add)
        for i in range(2):
            if s.word[i] == VOID and (s.pc in ("idle", "done", "gone") or i != s.attempt):
                add(f"the segment of copy {i} is removed", word(s, i, REMOVED))
        if s.row_state == CACHED:
            add("write-back of the row", s._replace(row_state=DURABLE))
        power_loss(s, add)
        return out

    def fault(s):
        copies = sum(w == READY for w in s.word)
        if copies > 1:
            return "DOUBLE: two messages with one id"
        if s.pc not in ("idle", "done", "gone") or s.pc2 not in ("idle", "done", "gone"):
            return None
        if s.source == "D" and copies == 0:
            return "LOST: acknowledged, and what was sent is nowhere"
        if s.told and copies == 0:
            return "LOST: said to be stored, and it is nowhere"
        if s.row is not None and s.word[s.row] in (VOID, REMOVED):
            return "BLOCKED: the id belongs to a message that never was"
        return None

    return explore(first, steps, fault)


def main():
    cases = [("a claim and an id in one transaction, beside a put with that id", False, check)]
    for rule, text in WITHOUT.items():
        cases.append((f"seeded: {text}", True, lambda rule=rule: check((rule,))))
    return run_cases(cases)


if __name__ == "__main__":
    sys.exit(main())
