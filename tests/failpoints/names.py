"""What the promises allow to be found under each name, by what the calls returned.

One thread at a time changes names, so there is no order to search for: after a
call that succeeded there is one answer, after one that failed there are the
states before and after it.
"""

import errno

ABSENT = None
# Nothing has happened.
REFUSED = {errno.EROFS, errno.ENOSPC, errno.EAGAIN, errno.ENOENT, errno.EEXIST}


class Names:
    def __init__(self):
        self.may = {}       # name: what may be there, a set of contents and ABSENT
        self.moves = []     # (from, to, content) of renames in doubt: at one of both places
        self.failed = []    # texts of calls that failed

    def _tried(self, what, call, refused=REFUSED):
        """None: it succeeded; else its errno, and whether it may have happened."""
        try:
            call()
        except OSError as error:
            self.failed.append(f"{what}: {errno.errorcode.get(error.errno, error.errno)}")
            return error.errno, error.errno not in refused
        return None

    def put(self, name, content, call, in_place=False):
        """IN_PLACE: what was there is overwritten before anybody is asked."""
        before = self.may.get(name, {ABSENT})
        self.may[name] = before | {content}     # who looks meanwhile may see either
        failed = self._tried(f"put {name}", call)
        if not failed:
            self.may[name] = {content}
        elif not failed[1] and not in_place:
            self.may[name] = before
        return not failed

    def remove(self, name, call):
        before = self.may.get(name, {ABSENT})
        self.may[name] = before | {ABSENT}
        failed = self._tried(f"remove {name}", call)
        if not failed:
            self.may[name] = {ABSENT}
        elif not failed[1]:
            self.may[name] = before
        return not failed

    def rename(self, old, new, call):
        content, = self.may[old]
        before = self.may.get(new, {ABSENT})
        self.may[old], self.may[new] = {content, ABSENT}, before | {content}
        failed = self._tried(f"rename {old} to {new}", call)
        if not failed:
            self.may[old], self.may[new] = {ABSENT}, {content}
        elif not failed[1]:
            self.may[old], self.may[new] = {content}, before
        else:
            self.moves.append((old, new, content))
        return not failed

    def wrong(self, seen):
        """Texts of what is not allowed; SEEN is what was read of every name."""
        texts = [f"{name} is {text_of(seen[name])}, allowed: " +
                 " or ".join(sorted(text_of(content) for content in may))
                 for name, may in self.may.items() if seen[name] not in may]
        for old, new, content in self.moves:
            places = [name for name in (old, new) if seen[name] == content]
            if len(places) != 1:
                texts.append(f"what was at {old} and was to be at {new} is at {places or 'none'}")
        return texts

    def settle(self, seen):
        """From now on what was seen is what there is."""
        self.may = {name: {content} for name, content in seen.items()}
        self.moves = []


def text_of(content):
    if content is ABSENT:
        return "absent"
    return f"{len(content)} bytes of {bytes(content[:16]).decode('ascii', 'replace')!r}"
