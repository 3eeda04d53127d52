#!/usr/bin/env python3
"""Model of a receive: a put with a de-duplication key, whose commit instant is a row in SQLite (gw-queue(5)).

Two listeners stage the same id at once. What it has: the row as the one decision, that names the transaction (xid) whose copy is the
one; retries of a sender that got no answer; death of a listener at any step and its recovery by another process, in steps; a
consumer; write-back at any time; a purge of old rows; power loss at any instant.

The steps in the code (libcommon): stages its copy, syncs the log: Committer::append_all, sync_batches; inserts, commits the row:
DedupStore::decide, which makes a commit of its own also when it finds a row (touch); publishes, voids: Committer::commit_keyed;
recovery: QueueImpl::staged_decision (DedupStore::find, confirm) from QueueImpl::recover_owner or, after a power loss, decide_words;
the purge: DedupStore::purge after the recovery of every queue.

What must hold: one copy at most becomes visible; after an answer there is a copy (or it was consumed), whatever happens later; a message
that was delivered has its row as long as a retry can come.
"""
import sys
from collections import namedtuple

from explore import explore, put, run_cases

STAGED, READY, DONE, VOID = "SRDV"
NONE, CACHED, DURABLE, PURGED = range(4)

State = namedtuple("State", "pc rec frame mem disk row winner shown consumer acks answered losses kills purged")

ENDED = ("idle", "done", "gone")

WITHOUT = {
    "xid": "whoever finds a row for the id publishes its own copy",
    "own-commit": "the loser answers without a durable commit of its own",
    "recovery-commit": "recovery believes a row that it saw without a durable commit of its own",
    "purge-rule": "rows are purged before every queue of the store is recovered",
    "stage-sync": "the staged copy is not synced before the row",
    "row-first": "the answer is sent before the row is durable",
    "void": "recovery gives a staged copy without a row to the consumers",
}


