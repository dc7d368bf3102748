//! Strangers' repositories, with the real git: what is pinned arrives, and nothing else does any harm.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cc_ci::git::{self, Fetched, GitError, Limits, Source};
use cc_ci::model::Head;
use cc_ci::sandbox::{self, Command};
use cc_ci::secrets::Secret;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// A forge's repository, with a work tree to make commits in.
struct Forge {
    dir: TempDir,
}

impl Forge {
    async fn new() -> Forge {
        sandbox::warden_is_at(env!("CARGO_BIN_EXE_cc-ci"));
        let forge = Forge { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(forge.path()).unwrap();
        forge.git(&["init", "-q", "-b", "main"]).await;
        forge.commit("compose.yml", "services: {}\n").await;
        forge
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("forge")
    }

    /// Where a run would have its copy.
    fn copy(&self) -> PathBuf {
        self.dir.path().join("copy")
    }

    async fn git_with(&self, args: &[&str], stdin: &[u8]) -> String {
        let command =
            Command::new("git").args(args).cwd(self.path()).env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent");
        let command = ["AUTHOR", "COMMITTER"].iter().fold(command, |command, role| {
            command.env(format!("GIT_{role}_NAME"), "a").env(format!("GIT_{role}_EMAIL"), "a@b")
        });
        let output = sandbox::output(&command.stdin(stdin.to_vec()), &CancellationToken::new(), 1 << 20).await.unwrap();
        assert!(output.exit.is_success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    async fn git(&self, args: &[&str]) -> String {
        self.git_with(args, b"").await
    }

    async fn head(&self) -> Head {
        self.git(&["rev-parse", "HEAD"]).await.parse().unwrap()
    }

    async fn commit(&self, file: &str, text: &str) -> Head {
        let path = self.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self.git(&["add", "-A"]).await;
        self.git(&["commit", "-q", "-m", &format!("Change {file}\n\nMore.")]).await;
        self.head().await
    }

    /// A commit of a tree that git itself would not make.
    async fn commit_tree(&self, entries: &[(&str, &[u8], &str)]) -> Head {
        let mut tree = Vec::new();
        for (mode, name, object) in entries {
            tree.extend_from_slice(mode.as_bytes());
            tree.push(b' ');
            tree.extend_from_slice(name);
            tree.push(0);
            tree.extend(
                object
                    .as_bytes()
                    .chunks(2)
                    .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()),
            );
        }
        let tree = self.git_with(&["hash-object", "-t", "tree", "-w", "--stdin", "--literally"], &tree).await;
        let commit = self.git(&["commit-tree", &tree, "-m", "odd"]).await;
        self.git(&["update-ref", "refs/pull/1/head", &commit]).await;
        commit.parse().unwrap()
    }

    fn source(&self, head: &Head) -> Source {
        Source {
            url: self.path().to_str().unwrap().to_owned(),
            token: None,
            head: head.clone(),
            pr_ref: Some("refs/pull/1/head".into()),
            base_branch: Some("main".into()),
            allow_file: true,
        }
    }

    async fn fetch(&self, head: &Head) -> Result<Fetched, GitError> {
        self.fetch_within(head, Limits::default()).await
    }

    async fn fetch_within(&self, head: &Head, limits: Limits) -> Result<Fetched, GitError> {
        if self.copy().exists() {
            fs::remove_dir_all(self.copy()).unwrap();
        }
        git::fetch(&self.source(head), &self.copy(), &limits, &CancellationToken::new(), &mut |_, _| {}).await
    }
}

#[tokio::test]
async fn the_pinned_commit_arrives_with_tags_and_base() {
    let forge = Forge::new().await;
    let first = forge.head().await;
    forge.git(&["tag", "0.1.0+1.0"]).await;
    forge.git(&["tag", "-a", "0.2.0+1.1", "-m", "release"]).await;
    let base = forge.commit("README.md", "new on main\n").await;
    forge.git(&["checkout", "-q", "-b", "feature", first.as_str()]).await;
    let head = forge.commit("abra.sh", "export A=1\n").await;
    // A fork's commit, known by the pull request alone.
    forge.git(&["update-ref", "refs/pull/1/head", head.as_str()]).await;
    forge.git(&["checkout", "-q", "main"]).await;
    forge.git(&["branch", "-qD", "feature"]).await;

    let fetched = forge.fetch(&head).await.unwrap();
    assert_eq!(fetched.base.as_ref(), Some(&base));
    assert_eq!((fetched.files, fetched.bytes), (2, 24));
    let copy = forge.copy();
    assert_eq!(git::head(&copy).await.unwrap(), head);
    assert_eq!(fs::read_to_string(copy.join("abra.sh")).unwrap(), "export A=1\n");
    assert!(!copy.join("README.md").exists());
    assert!(!git::is_dirty(&copy).await.unwrap());

    let tags = git::tags(&copy).await.unwrap();
    let shown: Vec<(&str, bool, bool)> =
        tags.iter().map(|tag| (tag.name.as_str(), tag.annotated, tag.tagger_time.is_some())).collect();
    assert_eq!(shown, [("0.1.0+1.0", false, false), ("0.2.0+1.1", true, true)]);
    assert!(tags.iter().all(|tag| tag.commit == first));
    assert!(git::is_ancestor(&copy, &first, &head).await.unwrap());
    assert!(git::is_ancestor(&copy, &head, &head).await.unwrap());
    assert!(!git::is_ancestor(&copy, &base, &head).await.unwrap());
    assert_eq!(git::changed_files(&copy, &base, &head).await.unwrap(), ["README.md", "abra.sh"]);
    assert_eq!(git::commit_title(&copy, &head).await.unwrap(), "Change abra.sh");

    fs::write(copy.join("abra.sh"), "changed").unwrap();
    fs::write(copy.join("new"), "").unwrap();
    assert!(git::is_dirty(&copy).await.unwrap());
    git::checkout(&copy, &base).await.unwrap();
    assert_eq!(git::head(&copy).await.unwrap(), base);
    assert!(!copy.join("new").exists() && copy.join("README.md").exists() && !git::is_dirty(&copy).await.unwrap());
}

#[tokio::test]
async fn a_commit_that_was_pushed_over_is_found_while_the_forge_has_it() {
    let forge = Forge::new().await;
    let head = forge.head().await;
    let newer = forge.commit("a", "newer").await;
    forge.git(&["update-ref", "refs/pull/1/head", newer.as_str()]).await;
    forge.fetch(&head).await.unwrap();

    let gone: Head = "1234567890123456789012345678901234567890".parse().unwrap();
    let error = forge.fetch(&gone).await.unwrap_err();
    assert!(matches!(&error, GitError::HeadGone(head) if *head == gone), "{error}");
    assert!(!error.is_infra());
}

#[tokio::test]
async fn a_ref_or_a_base_that_is_not_there_is_left_out() {
    let forge = Forge::new().await;
    let head = forge.head().await;
    let mut source = forge.source(&head);
    source.base_branch = Some("no-such-branch".into());
    source.pr_ref = Some("refs/pull/99/head".into());
    let fetched =
        git::fetch(&source, &forge.copy(), &Limits::default(), &CancellationToken::new(), &mut |_, _| {}).await;
    assert_eq!(fetched.unwrap().base, None);
}

#[tokio::test]
async fn a_repository_that_is_not_there_and_a_forge_that_is_not_are_told_apart() {
    let forge = Forge::new().await;
    let mut source = forge.source(&forge.head().await);
    let cancel = CancellationToken::new();
    source.url = forge.dir.path().join("nothing").to_str().unwrap().into();
    let missing = git::fetch(&source, &forge.copy(), &Limits::default(), &cancel, &mut |_, _| {}).await.unwrap_err();
    assert!(matches!(missing, GitError::Refused(_)), "{missing}");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    source.url = format!("http://127.0.0.1:{port}/a/b.git");
    let nobody = git::fetch(&source, &forge.dir.path().join("copy2"), &Limits::default(), &cancel, &mut |_, _| {})
        .await
        .unwrap_err();
    assert!(matches!(nobody, GitError::Unreachable(_)) && nobody.is_infra(), "{nobody}");
    source.url = forge.path().to_str().unwrap().into();
    source.allow_file = false;
    let disk = git::fetch(&source, &forge.dir.path().join("copy3"), &Limits::default(), &cancel, &mut |_, _| {})
        .await
        .unwrap_err();
    assert!(matches!(disk, GitError::Refusable(_)), "{disk}");
}

#[tokio::test]
async fn ten_thousand_tags_are_no_trouble() {
    let forge = Forge::new().await;
    let head = forge.head().await;
    let refs: Vec<String> =
        (0..10_000).map(|number| format!("create refs/tags/{number}.0.0+1.{number} {head}")).collect();
    forge.git_with(&["update-ref", "--stdin"], (refs.join("\n") + "\n").as_bytes()).await;
    let limits = Limits { time: Duration::from_secs(60), ..Limits::default() };
    forge.fetch_within(&head, limits).await.unwrap();
    assert_eq!(git::tags(&forge.copy()).await.unwrap().len(), 10_000);
}

#[tokio::test]
async fn what_is_too_big_is_stopped() {
    let forge = Forge::new().await;
    let small = Limits { bytes: 1 << 20, files: 100, time: Duration::from_secs(60) };
    // Does not compress.
    let noise: Vec<u8> = (0u64..300_000)
        .flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17).wrapping_mul(n | 1).to_le_bytes())
        .collect();
    fs::write(forge.path().join("noise"), &noise).unwrap();
    let big = forge.commit("x", "").await;
    let error = forge.fetch_within(&big, small).await.unwrap_err();
    assert!(matches!(error, GitError::TooBig(_)), "{error}");

