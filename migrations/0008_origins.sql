-- Runs by who asked for them, newest first; and the rows that ask the runner for a round of the janitor.
create index runs_by_origin on runs (origin, id desc);
create index audit_janitor on audit (id) where action = 'janitor';
