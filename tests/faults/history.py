"""What clients saw, and whether the promises allow it.

A history is a list of operations on a few names, each with the time before its
system calls and the time after them.  It is right when all operations can be
put in one order, each at a moment between its two times, in which every result
is what a directory would have given (linearizability: Herlihy and Wing 1990).
The search is Wing and Gong's with memory of the states that were tried; reads
change nothing, so they are taken as soon as they fit.

Where the file system promises less than that, the operation is given more room:

  begin   earlier than its call, for a read that may see what the kernel still
          holds of a name that another node replaced
  end     never, for a change whose effect is unknown; it may also be left out
  idle    a rename for which the kernel may still have held both names for the
          same object: then it is done without anybody being asked; a remove that
          was sent again because its answer was lost, and found nothing: it is not
          known whether it had removed the object itself
"""

NEVER = float("inf")
ABSENT = None

READS = ("get", "stat")

# How much of a wrong history is shown.
SHOWN, SHOWN_S = 12, 0.02


class Operation:
    """One operation.  `value` is the number of a put, ABSENT for no such name."""

    __slots__ = ("kind", "name", "other", "value", "begin", "end", "unknown", "idle", "note")

    def __init__(self, kind, name, value=ABSENT, other=None, begin=0.0, end=0.0, unknown=False,
                 idle=False, note=""):
        # get, stat, put, remove, rename, remove_absent, rename_absent
        self.kind = kind
        self.name = name
        self.other = other          # of a rename: the new name
        self.value = value
        self.begin = begin
        self.end = NEVER if unknown else end
        self.unknown = unknown
        self.idle = idle            # it may have succeeded without a change, see above
        self.note = note

    @property
    def changes(self):
        return self.kind in ("put", "remove", "rename")

    def fits(self, state):
        """Of what changes nothing: whether it is what a directory in this state gives."""
        if self.kind in READS:
            return state.get(self.name) == self.value
        return self.name not in state

    def outcomes(self, state):
        """Of a change: the states that there can be after it, none if it can't have been."""
        if self.kind == "put":
            return [{**state, self.name: self.value}]
        found = []
        if self.idle and (self.kind == "rename" or self.name not in state):
            found.append(state)
        if self.name in state:
            after = dict(state)
            value = after.pop(self.name)
            if self.kind == "rename":
                after[self.other] = value
            found.append(after)
        return found

    def __str__(self):
        end = "   never" if self.end == NEVER else f"{self.end:8.3f}"
        what = {"put": f" = {self.value}", "get": f" = {self.value}", "stat": f" = {self.value}",
                "rename": f" -> {self.other}"}.get(self.kind, "")
        unknown = " (effect unknown)" if self.unknown else ""
        return f"{self.begin:8.3f} {end}  {self.kind} {self.name}{what}{unknown}  {self.note}"


class TooHard(Exception):
    """The search has seen too many states: the history is neither right nor wrong."""


def explain(operations, state_count_max=20_000):
    """None when the history is right, else the text of what can't be placed."""
    operations = sorted(operations, key=lambda o: o.begin)
    tried = set()
    best = (NEVER, 0, {}, None)
    stack = [((1 << len(operations)) - 1, {}, None)]    # left, state, (change, those before)
    while stack:
        left, state, order = stack.pop()
        left, horizon = _absorb(operations, left, state)
        must_count = sum(1 for _ in _must(operations, left))
        if must_count == 0:
            return None
        mark = (left, tuple(sorted(state.items())))
        if mark in tried:
            continue
        tried.add(mark)
        if len(tried) > state_count_max:
            raise TooHard(f"{len(operations)} operations")
        if must_count < best[0]:
            best = (must_count, left, state, order)
        # What ends first is most likely to have come first: it is tried first.
        for index in sorted(_candidates(operations, left, horizon),
                            key=lambda i: operations[i].end, reverse=True):
            stack += [(left & ~(1 << index), after, (operations[index], order))
                      for after in operations[index].outcomes(state)]
    return _told(operations, *best[1:])


def _bits(left):
    while left:
        low = left & -left
        yield low.bit_length() - 1
        left ^= low


def _candidates(operations, left, horizon):
    """Changes that may come next."""
    for index in _bits(left):
        if operations[index].begin > horizon:
            return
        if operations[index].changes:
            yield index


def _must(operations, left):
    return (operations[index] for index in _bits(left) if not operations[index].unknown)


def _horizon(operations, left):
    """Nothing that begins after this can come next."""
    return min((operation.end for operation in _must(operations, left)), default=NEVER)


def _absorb(operations, left, state):
    """Take all that changes nothing and fits; returns what is left, and its horizon."""
    while True:
        horizon = _horizon(operations, left)
        taken = left
        for index in _bits(left):
            operation = operations[index]
            if operation.begin > horizon:
                break
            if not operation.changes and (operation.unknown or operation.fits(state)):
                taken &= ~(1 << index)
        if taken == left:
            return left, horizon
        left = taken


def _told(operations, left, state, order):
    """The place where the best attempt got stuck, and what is around it."""
    horizon = _horizon(operations, left)
    before = []
    while order and len(before) < SHOWN:
        before.insert(0, f"  {order[0]}")
        order = order[1]
    waiting = [operations[i] for i in _bits(left)]
    next_ones = sorted((o for o in waiting if o.begin <= horizon), key=lambda o: o.end)
    lines = ["no order explains it; the last changes that could be placed:", *before,
             f"names then: {state}; what must come next, the first to end first:"]
    lines += [f"  {o}" for o in next_ones if o.changes or o.end <= horizon + SHOWN_S]
    lines.append("what comes after:")
    later = sorted((o for o in waiting if o.begin > horizon), key=lambda o: o.end)
    return "\n".join(lines + [f"  {o}" for o in later[:SHOWN]])