    let forge = Forge::new().await;
    // A few kilobytes on the way, megabytes on disk.
    let bomb = forge.commit("zeros", &"0".repeat(3 << 20)).await;
    let error = forge.fetch_within(&bomb, small).await.unwrap_err();
    assert!(matches!(error, GitError::TooBig(_)), "{error}");
    assert!(!forge.copy().join("zeros").exists());

    let forge = Forge::new().await;
    for number in 0..101 {
        fs::write(forge.path().join(number.to_string()), "").unwrap();
    }
    let many = forge.commit("x", "").await;
    let error = forge.fetch_within(&many, small).await.unwrap_err();
    assert!(error.to_string().contains("more than 100 files"), "{error}");
}

#[tokio::test]
async fn a_tree_that_unfolds_without_end_is_stopped_while_it_is_counted() {
    let forge = Forge::new().await;
    let mut object = forge.git_with(&["hash-object", "-w", "--stdin"], b"x").await;
    let mut kind = "100644 blob";
    for _ in 0..12 {
        let entries: Vec<String> = (0..10).map(|name| format!("{kind} {object}\t{name}")).collect();
        object = forge.git_with(&["mktree"], (entries.join("\n") + "\n").as_bytes()).await;
        kind = "040000 tree";
    }
    let commit: Head = forge.git(&["commit-tree", &object, "-m", "bomb"]).await.parse().unwrap();
    forge.git(&["update-ref", "refs/pull/1/head", commit.as_str()]).await;
    let error = forge.fetch(&commit).await.unwrap_err();
    assert!(error.to_string().contains("more than 20000 files"), "{error}");
}

