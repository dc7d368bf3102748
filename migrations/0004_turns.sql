-- When a waiting run may begin at the earliest: the pause before a run that was nobody's fault is tried again.
alter table runs add column not_before integer;
-- It was interrupted and goes on before all others.
alter table runs add column resumes integer not null default 0 check (resumes in (0, 1));
update runs set resumes = 1
 where finished_at is null and retry_of in (select id from runs where outcome = 'interrupted');
create index runs_in_turn on runs (recipe, id)
 where finished_at is null and started_at is null and not_before is null and resumes = 0;
create index runs_resuming on runs (id) where finished_at is null and started_at is null and resumes = 1;
create index runs_paused on runs (not_before, id)
 where finished_at is null and started_at is null and not_before is not null and resumes = 0;
create index runs_of_member on runs (asked_by) where finished_at is null and started_at is null;

-- When each recipe last had its turn.
create table turns (
    recipe text    primary key,
    at     integer not null
) without rowid;
