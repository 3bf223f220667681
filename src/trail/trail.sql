-- The trail. `events` is the truth: one row a fact, never updated, never deleted, each line carrying
-- the hash of the line before it. `grants` is a projection of it, for finding things; it is written in
-- the same transaction and `jitd audit verify` rebuilds it and compares.

CREATE TABLE events (
    seq      INTEGER PRIMARY KEY,
    grant_id TEXT,
    kind     TEXT NOT NULL,
    line     TEXT NOT NULL
) STRICT;

CREATE INDEX events_of_grant ON events (grant_id, seq) WHERE grant_id IS NOT NULL;

-- What may happen to a grant only once, also across restarts: an approval is spent when
-- `bind_intended` stands. Compared one by one, because for `IN` with this many SQLite fills a table of its own at each
-- insert, which took longer than the insert.
CREATE UNIQUE INDEX once ON events (grant_id, kind) WHERE
    kind = 'requested' OR kind = 'approved' OR kind = 'denied' OR kind = 'withdrawn' OR kind = 'lapsed'
    OR kind = 'bind_intended' OR kind = 'bound' OR kind = 'live' OR kind = 'unbind_intended' OR kind = 'ended';

CREATE TRIGGER events_are_not_updated BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'the trail is append-only'); END;

CREATE TRIGGER events_are_not_deleted BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'the trail is append-only'); END;

-- INSERT OR REPLACE deletes without asking the trigger above.
CREATE TRIGGER events_are_not_replaced BEFORE INSERT ON events
WHEN NEW.seq <= (SELECT max(seq) FROM events)
BEGIN SELECT RAISE(ABORT, 'the trail is append-only'); END;

-- `open` is 1 while a grant is not over, and 2 more while it owes a review.
CREATE TABLE grants (
    id        TEXT PRIMARY KEY,
    seq       INTEGER NOT NULL,
    requester TEXT NOT NULL,
    key       TEXT NOT NULL,
    groups    TEXT NOT NULL,
    open      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX grants_in_order ON grants (open, seq);
CREATE INDEX grants_by_key ON grants (key, requester);
CREATE INDEX grants_of_person ON grants (requester, seq);
