//! `exec`, `file` and `sql` in real containers: PostgreSQL and MariaDB, asked by their own clients.

use std::path::Path;
use std::time::Duration;

use cc_ci::sandbox::{self, Command};
use cc_ci::script::tools::{
    Bytes, ExecAnswer, ExecRequest, HttpAnswer, HttpRequest, LARGEST_STREAM, Seen, Step, ToolError, Tools,
};
use cc_ci::script::{Limits, Moment, Script, Side};
use cc_ci::secrets::Secret;
use cc_ci::swarm::Swarm;
use cc_ci::swarm::exec::{Exec, ExecEnded};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::stage::{define, kit, play};

/// A container of this test's own, gone when it is dropped.
struct Container {
    swarm: Swarm,
    name: String,
}

impl Container {
    async fn run(story: &str, image: &str, env: &[&str]) -> Option<Container> {
        let swarm = match Swarm::connect(Path::new("/var/run/docker.sock")).await {
            Ok(swarm) => swarm,
            Err(fault) => {
                println!("SKIPPED {story}: {fault}");
                return None;
            }
        };
        if !swarm.has_image(image).await.unwrap_or(false) {
            println!("SKIPPED {story}: the image {image} is not here");
            return None;
        }
        let name = format!("cc-ci-script-{}-{}", image.split(':').next().unwrap_or_default(), std::process::id());
        let mut words = vec!["run", "-d", "--rm", "--name", &name];
        for pair in env {
            words.extend(["-e", pair]);
        }
        words.push(image);
        docker(&words).await;
        Some(Container { swarm, name })
    }

    async fn end(self) {
        docker(&["rm", "-f", "-v", &self.name]).await;
    }

    async fn execute(&self, request: ExecRequest) -> Result<ExecAnswer, ToolError> {
        let exec = Exec { stdin: request.stdin, ..Exec::new(request.command) };
        let limit = Duration::from_secs(60);
        let done = self.swarm.exec(&self.name, &exec, limit, LARGEST_STREAM, &CancellationToken::new()).await;
        let done = done.map_err(|fault| ToolError::Failed(fault.to_string()))?;
        let ExecEnded::Exit(code) = done.ended else { return Err(ToolError::Failed("it took too long".into())) };
        Ok(ExecAnswer { code, out: Bytes(done.stdout), err: Bytes(done.stderr), cut: done.cut })
    }
}

async fn docker(words: &[&str]) {
    let command = Command::new("docker").args(words).env_from_ours(["PATH", "HOME"]).limit(Duration::from_secs(60));
    let output = sandbox::output(&command, &CancellationToken::new(), 4096).await.unwrap();
    assert!(output.exit.is_success(), "docker {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Tools for Container {
    fn http(&mut self, _: HttpRequest) -> BoxFuture<'_, Result<HttpAnswer, ToolError>> {
        ready(Err(ToolError::Failed("this is about containers".into()))).boxed()
    }

    fn exec(&mut self, request: ExecRequest) -> BoxFuture<'_, Result<ExecAnswer, ToolError>> {
        self.execute(request).boxed()
    }

    fn browser(&mut self, _: Step) -> BoxFuture<'_, Result<Seen, ToolError>> {
        ready(Err(ToolError::Failed("this is about containers".into()))).boxed()
    }

    fn secret(&mut self, _: &str) -> BoxFuture<'_, Result<Secret, ToolError>> {
        ready(Err(ToolError::Failed("this is about containers".into()))).boxed()
    }
}