def check(without=(), losses=2, kills=2):
    first = State(("idle", "idle"), (0, 0), (NONE, NONE), (STAGED, STAGED), (STAGED, STAGED), NONE, None, (0, 0), None, (0, 0), 0, 0, 0, 0)

    def show(s, p):
        if s.frame[p] == NONE:
            return s
        if s.mem[p] == STAGED:
            s = s._replace(mem=put(s.mem, p, READY))
        return s._replace(shown=put(s.shown, p, 1)) if s.mem[p] in (READY, DONE) else s

    def void(s, p):
        if s.mem[p] == STAGED and s.frame[p] != NONE:
            if "void" in without:
                return show(s, p)
            return s._replace(mem=put(s.mem, p, VOID))
        return s

    def resolve(s, p):
        """What the row says about this copy."""
        if s.row in (CACHED, DURABLE) and (s.winner == p or "xid" in without):
            return show(s, p)
        return void(s, p)

    def sync_frames(s):
        return s._replace(frame=tuple(DURABLE if f == CACHED else f for f in s.frame))

    def listener(s, p, add):
        pc = s.pc[p]

        def go(label, state, to):
            add(f"L{p} {label}", state._replace(pc=put(state.pc, p, to)))

        if pc == "idle":
            go("stages its copy", s._replace(frame=put(s.frame, p, CACHED)), "staged")
        elif pc == "staged":
            go("syncs the log", s if "stage-sync" in without else sync_frames(s), "synced")
        elif pc == "synced":
            if s.row in (NONE,):
                go("inserts the row", s._replace(row=CACHED, winner=p), "inserted")
            else:
                go("finds a row", s, "lost")
        elif pc == "lost":
            t = void(s, p)
            if "own-commit" in without:
                go("answers duplicate", t._replace(answered=1), "done")
            else:
                go("commits durably, answers duplicate", t._replace(row=DURABLE if t.row == CACHED else t.row, answered=1), "done")
        elif pc == "inserted":
            if "row-first" in without:
                go("answers", s._replace(answered=1), "answered")
            go("commits the row", s._replace(row=DURABLE if s.row == CACHED else s.row), "decided")
        elif pc == "decided":
            go("publishes", show(s, p), "published")
        elif pc == "published":
            go("answers", s._replace(answered=1), "done")
        elif pc == "answered":
            go("commits the row", s._replace(row=DURABLE if s.row == CACHED else s.row), "decided")
        if pc not in ENDED + ("dead",) and s.kills < kills:
            go("is killed", s._replace(kills=s.kills + 1), "dead")
        if pc == "dead":
            if s.rec[p] == 0:
                t = s
                if "recovery-commit" not in without and t.row == CACHED:
                    t = t._replace(row=DURABLE)
                if "stage-sync" not in without:
                    t = sync_frames(t)
                add(f"recovery of L{p} opens the store", t._replace(rec=put(t.rec, p, 1)))
            else:
                add(f"recovery of L{p} asks the row", resolve(s, p)._replace(rec=put(s.rec, p, 0), pc=put(s.pc, p, "gone")))
                add(f"recovery of L{p} is killed itself", s._replace(rec=put(s.rec, p, 0)))

    def power_loss(s, add):
        if s.losses >= losses:
            return
        options = [s]
        for p in (0, 1):
            if s.frame[p] == CACHED:
                options = [o._replace(frame=put(o.frame, p, f)) for o in options for f in (NONE, DURABLE)]
        if s.row == CACHED:
            options = [o._replace(row=r, winner=o.winner if r else None) for o in options for r in (NONE, DURABLE)]
        for o in options:
            t = o._replace(mem=o.disk, consumer=None, losses=o.losses + 1, rec=(0, 0), pc=tuple(c if c == "idle" else "gone" for c in o.pc))
            for p in (0, 1):
                if t.frame[p] == DURABLE and t.mem[p] == STAGED and t.pc[p] != "idle":
                    t = resolve(t, p)
            add("POWER LOSS, recovery", t)

    def steps(s):
        out = []

        def add(label, state):
            out.append((label, state))

        for p in (0, 1):
            listener(s, p, add)
            if s.consumer is None and s.mem[p] == READY:
                add(f"copy {p} is claimed", s._replace(consumer=p))
            if s.consumer == p:
                done = put(s.mem, p, DONE)
                add(f"copy {p} is acked", s._replace(mem=done, disk=done, acks=put(s.acks, p, s.acks[p] + 1), consumer=None))
            if s.disk[p] != s.mem[p]:
                add(f"write-back of word {p}", s._replace(disk=put(s.disk, p, s.mem[p])))
            if s.frame[p] == CACHED:
                add(f"write-back of frame {p}", s._replace(frame=put(s.frame, p, DURABLE)))
        if s.row == CACHED:
            add("write-back of the row", s._replace(row=DURABLE))
        if s.row == DURABLE and not s.purged:
            if "purge-rule" in without:
                add("the row is purged", s._replace(row=PURGED, purged=1))
            elif all(c in ENDED for c in s.pc):
                add("words are synced, the row is purged", s._replace(disk=s.mem, row=PURGED, purged=1))
        power_loss(s, add)
        return out

    def fault(s):
        if sum(s.shown) > 1:
            return "DOUBLE: two copies became visible"
        quiet = all(c in ENDED for c in s.pc)
        if s.row == NONE and any(s.acks) and quiet and "idle" in s.pc:
            return "DOUBLE: delivered without a row, a retry delivers it again"
        if s.answered and quiet and not any(s.mem[p] in (READY, DONE) and s.frame[p] == DURABLE for p in (0, 1)):
            return "LOST: answered, and there is no copy"
        return None

    return explore(first, steps, fault)


def main():
    cases = [("receive, two listeners with the same id, full protocol", False, check)]
    for rule, text in WITHOUT.items():
        cases.append((f"seeded: {text}", True, lambda rule=rule: check((rule,))))
    return run_cases(cases)


if __name__ == "__main__":
    sys.exit(main())
