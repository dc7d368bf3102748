//! Scripts that mean harm, or do it.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use cc_ci::script::{Limits, Moment, Script, Side};

use crate::stage::{Notes, define, fennel_kit, kit, play, refusal, run, tight};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_the_machine_can_be_read_started_or_reached() {
    let Some(kit) = kit("hostile::nothing_of_the_machine_can_be_read_started_or_reached") else { return };
    let heard = run(
        kit,
        tight(),
        r#"
        ci.job("passwd", {"install"}, function() return io.open("/etc/passwd"):read("a") end)
        ci.job("module", {"install"}, function() return require("/etc/passwd") end)
        ci.job("above", {"install"}, function() return require("../../secret") end)
        ci.job("shell", {"install"}, function() return os.execute("id") end)
        ci.job("fork", {"install"}, function() return io.popen("id"):read("a") end)
        ci.job("environment", {"install"}, function() return os.getenv("HOME") end)
        ci.job("library", {"install"}, function() return package.loadlib("libc.so.6", "system") end)
        ci.job("bytecode", {"install"}, function() return load(string.dump(function() end)) end)
        ci.job("frames", {"install"}, function() return debug.getinfo(1) end)
        ci.job("host", {"install"}, function(t) return t.http.get("http://127.0.0.1:2375/info") end)
        ci.job("metadata", {"install"}, function(t) return t.http.get("http://169.254.169.254/latest") end)
        ci.job("port", {"install"}, function(t) return t.http.get("https://notes-pr7.ci.example.org:9000/") end)
        ci.job("file", {"install"}, function(t) return t.http.get("file:///etc/passwd") end)
        ci.job("routing", {"install"}, function(t) return t.http.get("/", {headers = {Host = "traefik"}}) end)
        ci.job("splitting", {"install"}, function(t) return t.http.get("/", {headers = {x = "a\r\nhost: b"}}) end)
        ci.job("service", {"install"}, function(t) return t.exec("../other", {"id"}) end)
        ci.job("secret", {"install"}, function(t) return t.secret("x") end)
        ci.job("lateness", {"install"}, function(t) ci.job("more", {"install"}, function() end) end)
        "#,
    )
    .await;
    for (job, words) in [
        ("passwd", "checks/t.lua:2: attempt to index a nil value (global 'io')"),
        (
            "module",
            "checks/t.lua:3: require: there is no module `/etc/passwd`; a script finds modules in folders of checks/ only",
        ),
        ("above", "there is no module `../../secret`"),
        ("shell", "attempt to call a nil value (field 'execute')"),
        ("fork", "attempt to index a nil value (global 'io')"),
        ("environment", "attempt to call a nil value (field 'getenv')"),
        ("library", "attempt to index a nil value (global 'package')"),
        ("bytecode", "attempt to call a nil value (field 'dump')"),
        ("frames", "attempt to index a nil value (global 'debug')"),
        ("host", "127.0.0.1 is not this app (notes-pr7.ci.example.org); a script reaches nothing else"),
        ("metadata", "169.254.169.254 is not this app"),
        ("port", "has a port or a user in it"),
        ("file", "is not http or https"),
        ("routing", "the header `Host` is set by cc-ci"),
        ("splitting", "`x` cannot be sent as a header"),
        ("service", "is no service of this recipe"),
        ("secret", "scripts of a recipe's repository have no secrets"),
        ("lateness", "ci.job: jobs are registered when the script is loaded, not by a job"),
    ] {
        assert!(heard.failed(job).contains(words), "{job}: {}", heard.failed(job));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_jobs_than_there_may_be_are_the_scripts_fault_with_the_place_and_the_limit() {
    let Some(kit) = kit("hostile::more_jobs_than_there_may_be_are_the_scripts_fault_with_the_place_and_the_limit")
    else {
        return;
    };
    let refused = |text: &str| {
        let (kit, script) = (kit.clone(), Script::new("checks/x.lua", text));
        async move { refusal(define(kit, Side::Recipe, Limits::default(), vec![script]).await) }
    };
    let many = "local function f() end\nfor i = 1, 100000 do\n ci.job('j' .. i, {'install'}, f)\nend";
    let chain = "ci.job('j0', {'install'}, function() end)\nfor i = 1, 20000 do ci.job('j' .. i, {'j' .. i - 1}, function() end) end";
    let words = "there are more jobs than a script may have (at most 1000); put several checks into one job";
    assert_eq!(refused(many).await, [format!("checks/x.lua:3: {words}")]);
    assert_eq!(refused(chain).await, [format!("checks/x.lua:2: {words}")]);
    let wrong = "for i = 1, 100000 do ci.job(i) end";
    assert_eq!(
        refused(wrong).await[0],
        "checks/x.lua:1: a job's name is text, not a number; write `ci.job(name, {what it needs}, function)`"
    );
    let long = "for i = 1, 900 do ci.job(('j'):rep(2000) .. i, {'install'}, function() end) end";
    let words = "checks/x.lua:1: its jobs, with their names and what they need, are more than 1024 kB";
    assert!(refused(long).await[0].starts_with(words), "{:?}", refused(long).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_limit_ends_its_job_by_name_and_no_other() {
    let Some(kit) = kit("hostile::each_limit_ends_its_job_by_name_and_no_other") else { return };
    let heard = run(
        kit,
        tight(),
        r#"
        ci.job("gigabyte", {"install"}, function() return #("x"):rep(1 << 30) end)
        ci.job("piecemeal", {"install"}, function() local t = {} while true do t[#t + 1] = {("y"):rep(1000)} end end)
        ci.job("for-ever", {"install"}, function() while true do end end)
        ci.job("stubborn", {"install"}, function() while true do pcall(function() while true do end end) end end)
        ci.job("handled", {"install"}, function() xpcall(function() while true do end end, function() while true do end end) end)
        ci.job("finaliser", {"install"}, function() setmetatable({}, {__gc = function() while true do end end}) return true end)
        ci.job("pattern", {"install"}, function() return ("a"):rep(500):find((".-"):rep(30) .. "b") end)
        ci.job("asleep", {"install"}, function(t) t.retry({within = 60, every = 60}, function() error("no") end) end)
        ci.job("patient", {"install"}, function(t) while true do pcall(t.retry, {within = 1, every = 0.5}, function() error("no") end) end end)
        ci.job("chatty", {"install"}, function(t) while true do t.log("bla bla bla bla bla") end end)
        ci.job("quietly-chatty", {"install"}, function(t) while true do pcall(t.log, "bla bla bla bla bla") end end)
        ci.job("busy", {"install"}, function(t) while true do t.http.get("/") end end)
        ci.job("big-request", {"install"}, function(t) return t.http.post("/notes", {body = ("x"):rep(2 << 20)}) end)
        ci.job("big-output", {"install"}, function(t) return {text = ("x"):rep(100000)} end)
        ci.job("endless-output", {"install"}, function(t) local t = {} t.t = t return t end)
        ci.job("many-lines", {"install"}, function(t) for _ = 1, 1999 do t.log("") end return true end)
        ci.job("fine", {"install"}, function(t) return t.http.get("/").status end)
        "#,
    )
    .await;
    for (job, words) in [
        ("gigabyte", "checks/t.lua:2: it ran into the memory limit (64 MB for a script)"),
        ("piecemeal", "checks/t.lua:3: it ran into the memory limit (64 MB for a script)"),
        ("for-ever", "it ran into the instruction limit (5 million)"),
        ("stubborn", "it ran into the instruction limit (5 million)"),
        ("handled", "it ran into the instruction limit (5 million)"),
        ("finaliser", "setmetatable: there are no finalisers (`__gc`) here"),
        ("pattern", "it ran into the time limit (3 s)"),
        ("asleep", "retry: no success in one try within 60 s; the last: checks/t.lua:9: no"),
        ("patient", "it ran into the time limit (3 s)"),
        ("chatty", "it ran into the output limit (1 kB of log lines)"),
        ("quietly-chatty", "it ran into the output limit (1 kB of log lines)"),
        ("busy", "it ran into the limit of tool calls (50)"),
        ("big-request", "POST /notes: the request is larger than 1 MB"),
        ("big-output", "what it returns is larger than 64 kB; return less"),
        ("endless-output", "what it returns cannot be handed to other jobs: it is nested more than 32 deep"),
    ] {
        assert!(heard.failed(job).contains(words), "{job}: {}", heard.failed(job));
    }
    assert_eq!(heard.passed("many-lines"), true);
    assert_eq!(heard.passed("fine"), 200);
    assert!(heard.lines.iter().filter(|line| line.starts_with("chatty: bla")).count() <= 100);
}

/// However it comes to it: in a function, in a module, in a coroutine, in what a tool is made of.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_said_with_the_line_where_it_was_reached() {
    let Some(kit) = fennel_kit("hostile::a_limit_is_said_with_the_line_where_it_was_reached").await else { return };
    let mut lua = Script::new(
        "checks/t.lua",
        r#"local function spin()
  local n = 0
  while true do n = n + 1 end
end
ci.job("instructions", {"install"}, function(t)
  t.log("before")
  spin()
end)
ci.job("caught", {"install"}, function(t)
  t.log("before")
  while true do
    pcall(spin)
  end
end)
ci.job("coroutine", {"install"}, function(t)
  local turn = coroutine.wrap(function()
    while true do end
  end)
  return turn()
end)
ci.job("module", {"install"}, function(t)
  return require("lib.words").spin()
end)
ci.job("doubling", {"install"}, function(t)
  local text = "0123456789abcdef"
  t.log("before")
  for _ = 1, 40 do
    text = text .. text
  end
  return #text
end)
ci.job("at-once", {"install"}, function(t)
  t.log("before")
  local text = ("x"):rep(1 << 30)
  return #text
end)
ci.job("late", {"install"}, function(t)
  local n, kept = 0, {}
  for i = 1, 300000 do n = n + i end
  while true do
    kept[#kept + 1] = ("y"):rep(1000)
  end
end)
ci.job("lines", {"install"}, function(t)
  while true do
    t.log("bla bla bla")
  end
end)
ci.job("calls", {"install"}, function(t)
  while true do
    t.http.get("/")
  end
end)
ci.job("fine", {"install"}, function(t) return true end)
"#,
    );
    lua.modules =
        [("lib/words.lua".to_owned(), "return {spin = function()\n\n  while true do end\nend}".to_owned())].into();
    let fennel = Script::new(
        "checks/f.fnl",
        "(local ci (require :cc-ci))\n\n(ci.job :fennel [:install]\n  (fn [{: log}]\n    (log :hi)\n    (while true\n      nil)))",
    );
    let host = define(kit, Side::Recipe, tight(), vec![lua, fennel]).await.unwrap_or_else(|wrong| panic!("{wrong}"));
    let heard = play(host, &mut Notes::default(), &[Moment::Install]).await;
    let (instructions, memory) =
        ("it ran into the instruction limit (5 million)", "it ran into the memory limit (64 MB");
    for (job, at, words) in [
        ("instructions", "checks/t.lua:3: ", instructions),
        ("caught", "checks/t.lua:3: ", instructions),
        ("coroutine", "checks/t.lua:17: ", instructions),
        ("module", "checks/lib/words.lua:3: ", instructions),
        ("doubling", "checks/t.lua:28: ", memory),
        ("at-once", "checks/t.lua:34: ", memory),
        ("late", "checks/t.lua:41: ", memory),
        ("lines", "checks/t.lua:46: ", "it ran into the output limit (1 kB of log lines)"),
        ("calls", "checks/t.lua:51: ", "it ran into the limit of tool calls (50)"),
        ("fennel", "checks/f.fnl:6: ", instructions),
    ] {
        assert!(heard.failed(job).starts_with(&format!("{at}{words}")), "{job}: {}", heard.failed(job));
    }
    assert_eq!(heard.passed("fine"), true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_that_never_ends_is_ended_near_its_limit_and_its_script_named() {
    let Some(kit) = kit("hostile::a_pattern_that_never_ends_is_ended_near_its_limit_and_its_script_named") else {
        return;
    };
    let limits = Limits { loading: Duration::from_secs(1), ..Limits::default() };
    let fine = "ci.job('x', {'install'}, function() return true end)";
    let pattern = "local text = ('a'):rep(500)\nreturn text:find(('.-'):rep(30) .. 'b')";
    let scripts = [("a", fine), ("b", pattern), ("c", fine), ("d", fine)];
    let scripts = scripts.map(|(name, text)| Script::new(format!("checks/{name}.lua"), text)).to_vec();
    let began = Instant::now();
    let said = refusal(define(kit, Side::Recipe, limits, scripts).await);
    let words = "while it was loaded, it ran into the time limit (1 s); look for a pattern that takes for ever";
    assert_eq!(said, [format!("checks/b.lua:1: {words}")]);
    // Three seconds, and what a busy machine adds; it was once as many as there are scripts, and one more.
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_an_error_says_is_kept_within_reason() {
    let Some(kit) = kit("hostile::all_that_an_error_says_is_kept_within_reason") else { return };
    let many = "error(('z\\n'):rep(1000))\nci.job('x', {'install'}, function() return true end)";
    let scripts = vec![
        Script::new("checks/a.lua", "\nerror('what went wrong:\\n  first\\n\\n  second')"),
        Script::new("checks/b.lua", many),
    ];
    let said = refusal(define(kit.clone(), Side::Recipe, tight(), scripts).await);
    assert_eq!(
        said,
        [
            "checks/a.lua:2: what went wrong: / first / second".to_owned(),
            format!("checks/b.lua:1: {}…", "z / ".repeat(10))
        ]
    );
    let heard = run(kit, tight(), "ci.job('x', {'install'}, function() error('first\\nsecond') end)").await;
    assert_eq!(heard.failed("x"), "checks/t.lua:1: first\nsecond");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_never_loads_is_named_and_the_others_are_judged_all_the_same() {
    let Some(kit) = kit("hostile::a_script_that_never_loads_is_named") else { return };
    let scripts = vec![
        Script::new("checks/a.lua", "ci.job('x', {'install'}, function() end)\n\nwhile true do end"),
        Script::new("checks/b.lua", "local t = {}\nwhile true do t[#t + 1] = ('x'):rep(10000) end"),
        Script::new(
            "checks/c.lua",
            "ci.job('x', {'install'}, function() end)\nci.job('x', {'install'}, function() end)",
        ),
        Script::new("checks/d.lua", "print('nothing to register')"),
        Script::new("checks/e.lua", "ci.job('x', {'install'}, function( end)"),
    ];
    let limits = Limits { instructions: 5_000_000, ..Limits::default() };
    let said = refusal(define(kit, Side::Recipe, limits, scripts).await);
    assert_eq!(
        said,
        [
            "checks/a.lua:3: while it was loaded, it ran into the instruction limit (5 million)",
            "checks/b.lua:2: while it was loaded, it ran into the memory limit (64 MB for a script)",
            "checks/c.lua:2: there are two jobs called `x`; the first is in line 1; give one of them another name",
            "checks/d.lua:1: this script registers no job; call `ci.job`, or move the file into a folder if it is a module of others",
            "checks/e.lua:1: <name> or '...' expected near 'end'",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn macros_run_in_the_sandbox_too_and_under_limits() {
    let Some(kit) = fennel_kit("hostile::macros_run_in_the_sandbox_too_and_under_limits").await else { return };
    let limits = Limits { instructions: 5_000_000, ..Limits::default() };
    let script = |name: &str, text: &str| Script::new(format!("checks/{name}.fnl"), text);
    let said = refusal(
        define(
            kit,
            Side::Recipe,
            limits,
            vec![
                script("a", "(macro read [] (let [f (io.open :/etc/passwd)] (f:read :*a)))\n(read)"),
                script("b", "(macro loop [] (while true nil))\n\n(fn never []\n  (loop))"),
                script("c", "(macro run [] (os.execute :id))\n(run)"),
                script("d", "(macro big [] (string.rep :x 1000000000))\n\n(big)"),
                script("e", "(import-macros m :missing)"),
                script("f", "(local ci (require :cc-ci))\n(ci.job :x [:instal] (fn [] 1))"),
                script("g", "(local ci (require :cc-ci))\n\n(ci.job :x [:install] (fn [] (htp.get :/)))"),
                script("h", "(local ci (require :cc-ci)\n(ci.job :x [:install] (fn [] 1)"),
            ],
        )
        .await,
    );
    let begins = [
        "checks/a.fnl:1: ",
        "checks/b.fnl:4: while its macros ran, it ran into the instruction limit",
        "checks/c.fnl:1: ",
        "checks/d.fnl:3: while its macros ran, it ran into the memory limit",
        "checks/e.fnl:1: there is no module `missing` in the script's folders",
        "checks/f.fnl:2: job `x` needs `instal`, which is neither a job of this script nor a moment; did you mean `install`?",
        "checks/g.fnl:3: unknown identifier: htp; try looking to see if there's a typo",
        "checks/h.fnl:4: expected closing delimiters ))",
    ];
    assert_eq!(said.len(), begins.len(), "{said:#?}");
    for (line, begin) in said.iter().zip(begins) {
        assert!(line.starts_with(begin), "{line}\n  does not begin with {begin}\n{said:#?}");
        assert!(!line.contains("root:") && !line.contains("uid="), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_masked_in_lines_failures_and_outputs() {
    let Some(kit) = kit("hostile::a_secret_is_masked_in_lines_failures_and_outputs") else { return };
    let script = Script::new(
        "checks/t.lua",
        r#"
        ci.job("line", {"install"}, function(t) t.log("it is " .. t.secret("x")) print("a\27[2Jb\nc") return true end)
        ci.job("base64", {"line"}, function(t)
          local alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
          local bits = t.secret("x"):gsub(".", function(c)
            local n, s = c:byte(), ""
            for i = 7, 0, -1 do s = s .. (n >> i & 1) end
            return s
          end)
          local text = bits:gsub("%d%d%d%d%d%d", function(six) local n = tonumber(six, 2) + 1 return alphabet:sub(n, n) end)
          t.log("in base64 " .. text)
          return {text = text}
        end)
        ci.job("hidden", {"line"}, function(t) t.log("it is " .. t.secret("x"):gsub("2", "\0002")) return true end)
        ci.job("handed-on", {"output"}, function(t) return t.jobs("output").it[1] == t.secret("x") end)
        ci.job("failure", {"install"}, function(t) error("it is " .. t.secret("x")) end)
        ci.job("output", {"install"}, function(t) return {it = {t.secret("x")}} end)
        ci.job("reason", {"install"}, function(t) return nil, t.secret("x") end)
        ci.job("unknown", {"install"}, function(t) return t.secret("y") end)
        "#,
    );
    let host = define(kit, Side::Appliance, tight(), vec![script]).await.unwrap();
    let heard = play(host, &mut Notes::default(), &[Moment::Install]).await;
    let expected = [
        "line: it is [secret x]",
        "line: a[2Jb",
        "line: c",
        "base64: in base64 [secret x]",
        "hidden: it is [secret x]",
    ];
    assert_eq!(heard.lines, expected);
    assert_eq!(heard.passed("base64"), &serde_json::json!({"text": "[secret x]"}));
    assert_eq!(heard.passed("handed-on"), true);
    assert!(heard.failed("failure").ends_with(": it is [secret x]"));
    assert_eq!(heard.passed("output"), &serde_json::json!({"it": ["[secret x]"]}));
    assert_eq!(heard.skipped("reason"), "[secret x]");
    assert!(heard.failed("unknown").ends_with("secret: no secret `y` is declared for this recipe"));
}

/// What the child's process may do, read from outside by the kernel's own account of it.
#[tokio::test(flavor = "multi_thread")]
async fn the_child_has_no_capabilities_no_network_no_files_and_may_not_fork() {
    let Some(kit) = kit("hostile::the_child_has_no_capabilities") else { return };
    let marker = format!("checks/m{}.lua", std::process::id());
    let before = children();
    let host =
        define(kit, Side::Recipe, tight(), vec![Script::new(marker, "ci.job('x', {'install'}, function() end)")])
            .await
            .unwrap();
    // bwrap, its first process inside, and the child itself: the last one has our program for its image. Other tests may have
    // started some meanwhile, which are still on their way into their cell; ours is in it.
    let is_inside = |pid: &u32| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"/run/cc-ci/cc-ci\0script-child"))
    };
    let new: Vec<u32> = children().difference(&before).copied().filter(is_inside).collect();
    let looks: Vec<Result<(), String>> = new.iter().filter_map(|pid| confined(*pid)).collect();
    assert!(looks.iter().any(Result::is_ok), "no child is confined: {looks:?}");
    drop(host);
    let deadline = Instant::now() + Duration::from_secs(60);
    while new.iter().any(is_inside) {
        assert!(Instant::now() < deadline, "a child outlived its host");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What is not true of a child that should be; nothing when it did not live long enough to be looked at.
fn confined(pid: u32) -> Option<Result<(), String>> {
    let read = |what: &str| fs::read_to_string(format!("/proc/{pid}/{what}")).ok();
    let (status, limits, devices, environment) = (read("status")?, read("limits")?, read("net/dev")?, read("environ")?);
    let mut faults = Vec::new();
    for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Threads:\t1"] {
        if !status.contains(line) {
            faults.push(format!("{line} is not in\n{status}"));
        }
    }
    for (name, most) in
        [("Max processes", "0"), ("Max file size", "0"), ("Max core file size", "0"), ("Max open files", "16")]
    {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        if line.get(name.len()..).and_then(|rest| rest.split_whitespace().nth(1)) != Some(most) {
            faults.push(line.to_owned());
        }
    }
    if !devices.lines().skip(2).all(|line| line.trim().starts_with("lo:")) {
        faults.push(devices);
    }
    for entry in fs::read_dir(format!("/proc/{pid}/root")).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if !["dev", "lib", "lib64", "nix", "run", "tmp", "usr"].iter().any(|known| name == *known) {
            faults.push(format!("{} is shown", name.display()));
        }
    }
    if environment.contains("HOME=") || environment.contains("CARGO") {
        faults.push(environment);
    }
    Some(if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) })
}

fn children() -> BTreeSet<u32> {
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}