#[tokio::test]
async fn a_million_files_are_counted_and_refused() {
    let forge = Forge::new().await;
    let blob = forge.git_with(&["hash-object", "-w", "--stdin"], b"x").await;
    let entries: String = (0..1_000_000).map(|name| format!("100644 blob {blob}\t{name:07}\n")).collect();
    let tree = forge.git_with(&["mktree"], entries.as_bytes()).await;
    let commit: Head = forge.git(&["commit-tree", &tree, "-m", "many"]).await.parse().unwrap();
    forge.git(&["update-ref", "refs/pull/1/head", commit.as_str()]).await;
    let error = forge.fetch(&commit).await.unwrap_err();
    assert!(matches!(&error, GitError::TooBig(what) if what.contains("more than 20000 files")), "{error}");
    assert!(!forge.copy().join("0000000").exists());
}

#[tokio::test]
async fn an_object_that_unfolds_in_memory_is_stopped() {
    let forge = Forge::new().await;
    let tree = forge.git(&["rev-parse", "HEAD^{tree}"]).await;
    let mut commit = format!("tree {tree}\nauthor a <a@b> 1 +0000\ncommitter a <a@b> 1 +0000\n\n").into_bytes();
    // A few hundred kilobytes on the way.
    commit.resize(100 << 20, b'a');
    let head: Head = forge.git_with(&["hash-object", "-t", "commit", "-w", "--stdin"], &commit).await.parse().unwrap();
    forge.git(&["update-ref", "refs/pull/1/head", head.as_str()]).await;
    let error = forge.fetch(&head).await.unwrap_err();
    assert!(matches!(&error, GitError::TooBig(what) if what.contains("larger than git may open")), "{error}");
}

