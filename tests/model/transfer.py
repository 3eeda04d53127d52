#!/usr/bin/env python3
"""Model of a transfer: acks, defers and puts that leave in one commit (Root::commit, gw-queue(5)).

What it has: movers that stage their copies, take the source out of reach of a revoked lease, append the commit record and
apply it; helpers that apply somebody else's commit; recovery of a dead mover in steps, each of which may be cut off by the death of the
recoverer; a consumer of the targets; write-back of any dirty page at any time; retirement of the commit
record and removal of the source's segment; power loss at any instant with every subset of what had not reached the disk.

The steps in the code (libcommon/queue): stages, syncs the targets: Committer::append_all, sync_batches; marks the claim leaving:
leave_sources (QueueImpl::leave); writes, publishes the commit: RootImpl::append_commits (write_at, then commit_appended); syncs the commit:
sync_commits; shows a copy: QueueImpl::publish; finishes the source: QueueImpl::apply_source; a helper: RootImpl::apply from
retire_commit_file; recovery: RootImpl::recover_owner (repair_commit_log, append_commits of its own copy and sync_commits, apply, then
QueueImpl::recover_owner, which voids and gives back); retired: retire_commit_file; removed: QueueImpl::maintain; after a power loss:
RootImpl::boot_recovery and QueueImpl::decide_words. That the recoverer dies before its slot is free is "is killed itself".

What must hold: one copy at most becomes visible per target; what was acknowledged is there after any crash; a commit with
several targets is there whole or not at all; the source is not offered again once a copy was visible; nothing vanishes.

Every rule of the protocol that can be left out is left out in turn (WITHOUT): the model must then find a fault, else it
proves nothing.
"""
import sys
from collections import namedtuple

from explore import explore, put, run_cases

# words of a message: EMPTY counts as staged (the frame says so), READY, DONE, VOID; RETRY is READY or DEFERRED with one failure counted
STAGED, READY, DONE, VOID, RETRY = "SRDVF"
# what a log append is: nothing, in the page cache, on the disk, retired; a commit record also: written and not published yet (the
# appender has not moved commit_appended over it), in the page cache or on the disk
NONE, CACHED, DURABLE, RETIRED, WRITTEN, WRITTEN_BACK = range(6)

State = namedtuple("State", "src src_disk removed claim pc rec commit frame mem disk shown acks consumer told src_taker src_acked losses kills leases")

ENDED = ("idle", "done", "gone", "aborted")

WITHOUT = {
    "retire-sync": "a commit record is retired before the words that follow from it are synced",
    "recovery-sync": "recovery acts on a commit record that it did not sync",
    "give-back-last": "recovery gives the claims back before it has applied the commits",
    "stage-sync": "the staged copies are not synced before the commit record",
    "leaving": "a lease can be revoked from a mover that commits",
    "exact-word": "applying a commit overwrites whatever the word is",
    "removed-source": "recovery takes a commit whose source's segment is gone as finished",
    "wipe": "recovery leaves a commit record that was written and not published in the log",
    "commit-record": "each target is published for itself, without a commit record",
    "commit-sync": "the commit record is applied before it is synced",
}


