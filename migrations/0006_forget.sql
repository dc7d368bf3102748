-- What a run that is forgotten is looked for in, by hand and by foreign keys: without these each look walks a table.
create index comments_by_run on comments (run) where run is not null;
create index outbox_by_run on outbox (run) where run is not null;
create index runs_by_retry_of on runs (retry_of) where retry_of is not null;
create index runs_by_superseded_by on runs (superseded_by) where superseded_by is not null;