// An image's first server only makes the database; while it runs, the entry point is still the first process.
const SCRIPT: &str = r#"
ci.job("up", {"install"}, function(t)
  return t.retry({within = 120, every = 0.5}, function() assert(not t.exec("db", "cat /proc/1/comm").out:find("docker-entry", 1, true)) return #t.sql.query("db", "select 1 as one") == 1 end)
end)

ci.job("rows", {"up"}, function(t)
  local sql = t.sql
  sql.query("db", "create table notes (id int primary key, text text, empty text)")
  local made = sql.query("db", [[insert into notes values (1, 'a "quoted", line' || chr(10) || 'and	tab', null), (2, 'back\slash', ''), (3, 'ü', 'x')]])
  assert(#made == 0)
  assert(#sql.query("db", "select * from notes where id > 99") == 0)
  return sql.query("db", "select id, text, empty from notes order by id")
end)

ci.job("wrong", {"up"}, function(t) local rows = t.sql.query("db", "selct 1") return rows end)
ci.job("elsewhere", {"up"}, function(t) local rows = t.sql.query("db", "select 1", {database = "nowhere"}) return rows end)

ci.job("one", {"up"}, function(t)
  local sql = t.sql
  assert(sql.query("db", "select ';' as semicolon; -- ; that is all")[1].semicolon == ";")
  assert(sql.query("db", "/* ; */ select 'it''s; one' as text;\n")[1].text == "it's; one")
  assert(sql.query("db", "select '\\! touch /tmp/ran' as text")[1].text:find("touch", 1, true))
  return sql.query("db", "select length('" .. ("x"):rep(200000) .. "') as much")[1].much
end)
ci.job("two", {"up"}, function(t) local rows = t.sql.query("db", "select 1 as a; select 2 as b") return rows end)
ci.job("order", {"up"}, function(t)
  for _, order in ipairs({"\\! touch /tmp/ran", "select 1 \\! touch /tmp/ran", "select 1;\n\\! touch /tmp/ran\n", "system touch /tmp/ran", "\\o /tmp/ran\nselect 1", "\\T /tmp/ran\nselect 1", "select 1 \\g /tmp/ran"}) do
    local did = pcall(t.sql.query, "db", order)
    assert(not did, order)
    assert(not t.file.exists("db", "/tmp/ran"), order)
  end
  return true
end)

ci.job("files", {"up"}, function(t)
  t.file.write("db", "/tmp/a note.txt", "ü\0\n$(id)")
  local text = t.file.read("db", "/tmp/a note.txt")
  t.file.remove("db", "/tmp/a note.txt")
  return {same = text == "ü\0\n$(id)", there = t.file.exists("db", "/tmp/a note.txt")}
end)
"#;

/// `second` is said of a second statement.
async fn asked(story: &str, image: &str, env: &[&str], script: String, second: &str) {
    let Some(kit) = kit(story) else { return };
    let Some(mut container) = Container::run(story, image, env).await else { return };
    let host = define(kit, Side::Recipe, Limits::default(), vec![Script::new("checks/t.lua", script)]).await.unwrap();
    let heard = play(host, &mut container, &[Moment::Install]).await;
    container.end().await;
    assert_eq!(
        heard.passed("rows"),
        &json!([
            {"id": "1", "text": "a \"quoted\", line\nand\ttab"},
            {"id": "2", "text": "back\\slash", "empty": ""},
            {"id": "3", "text": "ü", "empty": "x"},
        ])
    );
    assert!(
        heard.failed("wrong").starts_with("checks/t.lua:15: sql.query in db: exit code"),
        "{}",
        heard.failed("wrong")
    );
    assert!(heard.failed("wrong").contains(": ERROR"), "{}", heard.failed("wrong"));
    assert_eq!(heard.passed("one"), "200000");
    assert!(heard.failed("two").starts_with("checks/t.lua:25: sql.query in db: exit code"), "{}", heard.failed("two"));
    assert!(heard.failed("two").contains(second), "{}", heard.failed("two"));
    assert_eq!(heard.passed("order"), true);
    assert!(heard.failed("elsewhere").contains("nowhere"), "{}", heard.failed("elsewhere"));
    assert_eq!(heard.passed("files"), &json!({"same": true, "there": false}));
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_asked_as_the_user_its_environment_names() {
    let env = ["POSTGRES_USER=notes", "POSTGRES_DB=kept", "POSTGRES_PASSWORD=quite-long-enough"];
    let story = "databases::postgres_is_asked_as_the_user_its_environment_names";
    asked(story, "postgres:17-alpine", &env, SCRIPT.into(), "there is more than one statement in the query").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_is_asked_as_the_user_its_environment_names() {
    let env = ["MARIADB_ROOT_PASSWORD=quite-long-enough", "MARIADB_DATABASE=kept"];
    let story = "databases::mariadb_is_asked_as_the_user_its_environment_names";
    let script = SCRIPT.replace(r#"'a "quoted", line' || chr(10) || 'and	tab'"#, r#"'a "quoted", line\nand	tab'"#);
    asked(story, "mariadb:11.8", &env, script.replace("back\\slash", "back\\\\slash"), "near 'select 2").await;
}