#[tokio::test]
async fn a_path_without_end_is_refused() {
    let forge = Forge::new().await;
    let blob = forge.git_with(&["hash-object", "-w", "--stdin"], b"x").await;
    let long = "n".repeat(300);
    let head = forge.commit_tree(&[("100644", long.as_bytes(), &blob)]).await;
    let error = forge.fetch(&head).await.unwrap_err();
    assert!(error.to_string().contains("a path that no file can have, 300 bytes long"), "{error}");
    let mut tree = forge.git_with(&["mktree"], format!("100644 blob {blob}\tx\n").as_bytes()).await;
    for _ in 0..12 {
        tree = forge.git_with(&["mktree"], format!("040000 tree {tree}\t{}\n", "d".repeat(100)).as_bytes()).await;
    }
    let commit: Head = forge.git(&["commit-tree", &tree, "-m", "deep"]).await.parse().unwrap();
    forge.git(&["update-ref", "refs/pull/1/head", commit.as_str()]).await;
    let error = forge.fetch(&commit).await.unwrap_err();
    assert!(error.to_string().contains("a path that no file can have, 1213 bytes long"), "{error}");
}

#[tokio::test]
async fn nothing_of_a_repository_is_run() {
    use std::os::unix::fs::PermissionsExt;
    let forge = Forge::new().await;
    let ran = forge.dir.path().join("ran");
    let evil = format!("#!/bin/sh\ntouch '{}'\ncat\n", ran.display());
    let program = forge.path().join("evil");
    fs::write(&program, &evil).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let command = program.to_str().unwrap();
    let config = format!(
        "[core]\n\tfsmonitor = {command}\n\tsshCommand = {command}\n\thooksPath = .\n\tpager = {command}\n\
         [filter \"evil\"]\n\tsmudge = {command}\n\tclean = {command}\n\tprocess = {command}\n\trequired = true\n\
         [diff]\n\texternal = {command}\n[uploadpack]\n\tpackObjectsHook = {command}\n"
    );
    // As files of the repository, and as settings of the one that it is fetched from.
    fs::write(forge.path().join(".gitconfig"), &config).unwrap();
    fs::write(forge.path().join(".lfsconfig"), format!("[lfs]\n\turl = {command}\n")).unwrap();
    fs::write(forge.path().join(".gitattributes"), "* filter=evil diff=evil\n").unwrap();
    for hook in ["post-checkout", "reference-transaction", "post-merge", "pre-commit", "fsmonitor-watchman"] {
        for dir in [forge.path().join("hooks"), forge.path().join(".git/hooks")] {
            fs::create_dir_all(&dir).unwrap();
            fs::copy(&program, dir.join(hook)).unwrap();
        }
    }
    let head = forge.commit("text", "text\n").await;
    fs::remove_file(&ran).ok();
    let settings = fs::read_to_string(forge.path().join(".git/config")).unwrap();
    fs::write(forge.path().join(".git/config"), settings + &config).unwrap();

    forge.fetch(&head).await.unwrap();
    git::checkout(&forge.copy(), &head).await.unwrap();
    assert!(!git::is_dirty(&forge.copy()).await.unwrap());
    git::changed_files(&forge.copy(), &head, &head).await.unwrap();
    assert_eq!(fs::read_to_string(forge.copy().join("text")).unwrap(), "text\n");
    assert!(!ran.exists(), "something of the repository was run");
}

