-- Who may act through the API. The token itself is nowhere, only its SHA-256.
create table tokens (
    id         integer primary key autoincrement,
    name       text    not null unique check (length(name) between 1 and 64),
    hash       text    not null unique check (length(hash) = 64),
    scopes     text    not null,           -- words with spaces between
    created_at integer not null,
    expires_at integer not null check (expires_at > created_at),
    used_at    integer,
    revoked_at integer
);

-- Every action that somebody took, each row's hash covering the row before it.
create table audit (
    id     integer primary key autoincrement,
    at     integer not null,
    actor  text    not null,               -- a token's name, or the command line
    action text    not null,
    target text    not null,
    said   text    not null,               -- what came of it
    hash   text    not null check (length(hash) = 64)
);