def check(without=(), movers=2, targets=1, source=True, defer=False, losses=2, kills=2):
    cells = [(p, t) for p in range(movers) for t in range(targets)]
    index = {cell: i for i, cell in enumerate(cells)}
    n = len(cells)
    outcome = RETRY if defer else DONE  # what the commit makes of the source
    first = State(READY if source else DONE, READY if source else DONE, 0, None, ("idle",) * movers, (0,) * movers, (NONE,) * movers,
                  (NONE,) * n, (STAGED,) * n, (STAGED,) * n, (0,) * n, (0,) * n, None, (0,) * movers, 0, 0, 0, 0, 0)

    def of(p):
        return [index[p, t] for t in range(targets)]

    def sync_logs(s):
        return s._replace(frame=tuple(DURABLE if f == CACHED else f for f in s.frame))

    def sync_commits(s):
        return s._replace(commit=tuple(DURABLE if c == CACHED else c for c in s.commit))

    def show(s, i):
        """STAGED -> READY by compare-and-swap; a frame that is not there cannot be shown."""
        if s.frame[i] == NONE:
            return s
        if s.mem[i] == STAGED or ("exact-word" in without and s.mem[i] != READY):
            s = s._replace(mem=put(s.mem, i, READY))
        return s._replace(shown=put(s.shown, i, 1))

    def finish_source(s):
        """From the one word that the commit record names, never from another."""
        if source and not s.removed and (s.src == READY or "exact-word" in without):
            return s._replace(src=outcome)
        return s

    def apply(s, p):
        for i in of(p):
            s = show(s, i)
        return finish_source(s)

    def void(s, p):
        for i in of(p):
            if s.mem[i] == STAGED:
                s = s._replace(mem=put(s.mem, i, VOID))
        return s

    def mover(s, p, add):
        pc = s.pc[p]

        def go(label, state, to):
            add(f"P{p} {label}", state._replace(pc=put(state.pc, p, to)))

        if pc == "idle":
            if not source:
                go("begins", s, "claimed")
            elif s.claim is None and s.src == READY and not s.removed:
                go("claims", s._replace(claim=(p, 0)), "claimed")
        elif pc == "claimed":  # the copies are appended, target by target
            missing = [i for i in of(p) if s.frame[i] == NONE]
            if missing:
                go("stages", s._replace(frame=put(s.frame, missing[0], CACHED)), "claimed" if missing[1:] else "staged")
        elif pc == "staged":
            go("syncs the targets", s if "stage-sync" in without else sync_logs(s), "synced")
        elif pc == "synced":
            if not source or s.claim == (p, 0):
                go("marks the claim leaving", s._replace(claim=(p, 1)) if source else s, "leaving")
            elif "leaving" in without:
                go("goes on", s, "leaving")
            else:
                go("lost its claim, aborts", void(s, p), "aborted")
        elif pc == "leaving":
            if "commit-record" in without:
                go("has no commit record", s, "committed")
            else:
                go("writes the commit", s._replace(commit=put(s.commit, p, WRITTEN)), "written")
        elif pc == "written":
            go("publishes its commit", s._replace(commit=put(s.commit, p, CACHED if s.commit[p] == WRITTEN else DURABLE)), "appended")
        elif pc == "appended":
            go("syncs the commit", s if "commit-sync" in without else sync_commits(s), "committed")
        elif pc == "committed":
            left = [i for i in of(p) if not s.shown[i]]
            if left:
                go("shows a copy", show(s, left[0]), "committed")
            else:
                go("finishes the source", finish_source(s)._replace(claim=None if s.claim == (p, 1) else s.claim), "applied")
        elif pc == "applied":
            go("returns success", s._replace(told=put(s.told, p, 1)), "done")
        if pc not in ENDED + ("dead",) and s.kills < kills:
            go("is killed", s._replace(kills=s.kills + 1), "dead")
        if s.commit[p] in (CACHED, DURABLE) and pc in ("appended", "committed", "applied") and "recovery-sync" not in without and \
                "commit-sync" not in without:
            add(f"a helper applies the commit of P{p}", apply(sync_logs(sync_commits(s)), p))
        if s.claim and s.claim[0] == p and pc != "dead" and s.leases < 1 and (not s.claim[1] or "leaving" in without):
            add(f"the lease of P{p} is revoked", s._replace(claim=None, leases=1))

    def recovery(s, p, add):
        """Restartable at each step: rec is how far it got."""
        if s.pc[p] != "dead":
            return
        at = s.rec[p]

        def go(label, state, to):
            add(f"recovery of P{p} {label}", state._replace(rec=put(state.rec, p, to)))

        if at == 0 and "give-back-last" in without and s.claim and s.claim[0] == p:
            go("gives back first", s._replace(claim=None), 0)
        if at == 0 and "wipe" not in without and s.commit[p] in (WRITTEN, WRITTEN_BACK):
            go("wipes what was not published", s._replace(commit=put(s.commit, p, NONE)), 0)
        elif at == 0:
            go("syncs the evidence", s if "recovery-sync" in without else sync_logs(sync_commits(s)), 1)
        elif at == 1:
            go("applies the commit", apply(s, p) if s.commit[p] in (CACHED, DURABLE) else s, 2)
        elif at == 2:
            go("voids what is still staged", void(s, p), 3)
        elif at == 3:
            t = s._replace(claim=None) if s.claim and s.claim[0] == p else s
            add(f"recovery of P{p} gives back", t._replace(rec=put(t.rec, p, 0), pc=put(t.pc, p, "gone")))
        if at:
            go("is killed itself", s, 0)

    def consumer(s, add):
        if s.consumer is None:
            for i in range(n):
                if s.mem[i] == READY:
                    add(f"consumer claims copy {i}", s._replace(consumer=(i, 0)))
            return
        i, step = s.consumer
        if step == 0:
            add(f"consumer marks copy {i} done", s._replace(mem=put(s.mem, i, DONE), consumer=(i, 1)))
        else:
            add(f"ack of copy {i} returns", s._replace(disk=s.mem, consumer=None, acks=put(s.acks, i, s.acks[i] + 1)))
        add("consumer is killed", s._replace(consumer=None))

    def source_consumer(s, add):
        """Takes the deferred source again and acks it."""
        if s.src == RETRY and s.claim is None and not s.src_taker and not s.removed:
            add("the source is claimed again", s._replace(src_taker=1))
        if s.src_taker:
            add("the source is acked", s._replace(src=DONE, src_disk=DONE, src_taker=0, src_acked=1))

    def kernel(s, add):
        if s.src_disk != s.src:
            add("write-back of the source's word", s._replace(src_disk=s.src))
        for i in range(n):
            if s.disk[i] != s.mem[i]:
                add(f"write-back of word {i}", s._replace(disk=put(s.disk, i, s.mem[i])))
            if s.frame[i] == CACHED:
                add(f"write-back of frame {i}", s._replace(frame=put(s.frame, i, DURABLE)))
        for p in range(movers):
            if s.commit[p] == WRITTEN:
                add(f"write-back of commit {p}", s._replace(commit=put(s.commit, p, WRITTEN_BACK)))
            if s.commit[p] == CACHED:
                add(f"write-back of commit {p}", s._replace(commit=put(s.commit, p, DURABLE)))

    def cleaning(s, add):
        for p in range(movers):
            finished = s.pc[p] in ("done", "gone") or (s.src != READY and all(s.mem[i] in (READY, DONE) for i in of(p)))
            if s.commit[p] == DURABLE and finished:
                t = s if "retire-sync" in without else s._replace(disk=s.mem, src_disk=s.src)
                add(f"commit {p} is retired", t._replace(commit=put(t.commit, p, RETIRED)))
        if source and s.src == DONE and not s.removed and s.claim is None and "dead" not in s.pc:
            add("the source's segment is synced and removed", s._replace(src_disk=DONE, removed=1))

    def power_loss(s, add):
        if s.losses >= losses:
            return
        options = [s]
        for i in range(n):
            if s.frame[i] == CACHED:
                options = [o._replace(frame=put(o.frame, i, f)) for o in options for f in (NONE, DURABLE)]
        for p in range(movers):
            if s.commit[p] == WRITTEN_BACK:
                options = [o._replace(commit=put(o.commit, p, DURABLE)) for o in options]
            if s.commit[p] in (CACHED, WRITTEN):
                options = [o._replace(commit=put(o.commit, p, c)) for o in options for c in (NONE, DURABLE)]
        for o in options:
            t = o._replace(src=o.src_disk, mem=o.disk, claim=None, consumer=None, src_taker=0, losses=o.losses + 1, rec=(0,) * movers,
                           pc=tuple(c if c == "idle" else "gone" for c in o.pc))
            for p in range(movers):
                if t.commit[p] == DURABLE and not ("removed-source" in without and t.removed):
                    t = apply(t, p)
            for p in range(movers):
                if t.pc[p] != "idle":
                    t = void(t, p)
            add("POWER LOSS, recovery", t)

    def steps(s):
        out = []

        def add(label, state):
            out.append((label, state))

        for p in range(movers):
            mover(s, p, add)
            recovery(s, p, add)
        consumer(s, add)
        source_consumer(s, add)
        kernel(s, add)
        cleaning(s, add)
        power_loss(s, add)
        return out

    def fault(s):
        quiet = all(c in ENDED for c in s.pc)
        for t in range(targets):
            if sum(s.shown[index[p, t]] for p in range(movers)) > 1:
                return "DOUBLE: two copies for one target became visible"
        for i in range(n):
            if s.acks[i] > 1:
                return "DOUBLE: acked twice"
            if s.acks[i] and s.mem[i] == READY:
                return "DOUBLE: visible again after its ack returned"
        if source and quiet and any(s.shown) and s.src == READY and s.claim is None and not s.removed:
            return "DOUBLE: a copy was visible and the source is offered again"
        if s.src_acked and s.src != DONE:
            return "DOUBLE: the source is offered again after its ack returned"
        if not quiet:
            return None
        there = [all(s.mem[i] in (READY, DONE) and s.frame[i] == DURABLE for i in of(p)) for p in range(movers)]
        if source and (s.src != READY or s.removed) and not any(there):
            return "LOST: the source is finished and the target has no copy"
        for p in range(movers):
            if s.told[p] and not there[p]:
                return "LOST: success was returned and a copy is missing"
            part = [i for i in of(p) if s.mem[i] in (READY, DONE) and s.frame[i] == DURABLE]
            if part and not there[p] and any(s.shown[i] for i in of(p)):
                return "TORN: one target has its copy, another never gets it"
        return None

    return explore(first, steps, fault)


