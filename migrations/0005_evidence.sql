-- What a run keeps as proof: the bytes lie in the state directory as evidence/<run>/<name>, and a row says they are there.
create table evidence (
    run     integer not null references runs (id) on delete cascade,
    ordinal integer not null,
    stage   text    not null,
    name    text    not null check (name <> '' and name not glob '.*' and name not glob '*[^a-z0-9._-]*'),
    kind    text    not null check (kind in ('text', 'json', 'png')),
    bytes   integer not null,            -- as they lie there
    cut     integer not null default 0,  -- bytes left out of its middle
    primary key (run, ordinal),
    unique (run, name)
) without rowid;