#[tokio::test]
async fn names_that_bite_are_refused_before_a_file_is_made() {
    let forge = Forge::new().await;
    let blob = forge.git_with(&["hash-object", "-w", "--stdin"], b"evil").await;
    let tree = forge.git_with(&["mktree"], format!("100644 blob {blob}\tconfig\n").as_bytes()).await;
    let odd: [(&str, &[u8], &str); 6] = [
        ("40000", b".git", &tree),
        ("40000", b".GIT", &tree),
        ("40000", b"..", &tree),
        ("100644", b"a\nb", &blob),
        ("100644", b"a\x1b[31m", &blob),
        ("100644", b"\xff\xfe", &blob),
    ];
    for entry in odd {
        let head = forge.commit_tree(&[entry]).await;
        let error = forge.fetch(&head).await.unwrap_err();
        assert!(matches!(error, GitError::Hostile(_)), "{:?}: {error:?}", String::from_utf8_lossy(entry.1));
    }
    assert!(!forge.copy().join(".git/config/config").exists());
}

#[tokio::test]
async fn links_stay_links_and_submodules_stay_away() {
    let forge = Forge::new().await;
    symlink("/etc/passwd", forge.path().join("link")).unwrap();
    fs::write(forge.path().join(".gitmodules"), "[submodule \"s\"]\n\tpath = s\n\turl = /etc\n").unwrap();
    fs::write(forge.path().join(".gitattributes"), "* filter=lfs\n*.x filter=evil\n").unwrap();
    forge.commit("a.x", "text").await;
    let commit = forge.head().await;
    forge.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},s")]).await;
    forge.git(&["commit", "-q", "-m", "with a submodule"]).await;
    let head = forge.head().await;
    forge.fetch(&head).await.unwrap();
    let copy = forge.copy();
    assert!(copy.join("link").symlink_metadata().unwrap().is_symlink());
    assert_eq!(fs::read_to_string(copy.join("a.x")).unwrap(), "text");
    assert_eq!(fs::read_dir(copy.join("s")).unwrap().count(), 0);
    assert!(!copy.join(".git/hooks").exists() && !copy.join(".git/modules").exists());
}

#[tokio::test]
async fn it_can_be_cancelled() {
    let forge = Forge::new().await;
    // A forge that takes the connection and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut source = forge.source(&forge.head().await);
    source.url = format!("http://{}/a/b.git", silent.local_addr().unwrap());
    let cancel = CancellationToken::new();
    let heard = tokio::task::spawn_blocking(move || silent.accept().unwrap());
    let (copy, limits) = (forge.copy(), Limits::default());
    let mut quiet = |_: sandbox::Stream, _: &[u8]| {};
    let (result, _held) = tokio::join!(git::fetch(&source, &copy, &limits, &cancel, &mut quiet), async {
        let connection = heard.await.unwrap();
        cancel.cancel();
        connection
    });
    assert!(matches!(result, Err(GitError::Cancelled)), "{result:?}");
    let limits = Limits { time: Duration::from_millis(200), ..limits };
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    source.url = format!("http://{}/a/b.git", silent.local_addr().unwrap());
    fs::remove_dir_all(&copy).unwrap();
    let result = git::fetch(&source, &copy, &limits, &CancellationToken::new(), &mut |_, _| {}).await;
    assert!(matches!(result, Err(GitError::TimedOut(_))), "{result:?}");
}

