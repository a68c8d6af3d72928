"""Which step of which work is hit, in which process, and what makes that process take it.

Each step of the code (engine/base/failpoint.h) must stand here; run.py compares
this table with what the programs list.
"""

from collections import namedtuple

# point: the step.  taker: whose step it is.  work: what makes it take the step (work.py).
# victim: whom kill and stop hit then; None: the taker.  meanwhile: another node has seen the
# change and undoes it before the taker goes on (only stop).
Row = namedtuple("Row", "point taker work victim meanwhile", defaults=(None, False))

# At the node that changes something, and at the master that is asked.
NODE = {
    "put": ("put.recorded", "put.linked", "put.sent", "put.answered", "put.published"),
    "remove": ("remove.begun", "remove.sent", "remove.answered", "remove.done"),
    "rename": ("rename.begun", "rename.sent", "rename.answered", "rename.moved"),
}
MASTER = {
    "put": ("publish.received", "publish.applied"),
    "remove": ("remove.received", "remove.applied"),
    "rename": ("rename.received", "rename.applied"),
}
# What a master does with every change.
QUEUE = ("journal.queued", "etcd.begun", "etcd.sent", "answer.held", "etcd.answered",
         "answer.released")
FAILOVER = ("election.granted", "election.sent", "election.answered", "takeover.told",
            "takeover.entered", "takeover.stored", "takeover.serving")


def _changes(table, taker, victim=None):
    return [Row(point, taker, work, victim) for work, points in table.items() for point in points]


def _queue(victim=None, works=("put", "remove", "rename")):
    return [Row(point, "leader", work, victim) for work in works for point in QUEUE]


# The lanes of a usual run: a cluster each, all of them at the same time.
LANES = {
    "nodes": _changes(NODE, "writer") + [
        Row("put.linked", "writer", "replace"),
        Row("put.sent", "writer", "replace"),
        Row("put.answered", "writer", "replace"),
        Row("put.linked", "writer", "update"),
        Row("put.sent", "writer", "update"),
        Row("put.published", "writer", "update"),
        *[Row(f"{work}.sent", "writer", work, meanwhile=True) for work in NODE],
        Row("pull.granted", "writer", "read"),
        Row("pull.arriving", "reader", "read"),
        Row("pull.recorded", "reader", "read"),
        Row("pull.linked", "reader", "read"),
        Row("pull.told", "reader", "read"),
        Row("pull.arriving", "reader", "read", "writer"),
        Row("copy.begun", "reader", "copy"),
        Row("copy.made", "reader", "copy"),
        Row("announce.begun", "writer", "lose_the_leader"),
        Row("announce.sent", "writer", "lose_the_leader"),
        Row("announce.answered", "writer", "lose_the_leader"),
        Row("announce.done", "writer", "lose_the_leader"),
    ],
    "changes": _changes(MASTER, "leader") + _queue() + [
        Row("publish.applied", "leader", "replace"),
        Row("publish.applied", "leader", "update"),
        Row("copy.asked", "leader", "copy"),
        Row("copy.added", "leader", "copy"),
        Row("drain.set", "leader", "drain"),
    ],
    "leaders": [Row(point, "standby", "lose_the_leader") for point in FAILOVER] + [
        Row("announce.applied", "standby", "lose_the_leader"),
        Row("announce.swept", "standby", "lose_the_leader"),
        Row("lease.due", "leader", "wait"),
        Row("lease.answered", "leader", "wait"),
        Row("resign.asked", "leader", "step_down"),
        Row("resign.begun", "leader", "step_down"),
        Row("resign.sent", "leader", "step_down"),
        Row("follow.settled", "leader", "step_down"),
        Row("follow.taken", "standby", "put"),
    ],
    "members": _queue("member", ("put", "rename")) + [
        Row(point, "standby", "lose_the_leader", "member") for point in FAILOVER],
    "file": [Row(point, "leader", work) for point in ("file.begun", "file.appended")
             for work in ("put", "remove", "rename")] + [
        Row("file.smaller", "leader", "churn"),
        Row("file.replaced", "leader", "churn"),
        Row("drop.received", "leader", "fill"),
        Row("evict.dropped", "writer", "fill"),
        Row("evict.sent", "writer", "fill"),
    ],
}

# Each step of a change also while another process is hit; only with --all.
OTHERS = {
    "others": [row for victim in ("leader", "standby", "reader")
               for row in _changes(NODE, "writer", victim)] +
              [row for victim in ("standby", "writer")
               for row in _changes(MASTER, "leader", victim) + _queue(victim)] +
              _changes(NODE, "writer", "member") + _changes(MASTER, "leader", "member"),
}


def points():
    """Every step that the table takes."""
    return {row.point for rows in LANES.values() for row in rows}
