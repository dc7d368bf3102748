//! Files of secrets as people handle them: the program of ours, the real sops, and Debian's age on the same files.

#![expect(clippy::disallowed_methods, reason = "cc-ci, sops and age are started as people do")]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

/// The repository of an operator: `secrets/`, and the recovery key beside it.
struct Desk {
    dir: tempfile::TempDir,
}

const HOST: &str = include_str!("../nix/tests/keys/host.pub");

impl Desk {
    fn new() -> Desk {
        Desk { dir: tempfile::tempdir().unwrap() }
    }

    /// With a file for the published host key and a recovery key of its own, nothing missing.
    fn ready() -> Desk {
        let desk = Desk::new();
        desk.does(&["init", "--host", HOST.trim(), "--recovery-file", "recovery.txt"]);
        for (name, value) in [
            ("forge/token", "a token\n"),
            ("wildcard/certificate", "-----BEGIN\nx\n-----END\n"),
            ("wildcard/key", "the key"),
        ] {
            desk.gives(&["set", name], value);
        }
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn change(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{text}");
        self.write(name, &text.replacen(from, to, 1));
    }

    /// A command here, with the recovery key where sops and we look for it.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.dir.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", self.dir.path());
        command.env("SOPS_AGE_KEY_FILE", self.path("recovery.txt"));
        command.env("EDITOR", self.path("editor"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_owned();
        let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        output
    }

    fn secrets(&self, arguments: &[&str], input: &str) -> Output {
        let all: Vec<&str> = std::iter::once("secrets").chain(arguments.iter().copied()).collect();
        self.command(env!("CARGO_BIN_EXE_cc-ci"), &all, input)
    }

    fn gives(&self, arguments: &[&str], input: &str) -> String {
        let output = self.secrets(arguments, input);
        assert!(output.status.success(), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    fn does(&self, arguments: &[&str]) -> String {
        self.gives(arguments, "")
    }

    fn shows(&self, name: &str) -> String {
        self.does(&["show", name, "--raw"])
    }

    /// What the check finds; nothing when all is well.
    fn finds(&self) -> String {
        let output = self.secrets(&["check"], "");
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.success(), said.contains(": good; "), "{said}");
        if output.status.success() { String::new() } else { said }
    }

    /// A recipient more, with the key for it.
    fn keygen(&self, name: &str) -> String {
        self.does(&["keygen", "--output", name]).trim().to_owned()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn line<'a>(file: &'a str, begins: &str) -> &'a str {
    file.lines().find(|line| line.trim_start().starts_with(begins)).unwrap()
}

#[test]
fn a_new_host_is_one_command() {
    let desk = Desk::new();
    desk.write("host.pub", HOST);
    desk.write("token", "a token\n");
    let said = desk.does(&["init", "--host", "host.pub", "--recovery-file", "recovery.txt", "--token", "token"]);
    assert!(said.contains("wildcard/key is empty yet"), "{said}");
    assert_eq!(desk.path("recovery.txt").metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(desk.finds().contains("`wildcard/key` is empty; `cc-ci secrets set wildcard/key` fills it"));
    desk.gives(&["set", "wildcard/certificate"], "-----BEGIN\nx\n-----END\n");
    desk.gives(&["set", "wildcard/key"], "the key\n");
    assert_eq!(desk.finds(), "");
    assert_eq!(desk.shows("forge/token"), "a token");
    assert_eq!(desk.shows("wildcard/certificate"), "-----BEGIN\nx\n-----END\n");
    assert!(!desk.read("secrets/secrets.yaml").contains("a token"));
    // The host's ssh key opens it as well.
    let host = concat!(env!("CARGO_MANIFEST_DIR"), "/nix/tests/keys/host");
    let copy = desk.path("host");
    std::fs::copy(host, &copy).unwrap();
    std::fs::set_permissions(&copy, PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(desk.does(&["show", "forge/token", "--raw", "--key", "host"]), "a token");
    // Never over what is there, and never onto a pipe unasked.
    assert_eq!(
        desk.secrets(&["init", "--host", "host.pub", "--recovery-file", "other.txt"], "").status.code(),
        Some(2)
    );
    assert!(text(&desk.secrets(&["show", "forge/token"], "").stderr).contains("say --raw"));
    assert_eq!(
        desk.does(&["ssh-to-age", "host.pub"]),
        "age1guqappygg504gkjqn76c4cl9skqu5s9v8al3z35ce4caatrnegqsayk6a2\n"
    );
    let scanned = format!("# ci.example.org:22\nci.example.org {HOST}");
    assert_eq!(desk.gives(&["ssh-to-age"], &scanned), desk.does(&["ssh-to-age", "host"]));
}

#[test]
fn a_file_that_was_tampered_with_is_told_by_the_check() {
    let desk = Desk::ready();
    assert_eq!(desk.finds(), "");
    let file = "secrets/secrets.yaml";
    let good = desk.read(file);
    let found = |text: String| {
        desk.write(file, &text);
        let found = desk.finds();
        desk.write(file, &good);
        found
    };
    let token = line(&good, "token: ").to_owned();
    // One bit of the first byte of what is sealed.
    let at = token.find("data:").unwrap() + 5;
    let bit = char::from(if token.as_bytes()[at] == b'A' { b'B' } else { b'A' });
    let changed = format!("{}{bit}{}", &token[..at], &token[at + 1..]);
    assert!(found(good.replace(&token, &changed)).contains("`forge/token` does not fit its seal"));
    assert!(found(good.replace(&token, "    token: in the open")).contains("`forge/token` stands there in clear"));
    let other = Desk::ready().read(file);
    assert!(found(good.replace(line(&good, "mac: "), line(&other, "mac: "))).contains("another file"));
    let without: String = good.split_inclusive('\n').filter(|line| !line.starts_with("    token: ")).collect();
    let said = found(without);
    assert!(said.contains("`forge/token` is not there") && said.contains("MAC is not that of its values"), "{said}");

    std::fs::set_permissions(desk.path(file), PermissionsExt::from_mode(0o666)).unwrap();
    assert!(desk.finds().contains("others can write it (mode 666)"));
    std::fs::set_permissions(desk.path(file), PermissionsExt::from_mode(0o644)).unwrap();

    // A key that nobody here holds: the builder, which needs none, says what it can see.
    let stranger = desk.keygen("stranger.txt");
    std::fs::rename(desk.path("stranger.txt"), desk.path("recovery.txt")).unwrap();
    let said = desk.finds();
    assert!(
        said.contains("none of these keys opens it") && said.contains("age1guqapp") && !said.contains(&stranger),
        "{said}"
    );
    assert!(desk.does(&["check", "--without-key"]).contains("MAC and values not looked at"));
    let output = desk.secrets(&["check", "--without-key", "--needs", "registry/login"], "");
    assert!(text(&output.stdout).contains("`registry/login` is not there"));
}

#[test]
fn who_leaves_is_taken_out_and_the_data_key_renewed() {
    let desk = Desk::ready();
    let (file, rules) = ("secrets/secrets.yaml", "secrets/.sops.yaml");
    let leaver = desk.keygen("leaver.txt");
    desk.change(rules, "          - *recovery\n", &format!("          - *recovery\n          - {leaver}\n"));
    assert!(desk.finds().contains(&format!("is not sealed for {leaver}")));
    assert!(desk.does(&["updatekeys"]).contains(&format!("added    {leaver}")));
    assert_eq!(desk.finds(), "");
    assert_eq!(desk.does(&["show", "wildcard/key", "--raw", "--key", "leaver.txt"]), "the key");

    desk.change(rules, &format!("          - {leaver}\n"), "");
    assert!(desk.finds().contains(&format!("is sealed for {leaver}, which")));
    let kept = line(&desk.read(file), "token: ").to_owned();
    let said = desk.does(&["updatekeys"]);
    assert!(said.contains(&format!("removed  {leaver}")) && said.contains("cc-ci secrets rotate"), "{said}");
    assert_eq!(desk.finds(), "");
    assert_eq!(line(&desk.read(file), "token: "), kept);
    desk.does(&["rotate"]);
    assert_ne!(line(&desk.read(file), "token: "), kept);
    assert_eq!(desk.shows("wildcard/key"), "the key");
    assert_eq!(desk.secrets(&["show", "wildcard/key", "--raw", "--key", "leaver.txt"], "").status.code(), Some(1));
    assert!(desk.does(&["updatekeys"]).contains("already"));
}

#[test]
fn an_editor_sees_clear_text_and_leaves_nothing_behind() {
    let desk = Desk::ready();
    let editor = |script: &str| {
        desk.write(
            "editor",
            &format!(
                "#!/bin/sh\nset -e\nstat -c %a \"$1\" >>seen\ndirname \"$1\" >>seen\ncat \"$1\" >>seen\n{script}\n"
            ),
        );
        std::fs::set_permissions(desk.path("editor"), PermissionsExt::from_mode(0o755)).unwrap();
    };
    editor("");
    let before = desk.read("secrets/secrets.yaml");
    assert!(desk.does(&["edit"]).contains("nothing was changed"));
    assert_eq!(desk.read("secrets/secrets.yaml"), before);
    editor("sed -i 's/a token/another/; s/# the certificate.s key.*/# new words/' \"$1\"");
    desk.does(&["edit"]);
    assert_eq!(desk.shows("forge/token"), "another");
    assert_eq!(line(&desk.read("secrets/secrets.yaml"), "key: "), line(&before, "key: "));
    editor("printf 'a: [\\n' >\"$1\"");
    let output = desk.secrets(&["edit"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("is not YAML"));
    assert_eq!(desk.shows("forge/token"), "another");
    let seen = desk.read("seen");
    assert!(seen.starts_with("600\n") && seen.contains("# new words"), "{seen}");
    assert!(seen.contains("token: a token"), "{seen}");
    let gone = seen.lines().filter(|line| line.starts_with('/')).all(|dir| !Path::new(dir).exists());
    assert!(gone, "{seen}");
}

#[test]
fn a_thousand_values_are_checked_in_a_moment() {
    let desk = Desk::ready();
    let lines: String = (0..1000).map(|at| format!("v{at}: {}\n", "0123456789".repeat(4))).collect();
    desk.write("editor", &format!("#!/bin/sh\ncat >>\"$1\" <<'END'\n{lines}END\n"));
    std::fs::set_permissions(desk.path("editor"), PermissionsExt::from_mode(0o755)).unwrap();
    desk.does(&["edit"]);
    let started = Instant::now();
    assert_eq!(desk.finds(), "");
    let took = started.elapsed();
    println!("1,003 values checked in {took:?}");
    // The number to hold is for the program as it ships.
    assert!(took.as_millis() <= if cfg!(debug_assertions) { 1000 } else { 100 }, "{took:?}");
}

/// The real sops, or why there is none.
fn sops(test: &str) -> Option<PathBuf> {
    let program = std::env::var_os("CC_CI_SOPS").map(PathBuf::from).filter(|path| path.is_file());
    if program.is_none() {
        println!("SKIPPED {test}: no sops (scripts/lib/sops.sh builds one where Go is)");
    }
    program
}

const ODD: &str = "# head\n# before a\na: plain value # behind a\ntop: # behind top\n    # before b\n    b: 1\n    c: 0777\n    # after c\n# before list\nlist: # behind list\n    # before x\n    - x # behind x\n    # before a mapping\n    - k: v\n      # inside\n      l: 1_000\n\"quoted: key\": \"a: # b\"\nday: 2020-01-01\nmoment: 2020-01-01T10:00:00.5+02:00\nhalf: 0.10\nlarge: 1e21\nplus: +5\nhex: 0x1F\nyes: yes\nnothing:\nempty: \"\"\nendless: .inf\nmost: 9223372036854775807\nlines: |\n    one\n      two\n\n    three\nfolded: >-\n    aa\n    bb\nblank: |+\n    x\n\nuni: \"ü☃😀\\u0085\\t\"\nbell: \"\\x07\"\nplain_unencrypted: hello\nnested_unencrypted:\n    # in clear\n    x: 1\n    t: True\nflow: {a: 1, b: [x, \"y, z\"]}\n# the end\n";

#[test]
fn sops_and_we_read_what_the_other_wrote() {
    let Some(sops) = sops("sops_and_we_read_what_the_other_wrote") else { return };
    let desk = Desk::ready();
    let run = |arguments: &[&str]| {
        let output = desk.command(
            &sops,
            &[&["--disable-version-check", "--config", "secrets/.sops.yaml"], arguments].concat(),
            "",
        );
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stderr).matches("level=warning").count(), 0, "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let file = "secrets/secrets.yaml";
    let opened_by_both = || {
        let ours: Vec<String> =
            ["forge/token", "wildcard/certificate", "wildcard/key"].map(|name| desk.shows(name)).into();
        let theirs = [r#"["forge"]["token"]"#, r#"["wildcard"]["certificate"]"#, r#"["wildcard"]["key"]"#];
        assert_eq!(theirs.map(|path| run(&["decrypt", "--extract", path, file])).to_vec(), ours);
        assert!(desk.secrets(&["check", "--needs", "forge/token"], "").status.success());
    };
    // What we made, then changed in each way that there is, by us and by them in turn.
    opened_by_both();
    desk.gives(&["set", "forge/token"], "two");
    run(&["set", file, r#"["wildcard"]["key"]"#, r#""theirs""#]);
    opened_by_both();
    desk.does(&["rotate"]);
    opened_by_both();
    run(&["rotate", "-i", file]);
    opened_by_both();
    let more = desk.keygen("more.txt");
    desk.change(
        "secrets/.sops.yaml",
        "          - *recovery\n",
        &format!("          - *recovery\n          - {more}\n"),
    );
    run(&["updatekeys", "-y", file]);
    opened_by_both();
    desk.change("secrets/.sops.yaml", &format!("          - {more}\n"), "");
    desk.does(&["updatekeys"]);
    opened_by_both();

    // Odd values and comments: what they sealed, as we see it, and the other way round.
    for (setting, clear) in
        [("", ODD), ("    mac_only_encrypted: true\n", ODD), ("    encrypted_regex: ^(top|list)$\n", ODD)]
    {
        desk.change("secrets/.sops.yaml", "    key_groups", &format!("{setting}    key_groups"));
        desk.write("secrets/odd-secrets.yaml", clear);
        run(&["encrypt", "-i", "secrets/odd-secrets.yaml"]);
        let theirs = run(&["decrypt", "secrets/odd-secrets.yaml"]);
        assert!(desk.does(&["check", "--file", "secrets/odd-secrets.yaml", "--needs", "a"]).contains("good"));
        // An editor that puts there what was before anybody sealed it: everything is sealed by us.
        desk.write("editor", "#!/bin/sh\ncat clear >\"$1\"\n");
        std::fs::set_permissions(desk.path("editor"), PermissionsExt::from_mode(0o755)).unwrap();
        desk.write("clear", clear);
        desk.does(&["rotate", "--file", "secrets/odd-secrets.yaml"]);
        assert_eq!(run(&["decrypt", "secrets/odd-secrets.yaml"]), theirs);
        desk.does(&["edit", "--file", "secrets/odd-secrets.yaml"]);
        assert_eq!(run(&["decrypt", "secrets/odd-secrets.yaml"]), theirs);
        if !setting.is_empty() {
            desk.change("secrets/.sops.yaml", setting, "");
        }
    }

    // A large one, and one that no editor can hold.
    let large: String = "äöü€😀\n".repeat(80_000);
    desk.gives(&["set", "large"], &large);
    assert_eq!(run(&["decrypt", "--extract", r#"["large"]"#, file]), large);
    assert_eq!(desk.shows("large"), large);
    assert!(large.len() > 1 << 20);
}

#[test]
fn age_itself_opens_what_is_sealed_for_its_keys() {
    let desk = Desk::ready();
    if Command::new("age").arg("--version").output().is_err() {
        println!("SKIPPED age_itself_opens_what_is_sealed_for_its_keys: no age program");
        return;
    }
    let key = desk.keygen("key.txt");
    assert_eq!(text(&desk.command("age-keygen", &["-y", "key.txt"], "").stdout).trim(), key);
    let host = concat!(env!("CARGO_MANIFEST_DIR"), "/nix/tests/keys/host");
    let recipient = desk.does(&["ssh-to-age", host, "--private", "host.txt"]);
    assert_eq!(text(&desk.command("age-keygen", &["-y", "host.txt"], "").stdout), recipient);
    let file = desk.read("secrets/secrets.yaml");
    let armour = file.split("- enc: |\n").nth(1).unwrap().split("          recipient").next().unwrap();
    let armour: String = armour.lines().map(|line| line.trim().to_owned() + "\n").collect();
    let opened = desk.command("age", &["--decrypt", "--identity", "host.txt"], &armour);
    assert_eq!(opened.stdout.len(), 32, "{}", text(&opened.stderr));
}

/// Every block of commands of the page, in its order, as one shell would run them.
#[test]
fn the_pages_commands_do_what_the_page_says() {
    let desk = Desk::new();
    let page = std::fs::read_to_string("docs/secrets.md").unwrap();
    let blocks: Vec<&str> = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() > 10);
    for (name, value) in [("token.txt", "a token"), ("new-token.txt", "another token"), ("docker-config.json", "{}\n")]
    {
        desk.write(name, value);
    }
    for name in ["certificate.pem", "key.pem", "new-certificate.pem", "new-key.pem"] {
        desk.write(name, &format!("-----BEGIN {name}\nx\n-----END\n"));
    }
    // The machine: its ssh key, another one later on, and what it takes to switch.
    let program = |name: &str, script: &str| {
        desk.write(name, &format!("#!/bin/bash\nset -e\n{script}\n"));
        std::fs::set_permissions(desk.path(name), PermissionsExt::from_mode(0o755)).unwrap();
    };
    let other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBI1+Q+ntzANebtnicCiAY29uqLGWOaOGLEa8bUqOVmS";
    program(
        "ssh-keyscan",
        &format!("if [[ -e switched ]]; then echo '{other}'; else echo '{HOST}'; fi | sed 's/^/ci.example.org /;q'"),
    );
    program(
        "nixos-rebuild",
        "git diff --quiet HEAD -- secrets && cc-ci secrets check >/dev/null && echo \"$@\" >>switched",
    );
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_cc-ci"), desk.path("cc-ci")).unwrap();
    let begin = "export PATH=$PWD:$PATH GIT_AUTHOR_NAME=x GIT_AUTHOR_EMAIL=x GIT_COMMITTER_NAME=x GIT_COMMITTER_EMAIL=x\ngit init -q\n";
    let output = desk.command("bash", &["-euo", "pipefail", "-c", &format!("{begin}{}", blocks.concat())], "");
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{said}");

    let switches = page.lines().filter(|line| line.starts_with("nixos-rebuild")).count();
    assert_eq!(desk.read("switched").lines().count(), switches);
    let key = desk.path("our-ci-recovery.txt").display().to_string();
    let shows = |name: &str| desk.does(&["show", name, "--raw", "--key", &key]);
    assert_eq!(shows("forge/token"), "another token");
    assert_eq!(shows("wildcard/key"), desk.read("new-key.pem"));
    assert_eq!(shows("registry/login"), "{}");
    assert_eq!(shows("backup/repository-key").len(), 44);
    let rules = desk.read("secrets/.sops.yaml");
    assert!(rules.contains("&host age1a8pk4akrdamj7nvqy3zywgtny8dxz7t5xzu7u8v9mhrayp9freqsqatyrs"), "{rules}");
}