#[tokio::test]
async fn the_token_is_sent_to_the_forge_and_seen_nowhere_else() {
    const TOKEN: &str = "t0ken-nobody-may-see";
    let forge = Forge::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut source = forge.source(&forge.head().await);
    source.url = format!("http://{}/org/recipe.git", listener.local_addr().unwrap());
    source.token = Some(Secret::new(TOKEN));
    let server = answered(listener, TOKEN, "403 Forbidden", String::new());
    let mut said = Vec::new();
    let copy = forge.copy();
    let error = git::fetch(&source, &copy, &Limits::default(), &CancellationToken::new(), &mut |_, bytes| {
        said.extend_from_slice(bytes);
    })
    .await
    .unwrap_err();
    let (request, seen) = server.await.unwrap();
    assert!(request.contains(&format!("Authorization: token {TOKEN}\r\n")), "{request}");
    assert!(request.contains("GET /org/recipe.git/info/refs?service=git-upload-pack"), "{request}");
    assert_eq!(seen, Vec::<String>::new());
    assert!(matches!(error, GitError::Refused(_)), "{error}");
    assert!(!error.to_string().contains(TOKEN) && !String::from_utf8_lossy(&said).contains(TOKEN));
    assert_eq!(files_with(forge.dir.path(), TOKEN), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn the_newest_commit_of_another_repository_is_asked_for_and_the_token_seen_nowhere() {
    const TOKEN: &str = "t0ken-nobody-may-see-either";
    sandbox::warden_is_at(env!("CARGO_BIN_EXE_cc-ci"));
    let dir = tempfile::tempdir().unwrap();
    let tip = "1234567890123456789012345678901234567890";
    let packet = |text: String| format!("{:04x}{text}", text.len() + 4);
    let answer = |refs: String| format!("{}0000{refs}0000", packet("# service=git-upload-pack\n".into()));
    let head = packet(format!("{tip} HEAD\0symref=HEAD:refs/heads/main\n"));
    let advertised = answer(head + &packet(format!("{tip} refs/heads/main\n")));
    let empty = answer(packet(format!("{} capabilities^{{}}\0agent=git/2\n", "0".repeat(40))));
    let ask = async |status: &'static str, body: String| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/org/other.git", listener.local_addr().unwrap());
        let server = answered(listener, TOKEN, status, body);
        let (token, place, cancel) = (Secret::new(TOKEN), dir.path().join("other"), CancellationToken::new());
        let tip = git::tip(&url, Some(&token), &place, &Limits::default(), &cancel).await;
        let (request, seen) = server.await.unwrap();
        assert!(request.contains(&format!("Authorization: token {TOKEN}\r\n")), "{request}");
        assert_eq!(seen, Vec::<String>::new());
        tip
    };

    assert_eq!(ask("200 OK", advertised).await.unwrap().unwrap().as_str(), tip);
    assert_eq!(ask("200 OK", empty).await.unwrap(), None);
    let error = ask("404 Not Found", String::new()).await.unwrap_err();
    assert!(matches!(error, GitError::Refused(_)), "{error}");
    assert!(fs::read_dir(dir.path()).unwrap().next().is_none(), "something was left");
}

/// Answers one request so, and gives what was asked and who showed the token meanwhile.
fn answered(
    listener: TcpListener,
    token: &'static str,
    status: &'static str,
    body: String,
) -> tokio::task::JoinHandle<(String, Vec<String>)> {
    tokio::task::spawn_blocking(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            connection.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        // git and its helper wait for the answer now.
        let seen = processes_that_show(token);
        let kind = "Content-Type: application/x-git-upload-pack-advertisement";
        let head =
            format!("HTTP/1.1 {status}\r\n{kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        connection.write_all((head + &body).as_bytes()).unwrap();
        (String::from_utf8(request).unwrap(), seen)
    })
}

/// Other processes that have this in their arguments or environment.
fn processes_that_show(token: &str) -> Vec<String> {
    let mut seen = Vec::new();
    let mut gits = 0;
    for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        for file in ["cmdline", "environ"] {
            let Ok(bytes) = fs::read(entry.path().join(file)) else { continue };
            let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
            gits += usize::from(text.contains("remote-http"));
            if text.contains(token) {
                seen.push(text);
            }
        }
    }
    assert!(gits > 0, "git was not looked at");
    seen
}

