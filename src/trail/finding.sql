-- What finds events: made anew from them when a trail of an earlier layout is opened.

-- `seq` is that of the request, so that what is asked for together, and mostly ends together, lies together. `at` is the
-- moment of the request in milliseconds. `open` is 1 while a grant is not over, and 2 more while it owes a review. `last`
-- is its newest event.
CREATE TABLE grants (
    seq       INTEGER PRIMARY KEY,
    id        TEXT NOT NULL UNIQUE,
    requester TEXT NOT NULL,
    key       TEXT NOT NULL,
    at        INTEGER NOT NULL,
    open      INTEGER NOT NULL,
    last      INTEGER NOT NULL
) STRICT;

CREATE INDEX grants_in_order ON grants (open);
CREATE INDEX grants_by_key ON grants (key, requester);
CREATE INDEX grants_of_person ON grants (requester);

-- The groups whose people may see a grant without having asked for it: those that may answer it or review it.
CREATE TABLE watchers (
    watcher TEXT NOT NULL,
    seq     INTEGER NOT NULL,
    PRIMARY KEY (watcher, seq)
) STRICT, WITHOUT ROWID;

-- From each event of a grant to the one before it. An index on the grants of the events would say the same, and there
-- each grant has its own page: 64 that are renewed at once would be 64 pages to write, where this is the end of one.
CREATE TABLE links (
    seq    INTEGER PRIMARY KEY,
    before INTEGER NOT NULL
) STRICT;

-- What the events of a grant that is over and owes no review made of it, as JSON: a list reads one row for each, and not all
-- that ever happened to it.
CREATE TABLE closed (
    seq  INTEGER PRIMARY KEY,
    made TEXT NOT NULL
) STRICT;

-- What may happen to a grant only once, also across restarts: an approval is spent when
-- `bind_intended` stands. Compared one by one, because for `IN` with this many SQLite fills a table of its own at each
-- insert, which took longer than the insert.
CREATE UNIQUE INDEX once ON events (grant_id, kind) WHERE
    kind = 'requested' OR kind = 'approved' OR kind = 'denied' OR kind = 'withdrawn' OR kind = 'lapsed'
    OR kind = 'bind_intended' OR kind = 'bound' OR kind = 'live' OR kind = 'unbind_intended' OR kind = 'ended';

-- The last word on whether things are given.
CREATE INDEX draining ON events (seq) WHERE kind IN ('drained', 'resumed');
