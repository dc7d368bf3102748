-- A row in every table of migration 0001, each with a parent where it has one: what migrations are tried on.
insert into cursors values ('searched', '1700000000000');
insert into repositories values (1, 'recipes', 'ghost', 1, 'of the organisation', 1, 1, 1, 1, 1, null, 'ghost');
insert into runs (id, origin, repository, repo_name, recipe, pr, head, asked_by, asked, queued_at, started_at, finished_at, outcome, reason, level)
  values (1, 'comment', 1, 'recipes/ghost', 'ghost', 7, '3f9c2ab13f9c2ab13f9c2ab13f9c2ab13f9c2ab1', 'alice', 'all', 1, 2, 3, 'passed', 'every stage passed', 3),
         (2, 'comment', 1, 'recipes/ghost', 'ghost', 7, '3f9c2ab13f9c2ab13f9c2ab13f9c2ab13f9c2ab1', 'alice', 'all', 4, null, null, null, null, null);
update runs set retry_of = 1, attempt = 2 where id = 2;
insert into comments values (5, 1, 7, 'alice', '!testme', 'all', 1, 1, 1, 0, 'accepted', 'a member asks', 1, 1);
update runs set comment = 5;
insert into stages values (1, 0, 'fetch', 'passed', null, 2, 3, 0), (1, 1, 'backup', 'not-applicable', 'it holds nothing', null, null, 0);
insert into checks values (1, 0, 'install', 'the front page answers', 'passed', '200', '200', 12);
insert into apps values (1, 1, 'ghos-3f9c2a.ci.example.org', 'ghos-3f9c2a_ci_example_org', '/var/lib/cc-ci/work/1/abra', 2, 3, null);
insert into outbox (id, key, kind, repository, pr, run, created_at, due_at) values (1, 'comment 1', 'comment', 1, 7, 1, 1, 1);
insert into voices values (1, 7, '3f9c2ab13f9c2ab13f9c2ab13f9c2ab13f9c2ab1', 9, 'aa', 1, null, null);
insert into events values (1, 1, 1, 'run', 'run 1 passed');
insert into heartbeats values ('serve', 1, '0.1.0', 1, 1, '{}');
