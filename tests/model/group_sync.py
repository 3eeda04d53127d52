#!/usr/bin/env python3
"""Model of the group sync: many writers, one fdatasync for all of them (gw-queue(5), sync.cpp).

Writers append at a position and wait until the durable watermark has passed it. One of them at a time leads: it reads the counter,
syncs, raises the watermark, frees the lead, wakes the rest. Leaders are killed at any step and stopped for ever; a sync may fail, after
which the kernel has dropped the data and reports the next sync as fine. That a sync fails and that this is recorded is one step here: the
kernel reports the error to every descriptor that was open, so a leader that dies in between leaves it to the next one to find out.
Who has slept for long syncs by itself, without the lead: the leader may be stopped.

What must hold: who is told "stored" is on the disk; nobody waits for ever; after a failed sync nobody whose data was in it is told "stored".
"""
import sys
from collections import namedtuple

from explore import explore, put, run_cases

# what became of one writer's bytes
ABSENT, CACHED, DURABLE, DROPPED = range(4)

State = namedtuple("State", "pc pos seen bytes counter durable gen failed leader captured sleeping kills failures")

ENDED = ("told", "doubt", "dead")

WITHOUT = {
    "position": "a waiter is content when any sync ended after it began to wait",
    "counter-before": "the leader raises the watermark to the counter it reads after the sync",
    "timeout": "a waiter sleeps until it is woken",
    "failed-first": "the lead is freed before the failure is recorded",
    "no-retry": "a sync after a failed one is believed",
    "recheck": "a watermark is raised although another sync failed meanwhile",
    "append-before-counter": "the counter goes up before the bytes are in the page cache",
}


def check(without=(), writers=3, kills=1, failures=1):
    ids = range(writers)
    first = State(("idle",) * writers, (0,) * writers, (0,) * writers, (ABSENT,) * writers, 0, 0, 0, 0, None, (0,) * writers, (0,) * writers, 0, 0)

    def set_pc(s, w, to):
        return s._replace(pc=put(s.pc, w, to))

    def wake_all(s):
        return s._replace(gen=s.gen + 1, sleeping=(0,) * writers)

    def writer(s, w, add):
        pc = s.pc[w]

        def go(label, state, to):
            add(f"W{w} {label}", set_pc(state, w, to))

        if pc == "idle":
            if s.failed:
                go("is refused", s, "doubt")
            elif "append-before-counter" in without:
                go("takes its position", s._replace(counter=s.counter + 1, pos=put(s.pos, w, s.counter + 1)), "counted")
            else:
                go("appends", s._replace(bytes=put(s.bytes, w, CACHED), counter=s.counter + 1, pos=put(s.pos, w, s.counter + 1)), "look")
        elif pc == "counted":
            go("writes its bytes", s._replace(bytes=put(s.bytes, w, CACHED)), "look")
        elif pc == "look":
            # the generation is read before the watermark, or a wake-up in between is lost
            if "position" in without and s.seen[w] and s.gen >= s.seen[w]:
                go("sees a later generation", s, "told")
            elif s.durable >= s.pos[w] and not ("position" in without):
                go("is covered", s, "told")
            elif s.failed and "no-retry" not in without:
                go("sees the failure", s, "doubt")
            elif s.leader is None:
                go("leads", s._replace(leader=w), "leading")
            else:
                go("goes to sleep", s._replace(sleeping=put(s.sleeping, w, 1), seen=put(s.seen, w, s.gen + 1)), "asleep")
        elif pc == "asleep":
            if not s.sleeping[w]:
                go("is woken", s, "look")
            if s.sleeping[w] and "timeout" not in without:
                go("loses patience, reads the counter", s._replace(sleeping=put(s.sleeping, w, 0), captured=put(s.captured, w, s.counter)), "alone")
                go("looks again after a while", s._replace(sleeping=put(s.sleeping, w, 0)), "look")
        elif pc == "alone":
            if s.failed and "no-retry" not in without:
                go("sees the failure", s, "doubt")
            else:
                go("syncs alone", s._replace(bytes=tuple(DURABLE if b == CACHED else b for b in s.bytes)), "alone-synced")
                if s.failures < failures:
                    dropped = tuple(DROPPED if b == CACHED else b for b in s.bytes)
                    go("fails to sync alone, records it", wake_all(s._replace(bytes=dropped, failures=s.failures + 1, failed=1)), "doubt")
        elif pc == "alone-synced":
            if s.failed and "recheck" not in without and "no-retry" not in without:
                go("sees a failure beside its own sync", s, "doubt")
            else:
                go("raises the watermark", wake_all(s._replace(durable=max(s.durable, s.captured[w]))), "look")
        elif pc == "leading":
            if s.failed and "no-retry" not in without:
                go("sees the failure, frees the lead", wake_all(s._replace(leader=None)), "doubt")
            elif "counter-before" in without:
                go("begins to sync", s, "syncing")
            else:
                go("reads the counter", s._replace(captured=put(s.captured, w, s.counter)), "syncing")
        elif pc == "syncing":
            after = tuple(DURABLE if b == CACHED else b for b in s.bytes)
            go("syncs", s._replace(bytes=after), "synced")
            if s.failures < failures:
                dropped = tuple(DROPPED if b == CACHED else b for b in s.bytes)
                t = s._replace(bytes=dropped, failures=s.failures + 1)
                if "failed-first" in without:
                    go("fails to sync, frees the lead", t._replace(leader=None), "failing")
                else:
                    go("fails to sync, records it", t._replace(failed=1), "failing")
        elif pc == "failing":
            if "failed-first" in without:
                go("records the failure", wake_all(s._replace(failed=1)), "doubt")
            else:
                go("frees the lead", wake_all(s._replace(leader=None)), "doubt")
        elif pc == "synced":
            high = s.counter if "counter-before" in without else s.captured[w]
            if s.failed and "recheck" not in without and "no-retry" not in without:
                go("sees a failure beside its own sync, frees the lead", wake_all(s._replace(leader=None)), "doubt")
            else:
                go("raises the watermark", s._replace(durable=max(s.durable, high)), "raised")
        elif pc == "raised":
            go("frees the lead", s._replace(leader=None), "freed")
        elif pc == "freed":
            go("wakes all", wake_all(s), "look")
        if pc not in ENDED + ("idle",) and s.kills < kills:
            # the kernel frees the lead, and tells nobody
            t = s._replace(kills=s.kills + 1, leader=None if s.leader == w else s.leader, sleeping=put(s.sleeping, w, 0))
            go("is killed", t, "dead")

    def steps(s):
        out = []
        for w in ids:
            writer(s, w, lambda label, state: out.append((label, state)))
        return out

    def fault(s):
        for w in ids:
            if s.pc[w] == "told" and s.bytes[w] != DURABLE:
                return "LOST: told that it is stored, and it is not on the disk"
        waiting = [w for w in ids if s.pc[w] == "asleep"]
        if waiting and not steps(s):
            return "HANG: somebody sleeps and nobody will wake it"
        return None

    return explore(first, steps, fault)


def main():
    cases = [("group sync, three writers, a killed leader, a failing sync, full protocol", False, check)]
    for rule, text in WITHOUT.items():
        cases.append((f"seeded: {text}", True, lambda rule=rule: check((rule,))))
    return run_cases(cases)


if __name__ == "__main__":
    sys.exit(main())
