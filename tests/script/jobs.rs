//! Scripts as people write them.

use cc_ci::script::{Limits, Moment, NotDefined, Script, Side};
use serde_json::json;

use crate::stage::{Notes, define, fennel_kit, kit, play, refusal, run, tight};

const EXAMPLE: &str = r#"
(local ci (require :cc-ci))
(ci.job :seed  [:base]           (fn [{: app : http}] {:id (. (http.post (.. app.url "/notes") {:body "kept"}) :json :id)}))
(ci.job :alive [:upgrade :seed]  (fn [{: app : http : jobs}] (http.expect (.. app.url "/notes/" (. (jobs :seed) :id)) {:status 200 :contains "kept"})))
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_designs_example_passes_and_fails_when_the_note_is_gone() {
    let Some(kit) = fennel_kit("jobs::the_designs_example").await else { return };
    let script = vec![Script::new("checks/notes.fnl", EXAMPLE)];
    let host = define(kit.clone(), Side::Recipe, Limits::default(), script.clone())
        .await
        .unwrap_or_else(|wrong| panic!("{wrong}"));
    let heard = play(host, &mut Notes::default(), &[Moment::Base, Moment::Upgrade]).await;
    assert_eq!(heard.passed("seed"), &json!({"id": 1}));
    assert_eq!(heard.passed("alive"), &json!({"status": 200}));

    let mut host = define(kit, Side::Recipe, Limits::default(), script).await.unwrap();
    let mut app = Notes::default();
    host.moment(Moment::Base, &crate::stage::app(), &mut app, &mut |_| {}).await.unwrap();
    app.state.lock().unwrap().notes.clear();
    let heard = play(host, &mut app, &[Moment::Upgrade]).await;
    assert_eq!(
        heard.failed("alive"),
        "checks/notes.fnl:4: GET https://notes-pr7.ci.example.org/notes/1: status 404, not 200; it does not contain \"kept\"; \
         it begins: no such note"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_go_to_dependents_and_nil_means_skipped() {
    let Some(kit) = kit("jobs::outputs_go_to_dependents_and_nil_means_skipped") else { return };
    let script = Script::new(
        "checks/t.lua",
        r#"
        ci.job("last", {"later", "upgrade"}, function(t) return t.jobs("later").list[2] end)
        ci.job("later", {"first"}, function(t)
          local first = t.jobs("first")
          first.list[2] = "changed here only"
          return {list = t.jobs("first").list, none = #t.jobs("first").empty}
        end)
        ci.job("first", {"install"}, function(t) return {list = {1, "two", {three = 3.5}}, empty = {}} end)
        ci.job("maybe", {"install"}, function() return nil, "this edition has no mail" end)
        ci.job("silent", {"install"}, function() end)
        ci.job("after-maybe", {"maybe", "first"}, function() return true end)
        ci.job("after-that", {"after-maybe"}, function() return true end)
        ci.job("breaks", {"install"}, function() local x = nil; return x.y end)
        ci.job("after-break", {"breaks"}, function() return true end)
        ci.job("stranger", {"install"}, function(t) return t.jobs("first") end)
        ci.job("restored", {"restore", "first"}, function() return true end)
        "#,
    );
    let host = define(kit, Side::Recipe, tight(), vec![script]).await.unwrap();
    let names: Vec<_> = host.graph().jobs.iter().map(|job| job.name.clone()).collect();
    assert_eq!(names.len(), 11);
    let heard = play(host, &mut Notes::default(), &[Moment::Install, Moment::Base, Moment::Upgrade]).await;
    assert_eq!(heard.passed("first"), &json!({"list": [1, "two", {"three": 3.5}], "empty": {}}));
    assert_eq!(heard.passed("later"), &json!({"list": [1, "two", {"three": 3.5}], "none": 0}));
    assert_eq!(heard.passed("last"), "two");
    assert_eq!(heard.skipped("maybe"), "this edition has no mail");
    assert_eq!(heard.skipped("silent"), "it returned nothing; a job that passes returns something, such as `true`");
    assert_eq!(heard.skipped("after-maybe"), "it needs `maybe`, which was skipped");
    assert_eq!(heard.skipped("after-that"), "it needs `after-maybe`, which was skipped");
    assert_eq!(heard.skipped("after-break"), "it needs `breaks`, which did not pass");
    assert_eq!(heard.skipped("restored"), "`restore` did not come");
    assert!(heard.failed("breaks").starts_with("checks/t.lua:13: attempt to index a nil value (local 'x')"));
    assert!(heard.failed("stranger").contains("`first` is no job that this one needs; add it to its inputs"));
    assert!(heard.order.iter().position(|job| job == "later") < heard.order.iter().position(|job| job == "last"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cycle_and_other_definition_errors_are_said_together_with_their_lines() {
    let Some(kit) = kit("jobs::a_cycle_and_other_definition_errors_are_said_together") else { return };
    let scripts = vec![
        Script::new(
            "checks/a.lua",
            "ci.job('hen', {'egg'}, function() end)\n\
             ci.job('egg', {'hen'}, function() end)\n\
             ci.job('Loud', {'install'}, function() end)\n\
             ci.job('nothing', {'install'})\n\
             ci.job('text', 'install', function() end)\n\
             ci.job(7)\n\
             ci.job('numbers', {'install', 3}, 'no function')\n\
             ci.job()\nci.job('null', ci.null, function() end)\n",
        ),
        Script::new("checks/b.lua", "ci.job('x', {'upgade'}, function() end)\nlocal y = nil + 1"),
    ];
    let said = refusal(define(kit, Side::Recipe, tight(), scripts).await);
    let shape = "write `ci.job(name, {what it needs}, function)`";
    assert_eq!(
        said,
        [
            "checks/a.lua:1: jobs wait for each other: hen → egg → hen; let one of them need a moment instead".into(),
            "checks/a.lua:3: `Loud` is not a job's name; use a letter, then letters, digits, `-` and `_`, all lower-case, at most 40".into(),
            format!("checks/a.lua:4: job `nothing` has nil where its function should be; {shape}"),
            format!("checks/a.lua:5: the inputs of job `text` are a list, not a string; {shape}"),
            format!("checks/a.lua:6: a job's name is text, not a number; {shape}"),
            format!("checks/a.lua:7: job `numbers` has a string where its function should be; {shape}"),
            "checks/a.lua:7: job `numbers` needs a number; inputs are named by text".into(),
            format!("checks/a.lua:8: a job's name is text, not nil; {shape}"),
            format!("checks/a.lua:9: the inputs of job `null` are a list, not `ci.null`; {shape}"),
            "checks/b.lua:2: attempt to perform arithmetic on a nil value".into(),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn modules_are_found_in_the_scripts_own_folders_macros_too() {
    let Some(kit) = fennel_kit("jobs::modules_are_found_in_the_scripts_own_folders").await else { return };
    let mut lua = Script::new(
        "checks/a.lua",
        "local words = require('lib.words')\nassert(words == require('lib.words'))\nassert(require('cc-ci') == ci)\n\
         ci.job('x', {'install'}, function() return {words.greet('you'), require('lib.deep.more').n} end)\n\
         ci.job('bad', {'install'}, function() return require('lib.bad') end)",
    );
    lua.modules = [
        ("lib/words.lua", "return {greet = function(who) return 'hello ' .. who end}"),
        ("lib/deep/more.fnl", "{:n (+ 40 2)}"),
        ("lib/bad.lua", "local x = 1\nerror('in the module')"),
        ("lib/macros.fnl", "{:twice (fn [form] `(do ,form ,form))}"),
    ]
    .map(|(path, text)| (path.to_owned(), text.to_owned()))
    .into();
    let fennel = Script {
        name: "checks/b.fnl".into(),
        text: "(import-macros {: twice} :lib.macros)\n(local ci (require :cc-ci))\n\
               (ci.job :y [:install] (fn [{: log}] (twice (log :hi)) {:n (. (require :lib.deep.more) :n)}))\n\
               (ci.job :broken [:install] (fn [_]\n  (let [x nil]\n    (+ x 1))))"
            .into(),
        modules: lua.modules.clone(),
    };
    let host =
        define(kit, Side::Recipe, Limits::default(), vec![lua, fennel]).await.unwrap_or_else(|wrong| panic!("{wrong}"));
    let heard = play(host, &mut Notes::default(), &[Moment::Install]).await;
    assert_eq!(heard.passed("x"), &json!(["hello you", 42]));
    assert_eq!(heard.passed("y"), &json!({"n": 42}));
    assert_eq!(heard.lines, ["y: hi", "y: hi"]);
    assert_eq!(heard.failed("bad"), "checks/lib/bad.lua:2: in the module");
    assert!(
        heard.failed("broken").starts_with("checks/b.fnl:6: attempt to perform arithmetic on a nil value"),
        "{}",
        heard.failed("broken")
    );
}

/// What PostgreSQL takes for one statement; MariaDB says it itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_one_statement() {
    let Some(kit) = kit("jobs::a_query_is_one_statement") else { return };
    let heard = run(
        kit,
        tight(),
        r#"
        local one = {
          "select 1", "select 1;", "select 1 ; ; -- ; and that is all\n ", "select 1; /* ; /* select 2; */ still */ ",
          "select 'a;b'", "select 'it''s;'", "select E'it\\'s; ''one'' \\\\'; ", 'select 1 as "a;b"', "select $$a;b$$;", "select $tag$ ; $$ ; $tag$",
          "create rule r as on insert to t do (select 1; select 2)", "select the'x';", "select $1;", "", ";",
        }
        local several = {
          "select 1; select 2", "select 1;select 2;", "select '\\'; select 2 --'", "select E'\\\\'; select 2", "; select 1; select 2",
          "select $a$ $b$ ; $a$; select 2", "select 1 /* */; /* */ select 2", "select (1); drop table x", "select 1 -- '\n; select 2 -- '",
        }
        ci.job("one", {"install"}, function(t)
          for _, query in ipairs(one) do
            local _, said = pcall(t.sql.query, "counts", query)
            assert(said:find("it is one", 1, true), query .. ": " .. said)
          end
          return true
        end)
        ci.job("several", {"install"}, function(t)
          for _, query in ipairs(several) do
            local _, said = pcall(t.sql.query, "counts", query)
            assert(said:find("it is several", 1, true), query .. ": " .. said)
          end
          return true
        end)
        "#,
    )
    .await;
    assert_eq!(heard.passed("one"), true);
    assert_eq!(heard.passed("several"), true);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_machine_lacks_is_the_machines_fault_whatever_the_script_makes_of_it() {
    let Some(kit) = kit("jobs::what_the_machine_lacks_is_the_machines_fault") else { return };
    let heard = run(
        kit.clone(),
        tight(),
        r#"
        ci.job("looks", {"install"}, function(t) t.browser.open("/") return true end)
        ci.job("swallows", {"install"}, function(t) pcall(t.browser.open, "/") return true end)
        ci.job("skips", {"install"}, function(t) pcall(t.browser.open, "/") end)
        ci.job("tolerates", {"install"}, function(t) pcall(t.exec, "nowhere", {"id"}) return true end)
        "#,
    )
    .await;
    for job in ["looks", "swallows", "skips"] {
        assert_eq!(heard.infra(job), "browser: there is no chromium on the PATH");
    }
    assert_eq!(heard.passed("tolerates"), true);

    let without = cc_ci::script::Kit { fennel: None, ..kit };
    let refused = define(without, Side::Recipe, tight(), vec![Script::new("checks/x.fnl", "nil")]).await.err().unwrap();
    assert!(matches!(refused, NotDefined::NoFennel { .. }));
    let text = refused.to_string();
    assert!(
        text.contains("checks/x.fnl is written in Fennel")
            && text.contains("the package `fennel`")
            && text.contains("CC_CI_FENNEL")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_tool_fails_its_job_at_the_line_that_called_it() {
    let Some(kit) = kit("jobs::a_failing_tool_fails_its_job_at_the_line_that_called_it") else { return };
    let heard = run(
        kit,
        tight(),
        r#"
        ci.job("status", {"install"}, function(t)
          local answer = t.http.expect("/notes/9", {status = {200, 204}, contains = {"a", "such"}, lacks = "note", header = {["x-kind"] = "note"}})
          return answer
        end)
        ci.job("json", {"install"}, function(t)
          t.http.expect("/notes", {method = "POST", send = {text = "x"}, status = 201, json = {["/id"] = 7, ["/tags/1"] = "b", ["/gone"] = ci.null, ["/tags"] = {"a"}}})
        end)
        ci.job("not-json", {"install"}, function(t) local a = t.http.get("/") return a.json.id end)
        ci.job("typo", {"install"}, function(t) local a = t.http.get("/", {header = {}}) return a end)
        ci.job("kind", {"install"}, function(t) local a = t.http.get("/", {form = "x"}) return a end)
        ci.job("both", {"install"}, function(t) local a = t.http.post("/notes", {form = {}, body = ""}) return a end)
        ci.job("round", {"install"}, function(t) local a = t.http.get("/round") return a end)
        ci.job("exec", {"install"}, function(t) local a = t.exec("app", {"false"}) return a end)
        ci.job("file", {"install"}, function(t) local a = t.file.read("app", "/nothing") return a end)
        ci.job("relative", {"install"}, function(t) local a = t.file.read("app", "nothing") return a end)
        ci.job("sql", {"install"}, function(t) local a = t.sql.query("db", "selct 1") return a end)
        ci.job("tail", {"install"}, function(t) return t.exec("app", {"false"}) end)
        ci.job("no-address", {"install"}, function(t) local a = t.http.get() return a end)
        ci.job("no-time", {"install"}, function(t) t.retry({within = -1}, function() error("no") end) end)
        ci.job("no-pause", {"install"}, function(t) t.retry({every = 0/0}, function() error("no") end) end)
        ci.job("no-wait", {"install"}, function(t) t.browser.wait("p", {within = math.huge}) end)
        ci.job("no-try", {"install"}, function(t) t.retry(1) end)
        ci.job("one-try", {"install"}, function(t) t.retry({within = 0}, function() error("no", 0) end) end)
        ci.job("asserts", {"install"}, function(t)
          assert(true)
          assert(1 == 2)
        end)
        ci.job("asserts-in-words", {"install"}, function(t)
          assert(select(2, assert(true, "x")) == "x")
          assert(pcall(error, "hm", 0))
          return true
        end)
        ci.job("asserts-again", {"install"}, function(t)
          assert(pcall(function()
            error("further up")
          end))
        end)
        ci.job("asserts-nil", {"install"}, function(t)
          assert(select('#', assert(true, nil)) == 2)
          assert(nil, nil)
        end)
        ci.job("raises-nothing", {"install"}, function(t) error() end)
        ci.job("raises-a-table", {"install"}, function(t) error({code = 1}) end)
        "#,
    )
    .await;
    for (job, words) in [
        (
            "status",
            "checks/t.lua:3: GET https://notes-pr7.ci.example.org/notes/9: status 404, not [200,204]; it does not contain \"a\"; \
             it contains \"note\"; header x-kind is missing, not \"note\"; it begins: no such note",
        ),
        (
            "json",
            "checks/t.lua:7: POST https://notes-pr7.ci.example.org/notes: /id is 1, not 7; /tags is [\"a\",\"b\"], not [\"a\"]; it begins: {",
        ),
        (
            "not-json",
            "checks/t.lua:9: the answer of https://notes-pr7.ci.example.org/ is not JSON (expected value at line 1 column 1): <title>",
        ),
        (
            "typo",
            "checks/t.lua:10: http: there is no option `header`; there are body, cookies, form, headers, json, query, redirect",
        ),
        ("kind", "checks/t.lua:11: http: `form` is a table, not a string"),
        ("both", "checks/t.lua:12: http: give one of `body`, `json` and `form`"),
        ("round", "checks/t.lua:13: GET /round: more than 10 redirects"),
        ("exec", "checks/t.lua:14: exec in app: exit code 1: it is false"),
        ("file", "checks/t.lua:15: file.read in app: exit code 1: cat: /nothing: No such file or directory"),
        ("relative", "checks/t.lua:16: file.read: a path begins with `/`; got \"nothing\""),
        ("sql", "checks/t.lua:17: sql.query in db: exit code 3: ERROR:  syntax error at or near \"selct\""),
        ("tail", "checks/t.lua:18: exec in app: exit code 1: it is false"),
        ("no-address", "checks/t.lua:19: http: the address is text, not nil"),
        ("no-time", "checks/t.lua:20: retry: `within` is a number of seconds from 0 to 3600, not -1"),
        ("no-pause", "checks/t.lua:21: retry: `every` is a number of seconds from 0 to 3600, not"),
        ("no-wait", "checks/t.lua:22: browser.wait: `within` is a number of seconds from 0 to 3600, not inf"),
        ("no-try", "checks/t.lua:23: retry: what to try is a function, not nil"),
        ("one-try", "checks/t.lua:24: retry: no success in one try within 0 s; the last: no"),
        ("asserts", "checks/t.lua:27: assertion failed!"),
        ("asserts-in-words", "checks/t.lua:31: hm"),
        ("asserts-again", "checks/t.lua:36: further up"),
        ("asserts-nil", "checks/t.lua:41: assertion failed!"),
        ("raises-nothing", "checks/t.lua:43: an error was raised without a word about it; raise text"),
        ("raises-a-table", "checks/t.lua:44: a table was raised as an error; raise text"),
    ] {
        assert!(heard.failed(job).starts_with(words), "{job}:\n{}\n{words}", heard.failed(job));
    }
}
