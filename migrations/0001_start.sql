-- Times are milliseconds since 1970 in UTC; each is written once. A null time means "not yet".
-- Every list a page shows has an index whose order is the list's order (store/plans.rs holds the queries to that).

create table cursors (
    name  text primary key,          -- 'search', 'sweep', ...
    value text not null
) without rowid;

create table repositories (
    id           integer primary key,  -- the forge's own number, which survives a rename
    owner        text    not null,
    name         text    not null,
    enrolled     integer not null check (enrolled in (0, 1)),
    why          text    not null,     -- the rule that enrolled it, or why none did
    watermark    integer not null,     -- newest comment's update seen here, by the forge's clock
    seen_at      integer not null,
    first_look_at integer not null,    -- by the forge's clock; what was written before is history
    last_look_at integer,              -- the last one that went well
    tried_at     integer,              -- the last one, well or not: sweeps take who waited longest
    last_error   text,
    recipe       text                  -- what its `.env.sample` calls it, once a run has read that
);
create unique index repositories_by_name on repositories (owner, name);

-- Every comment that was ever looked at, commands or not, so that a later edit cannot make an old one a request.
create table comments (
    id          integer primary key,   -- the forge's own number
    repository  integer not null references repositories (id),
    pr          integer,               -- null: it stands on an issue
    author      text    not null,
    excerpt     text    not null,      -- first line, at most 200 characters
    command     text,                  -- what was asked, as the grammar understood it; null when nothing was
    created_at  integer not null,
    updated_at  integer not null,
    seen_at     integer not null,
    looks       integer not null default 0,  -- how often the forge's answer was not yet enough to decide
    decision    text check (decision in ('ignored', 'refused', 'answered', 'accepted')),
    reason      text,
    decided_at  integer,
    run         integer references runs (id),
    check ((decision is null) = (decided_at is null) and (decision is null) = (reason is null)),
    check (run is null or decision = 'accepted')
);
create index comments_undecided on comments (id) where decision is null;
create index comments_refused on comments (repository, pr, author) where decision = 'refused';
create index decisions_newest on comments (decided_at desc, id desc) where command is not null;

create table runs (
    id            integer primary key autoincrement,
    origin        text    not null check (origin in ('comment', 'command-line', 'api', 'schedule', 'local')),
    repository    integer references repositories (id),
    repo_name     text    not null,    -- owner/name when it was asked; a path for a local run
    recipe        text    not null,    -- the repository's name until fetch has read the recipe's own
    pr            integer,
    head          text    not null check (length(head) = 40),
    base_branch   text,                -- the branch the pull request wants to go to
    title         text    not null default '',
    comment       integer references comments (id),
    asked_by      text    not null,
    asked         text    not null,    -- the stages wanted: 'all', 'install', ...
    attempt       integer not null default 1 check (attempt between 1 and 9),
    retry_of      integer references runs (id),
    superseded_by integer references runs (id),
    queued_at     integer not null,
    started_at    integer,
    finished_at   integer,
    outcome       text check (outcome in
                    ('passed', 'failed', 'infra', 'timed-out', 'cancelled', 'superseded', 'interrupted')),
    reason        text,                -- the one line that matters first
    version       text,                -- the head's version label
    domain        text,
    base          text,                -- the version or commit an upgrade started from
    level         integer check (level between 0 and 6),
    level_reason  text,
    cancel_at     integer,
    cancel_by     text,
    waits_for     text,                -- why it has not started, in words
    unredactable  text,                -- names of secrets too short to be masked
    check ((finished_at is null) = (outcome is null)),
    check (started_at is null or started_at >= queued_at),
    check (superseded_by is null or superseded_by <> id)
);
create index runs_waiting on runs (id) where finished_at is null;
create index runs_newest on runs (id desc);
create index runs_by_recipe on runs (recipe, id desc);
create index runs_by_outcome on runs (outcome, id desc);
create index runs_by_recipe_outcome on runs (recipe, outcome, id desc);
create index runs_by_pr on runs (repository, pr, id desc);

create table stages (
    run         integer not null references runs (id) on delete cascade,
    ordinal     integer not null,
    name        text    not null check (name in
                  ('fetch', 'lint', 'install', 'checks', 'backup', 'upgrade', 'uninstall')),
    state       text    not null check (state in
                  ('waiting', 'running', 'passed', 'failed', 'infra', 'timed-out', 'not-applicable', 'not-tested', 'skipped')),
    reason      text,
    started_at  integer,
    finished_at integer,
    waited_ms   integer not null default 0,  -- of its time, what the recipe's own update monitor asked for
    primary key (run, ordinal),
    unique (run, name),
    check (state not in ('not-applicable', 'not-tested', 'skipped') or reason is not null),
    check (state <> 'waiting' or finished_at is null)
) without rowid;

-- One assertion with a name.
create table checks (
    run      integer not null references runs (id) on delete cascade,
    ordinal  integer not null,
    stage    text    not null,
    name     text    not null,
    state    text    not null check (state in ('passed', 'failed', 'warning', 'skipped')),
    expected text,
    got      text,
    took_ms  integer,
    primary key (run, ordinal)
) without rowid;

-- What was made outside: a row stands here before the thing does, and says when it was proven gone.
create table apps (
    id         integer primary key,
    run        integer not null references runs (id),
    domain     text    not null unique,
    stack      text    not null,
    abra_dir   text    not null,
    created_at integer not null,
    gone_at    integer,
    leftovers  text                     -- what the last teardown failed to remove, one a line
);
create index apps_standing on apps (id) where gone_at is null;
create index apps_by_run on apps (run);

-- What the forge is to hear. A row stands here in the transaction that decided it.
create table outbox (
    id         integer primary key autoincrement,
    key        text    not null,        -- one open row a key: asking again makes the open one newer
    kind       text    not null check (kind in ('reaction', 'status', 'comment', 'reply')),
    repository integer not null references repositories (id),
    pr         integer not null,
    run        integer references runs (id),
    comment    integer references comments (id),
    body       text,                    -- of a reply
    newness    integer not null default 0,
    created_at integer not null,
    due_at     integer not null,
    tried_at   integer,                 -- set before the first attempt: from then on the forge may have it already
    attempts   integer not null default 0,
    last_error text,
    done_at    integer,
    gave_up_at integer,
    check (done_at is null or gave_up_at is null)
);
create unique index outbox_open on outbox (key) where done_at is null and gave_up_at is null;
create index outbox_due on outbox (due_at, id) where done_at is null and gave_up_at is null;

-- The one comment a pull request's head has, and what was last said on it.
create table voices (
    repository integer not null references repositories (id),
    pr         integer not null,
    head       text    not null,
    comment    integer,                 -- the forge's number of our comment; null until it is there
    body_hash  text,
    verdict_of integer,                 -- the run whose verdict it shows; null while it shows progress
    replaced   integer,                 -- the comment that `comment` took the place of, still to be deleted
    status     text,                    -- last status the forge took: state, tab, description
    primary key (repository, pr, head)
) without rowid;

-- What happened, for live pages: read by id, trimmed by age.
create table events (
    id   integer primary key autoincrement,
    at   integer not null,
    run  integer,
    kind text    not null,              -- 'run', 'stage', 'check', 'queue', 'decision', 'host', 'report'
    text text    not null
);
create index events_by_run on events (run, id);

-- Each process says here that it lives and what it sees.
create table heartbeats (
    process    text primary key check (process in ('serve', 'runner')),
    pid        integer not null,
    version    text    not null,
    started_at integer not null,
    at         integer not null,
    facts      text    not null          -- JSON, by process
) without rowid;
