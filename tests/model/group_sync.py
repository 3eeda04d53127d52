#!/usr/bin/env python3
"""Model of the group sync: many writers, one fdatasync for all of them (gw-queue(5), sync.cpp).

Writers append at a position and wait until the durable watermark has passed it. One of them at a time leads: it reads the counter,
syncs, raises the watermark, frees the lead, wakes the rest. Leaders are killed at any step and stopped for ever; a sync may fail, after
which the kernel has dropped the data and reports the next sync as fine. That a sync fails and that this is recorded is one step here: the
kernel reports the error to every descriptor that was open, so a leader that dies in between leaves it to the next one to find out.
Who has slept for long syncs by itself, without the lead: the leader may be stopped.

The steps in the code: appends: QueueImpl::append_some (bytes, then next_seq); reads the watermark, looks for failures, leads, sleeps: the
loop of group_sync(); reads the counter, syncs, raises: sync_once(); is refused: log_broken, after which a new segment is begun.

What must hold: who is told "stored" is on the disk; nobody waits for ever; after a failed sync nobody whose data was in it is told "stored".
"""
import sys
from collections import namedtuple

from explore import explore, put, run_cases

# what became of one writer's bytes
ABSENT, CACHED, DURABLE, DROPPED = range(4)

State = namedtuple("State", "pc pos fresh slept covered bytes counter durable failed leader captured sleeping kills failures")

ENDED = ("told", "doubt", "dead")

WITHOUT = {
    "position": "a waiter is content when any sync ended after it began to wait",
    "counter-before": "the leader raises the watermark to the counter it reads after the sync",
    "timeout": "a waiter sleeps until it is woken",
    "failed-first": "the lead is freed before the failure is recorded",
    "no-retry": "a sync after a failed one is believed",
    "watermark-first": "a waiter looks for failed syncs before it reads the watermark",
    "failure-wins": "a waiter that sees the watermark above its position does not look for failed syncs",
    "append-before-counter": "the counter goes up before the bytes are in the page cache",
}


def check(without=(), writers=3, kills=1, failures=1):
    ids = range(writers)
    first = State(("idle",) * writers, (0,) * writers, (0,) * writers, (0,) * writers, (0,) * writers, (ABSENT,) * writers, 0, 0, 0, None, (0,) * writers, (0,) * writers, 0, 0)

    def set_pc(s, w, to):
        s = s._replace(pc=put(s.pc, w, to))
        if to in ENDED:  # what it knew does not matter any more
            s = s._replace(fresh=put(s.fresh, w, 0), slept=put(s.slept, w, 0), covered=put(s.covered, w, 0), captured=put(s.captured, w, 0))
        return s

    def wake_all(s):
        # only whether the generation has changed matters, not its number
        return s._replace(fresh=(0,) * writers, slept=tuple(2 if x else 0 for x in s.slept), sleeping=(0,) * writers)

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
            # The generation is read before the watermark, or a wake-up in between is lost; the watermark before the failures, or
            # a failure and a later good sync fit in between.
            s = s._replace(fresh=put(s.fresh, w, 1))
            if s.slept[w] == 2:
                go("sees a later generation", s, "told")
            elif "watermark-first" in without:
                go("looks for failures", s, "doubt" if s.failed else "look2")
            else:
                go("reads the watermark", s._replace(covered=put(s.covered, w, int(s.durable >= s.pos[w]))), "look2")
        elif pc == "look2":
            covered = s.durable >= s.pos[w] if "watermark-first" in without else s.covered[w]
            doubt = s.failed and "no-retry" not in without and "watermark-first" not in without
            if "position" in without:
                covered = False
            if covered and "failure-wins" in without:
                go("is covered", s, "told")
            elif doubt:
                go("sees the failure", s, "doubt")
            elif covered:
                go("is covered", s, "told")
            elif s.leader is None:
                go("leads", s._replace(leader=w), "leading")
            elif s.fresh[w]:
                slept = int("position" in without)
                go("goes to sleep", s._replace(sleeping=put(s.sleeping, w, 1), slept=put(s.slept, w, slept)), "asleep")
            else:
                go("sees a new generation", s, "look")
        elif pc == "asleep":
            if not s.sleeping[w]:
                go("is woken", s, "look")
            if s.sleeping[w] and "timeout" not in without:
                go("loses patience, reads the counter", s._replace(sleeping=put(s.sleeping, w, 0), captured=put(s.captured, w, s.counter)), "alone")
                go("looks again after a while", s._replace(sleeping=put(s.sleeping, w, 0)), "look")
        elif pc == "alone":
            go("syncs alone", s._replace(bytes=tuple(DURABLE if b == CACHED else b for b in s.bytes)), "alone-synced")
            if s.failures < failures:
                dropped = tuple(DROPPED if b == CACHED else b for b in s.bytes)
                go("fails to sync alone, records it", wake_all(s._replace(bytes=dropped, failures=s.failures + 1, failed=1)), "doubt")
        elif pc == "alone-synced":
            go("raises the watermark", wake_all(s._replace(durable=max(s.durable, s.captured[w]))), "look")
        elif pc == "leading":
            if "counter-before" in without:
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

    def alike(s):
        """The writers are alike: in the order of what they are and know."""
        of_each = zip(s.pc, s.pos, s.fresh, s.slept, s.covered, s.bytes, s.captured, s.sleeping, (w == s.leader for w in ids))
        pc, pos, fresh, slept, covered, kept, captured, sleeping, leads = zip(*sorted(of_each))
        return State(pc, pos, fresh, slept, covered, kept, s.counter, s.durable, s.failed, leads.index(True) if True in leads else None,
                     captured, sleeping, s.kills, s.failures)

    return explore(first, steps, fault, alike)


def main():
    cases = [("group sync, three writers, a killed leader, a failing sync, full protocol", False, check)]
    for rule, text in WITHOUT.items():
        cases.append((f"seeded: {text}", True, lambda rule=rule: check((rule,))))
    return run_cases(cases)


if __name__ == "__main__":
    sys.exit(main())