fn files_with(dir: &Path, token: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_with(&entry.path(), token));
        } else if String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).contains(token) {
            found.push(entry.path());
        }
    }
    found
}

#[tokio::test]
async fn a_local_repository_is_copied_as_it_stands() {
    let forge = Forge::new().await;
    forge.git(&["tag", "0.1.0+1.0"]).await;
    fs::write(forge.path().join(".gitignore"), "*.secret\n").unwrap();
    forge.commit("gone", "x").await;
    let head = forge.commit("dir/file", "old").await;
    let copy = forge.copy();
    let clean = git::local_snapshot(&forge.path(), &copy).await.unwrap();
    assert_eq!((&clean.head, clean.dirty), (&head, false));
    assert_eq!(git::tags(&copy).await.unwrap().len(), 1);
    fs::remove_dir_all(&copy).unwrap();

    // Touched, but the same.
    fs::write(forge.path().join("compose.yml"), "services: {}\n").unwrap();
    assert!(!git::local_snapshot(&forge.path(), &copy).await.unwrap().dirty);
    fs::remove_dir_all(&copy).unwrap();

    fs::write(forge.path().join("dir/file"), "changed").unwrap();
    fs::write(forge.path().join("staged"), "s").unwrap();
    forge.git(&["add", "staged"]).await;
    fs::write(forge.path().join("new ünd odd"), "n").unwrap();
    symlink("dir/file", forge.path().join("link")).unwrap();
    fs::write(forge.path().join("my.secret"), "ignored").unwrap();
    fs::remove_file(forge.path().join("gone")).unwrap();
    let before = fs::metadata(forge.path().join(".git/index")).unwrap().modified().unwrap();
    let dirty = git::local_snapshot(&forge.path(), &copy).await.unwrap();
    assert_eq!((&dirty.head, dirty.dirty), (&head, true));
    assert_eq!(fs::read_to_string(copy.join("dir/file")).unwrap(), "changed");
    assert_eq!(fs::read_to_string(copy.join("staged")).unwrap(), "s");
    assert_eq!(fs::read_to_string(copy.join("new ünd odd")).unwrap(), "n");
    assert!(copy.join("link").symlink_metadata().unwrap().is_symlink());
    assert!(!copy.join("gone").exists() && !copy.join("my.secret").exists());
    assert!(git::is_dirty(&copy).await.unwrap());
    assert_eq!(fs::metadata(forge.path().join(".git/index")).unwrap().modified().unwrap(), before, "it was touched");
}

#[tokio::test]
async fn a_directory_inside_of_a_repository_becomes_one() {
    let forge = Forge::new().await;
    forge.commit("recipes/one/compose.yml", "services: {}\n").await;
    fs::write(forge.path().join("recipes/one/.env.sample"), "TYPE=one\n").unwrap();
    let path = forge.path().join("recipes/one");
    let first = git::local_snapshot(&path, &forge.copy()).await.unwrap();
    let second = git::local_snapshot(&path, &forge.dir.path().join("again")).await.unwrap();
    assert_eq!((&first.head, first.dirty), (&second.head, false), "the same files are the same commit");
    assert_eq!(fs::read_to_string(forge.copy().join(".env.sample")).unwrap(), "TYPE=one\n");
    assert!(!git::is_dirty(&forge.copy()).await.unwrap());
}
