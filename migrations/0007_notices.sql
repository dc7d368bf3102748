-- What people hear of elsewhere than on the forge: that a recipe turned red or is green again, and the operator's alarms.
create table notices (
    id         integer primary key autoincrement,
    kind       text    not null check (kind in ('red', 'green', 'alarm', 'alarm-over')),
    run        integer references runs (id) on delete cascade,
    alarm      text,
    words      text,                     -- of an alarm
    created_at integer not null,
    spread_at  integer,                  -- from then on each target has its row in `deliveries`
    check ((run is null) = (kind in ('alarm', 'alarm-over')) and (run is null) = (alarm is not null))
);
create index notices_unspread on notices (id) where spread_at is null;
create index notices_by_run on notices (run) where run is not null;

-- How far each target of the configuration's `notify` has a notice.
create table deliveries (
    notice     integer not null references notices (id) on delete cascade,
    target     text    not null,
    due_at     integer not null,
    tried_at   integer,                  -- when the last attempt began
    attempts   integer not null default 0,
    last_error text,
    done_at    integer,
    gave_up_at integer,
    primary key (notice, target),
    check (done_at is null or gave_up_at is null)
) without rowid;
create index deliveries_open on deliveries (target, notice) where done_at is null and gave_up_at is null;

-- Alarms that were told of and whose end was not.
create table alarms_told (
    alarm text    primary key,
    since integer not null
) without rowid;

-- Runs of the schedule come after all others that wait.
alter table repositories add column scheduled_for integer;  -- the last of the schedule's times that was acted on
drop index runs_in_turn;
create index runs_in_turn on runs (recipe, id)
 where finished_at is null and started_at is null and not_before is null and resumes = 0 and origin <> 'schedule';
create index runs_of_schedule on runs (id)
 where finished_at is null and started_at is null and not_before is null and resumes = 0 and origin = 'schedule';