def main():
    full = "--full" in sys.argv
    two = dict(losses=2, kills=2) if full else dict(losses=2, kills=1)
    fan = dict(movers=1, targets=2, source=False, losses=2, kills=2)
    defer = dict(movers=1, targets=1, defer=True, losses=2, kills=1)
    split = dict(movers=1, targets=2, source=True, losses=2, kills=2)
    cases = [
        ("transfer, two movers, full protocol", False, lambda: check(**two)),
        ("fan-out to two queues without a source, full protocol", False, lambda: check(**fan)),
        ("one source, two targets, full protocol", False, lambda: check(**split)),
        ("a source that is deferred while its copy leaves, full protocol", False, lambda: check(**defer)),
    ]

    def seeded(rule, **options):
        cases.append((f"seeded: {WITHOUT[rule]}", True, lambda: check((rule,), **options)))

    for rule in ("retire-sync", "recovery-sync", "give-back-last", "stage-sync", "leaving", "exact-word", "wipe"):
        seeded(rule, losses=2, kills=2)
    seeded("removed-source", losses=1, kills=0)
    seeded("exact-word", **defer)
    for rule in ("commit-record", "commit-sync", "stage-sync"):
        seeded(rule, **fan)
    return run_cases(cases)


if __name__ == "__main__":
    sys.exit(main())
