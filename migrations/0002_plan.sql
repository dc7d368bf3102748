-- What a run is going to do, and each deployment that it made.

alter table runs add column upgrade_from text;  -- the version that `from=` names; null: the usual one
alter table runs add column plan text;          -- JSON; null until fetch has read the repository

-- A row stands here before its deploy does. `before` keeps how the services stood then: the deploy wipes a rollback's trace.
create table deployments (
    run        integer not null references runs (id) on delete cascade,
    ordinal    integer not null,
    stage      text    not null,
    commit_id  text    not null check (length(commit_id) = 40),
    in_place   integer not null check (in_place in (0, 1)),
    at         integer not null,
    before     text    not null,
    primary key (run, ordinal)
) without rowid;
