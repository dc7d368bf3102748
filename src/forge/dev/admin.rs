//! `/_dev`: setting the forge up, and setting it wrong. Nobody is asked who they are.

mod repositories;

use axum::body::Body;
use axum::extract::Request;
use axum::http::Response;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::shapes::Shapes;
use super::switches::{Fault, PushEntries, Switchboard};
use super::world::{Access, Member, Org, Token, User};
use super::{Dev, MOST_ASKED, Refusal, Reply, answer, pages, plain, read_query, wait};

/// One line a call.
async fn route(dev: &Dev, path: &str, request: Request) -> Reply {
    let (parts, body) = request.into_parts();
    let query = read_query(&parts.uri);
    let body = axum::body::to_bytes(body, MOST_ASKED).await.map_err(|error| Refusal::new(413, error.to_string()))?;
    let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
    let path: Vec<&str> = path.split('/').collect();
    match (parts.method.as_str(), path.as_slice()) {
        ("GET", ["style.css"]) => Ok(pages::style()),
        ("GET", ["log"]) => {
            let get = |key: &str| query.get(key).map_or("", String::as_str);
            let found = dev.log().find(get("since").parse().unwrap_or(0), get("method"), get("path"));
            Ok(answer(200, &json!(found)))
        }
        ("GET", ["wait"]) => wait::wait(dev, &query).await,
        ("GET", ["switches"]) => Ok(answer(200, &json!(dev.board().now))),
        ("PATCH", ["switches"]) => set_switches(dev, &read(body)?),
        ("DELETE", ["switches"]) => {
            *dev.board() = Switchboard::default();
            dev.release_pushes(false);
            Ok(plain(204, Body::empty()))
        }
        ("POST", ["faults"]) => {
            let fault: Fault = read(body)?;
            dev.board().add(fault);
            Ok(plain(204, Body::empty()))
        }
        ("DELETE", ["faults"]) => {
            dev.board().clear_faults();
            Ok(plain(204, Body::empty()))
        }
        ("POST", ["users"]) => add_user(dev, read(body)?),
        ("POST", ["tokens"]) => add_token(dev, read(body)?),
        ("DELETE", ["tokens"]) => {
            let gone: Gone = read(body)?;
            dev.change(|world| world.tokens.retain(|token| token.value != gone.token));
            Ok(plain(204, Body::empty()))
        }
        ("POST", ["orgs"]) => add_org(dev, read(body)?),
        ("POST", ["orgs", org, "members"]) => add_member(dev, org, read(body)?),
        ("DELETE", ["orgs", org, "members", login]) => remove_member(dev, org, login),
        ("POST", ["repos"]) => repositories::add(dev, read(body)?).await,
        ("PATCH", ["comments", id]) => repositories::edit_comment(dev, id, read(body)?),
        ("DELETE", ["comments", id]) => {
            dev.delete_comment(number(id)?, "");
            Ok(plain(204, Body::empty()))
        }
        (method, ["repos", owner, name, rest @ ..]) => {
            let repo = dev.look(|world| world.repo(owner, name).cloned());
            let repo = repo.ok_or_else(|| Refusal::new(404, format!("there is no repository {owner}/{name}")))?;
            repositories::route(dev, &repo, method, rest, body).await
        }
        _ => Err(Refusal::not_found()),
    }
}

pub(super) async fn respond(dev: &Dev, path: &str, request: Request) -> Response<Body> {
    route(dev, path, request).await.unwrap_or_else(|refusal| refusal.answer(&dev.root()))
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::new(422, error.to_string()))
}

fn number(text: &str) -> Result<i64, Refusal> {
    text.parse().map_err(|_| Refusal::new(404, format!("`{text}` is not a number")))
}

fn set_switches(dev: &Dev, patch: &Value) -> Reply {
    let now = dev.now();
    let before = dev.switches(|switches| switches.push_entries);
    dev.board().set(patch, now).map_err(|error| Refusal::new(422, error))?;
    if dev.switches(|switches| switches.push_entries) == PushEntries::Now {
        dev.release_pushes(before == PushEntries::HeldThenLatest);
    }
    Ok(answer(200, &json!(dev.board().now)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewUser {
    login: String,
    #[serde(default)]
    full_name: String,
    #[serde(default)]
    admin: bool,
    #[serde(default = "every_scope")]
    scopes: Vec<String>,
    #[serde(default)]
    token: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewToken {
    user: String,
    #[serde(default = "every_scope")]
    scopes: Vec<String>,
    #[serde(default)]
    token: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Gone {
    token: String,
}

fn every_scope() -> Vec<String> {
    vec!["all".into()]
}

/// Somebody who is there already gets another token.
fn add_user(dev: &Dev, new: NewUser) -> Reply {
    let NewUser { login, full_name, admin, scopes, token } = new;
    if login.parse::<crate::model::Login>().is_err() {
        return Err(Refusal::new(422, format!("`{login}` is no login")));
    }
    dev.change(|world| {
        if world.user(&login).is_none() {
            let id = world.new_id();
            world.users.push(User { id, login: login.clone(), full_name, admin });
        }
    });
    add_token(dev, NewToken { user: login, scopes, token })
}

fn add_token(dev: &Dev, new: NewToken) -> Reply {
    let NewToken { user, scopes, token } = new;
    let value = match token {
        Some(token) => token,
        None => random_token()?,
    };
    let shape = json!({"login": user, "token": value, "scopes": scopes});
    dev.change(|world| {
        world.user(&user).ok_or_else(|| Refusal::new(404, format!("there is no user {user}")))?;
        world.tokens.retain(|token| token.value != value);
        world.tokens.push(Token { value, user, scopes });
        Ok(answer(201, &shape))
    })
}

fn random_token() -> Result<String, Refusal> {
    let mut bytes = [0; 20];
    getrandom::fill(&mut bytes).map_err(|error| Refusal::new(500, error.to_string()))?;
    Ok(hex::encode(bytes))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewOrg {
    name: String,
    #[serde(default)]
    members: Vec<NewMember>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NewMember {
    Login(String),
    Full {
        login: String,
        #[serde(default = "write")]
        access: Access,
        #[serde(default)]
        public: bool,
    },
}

fn write() -> Access {
    Access::Write
}

impl From<NewMember> for Member {
    fn from(new: NewMember) -> Member {
        match new {
            NewMember::Login(login) => Member { login, access: Access::Write, public: false },
            NewMember::Full { login, access, public } => Member { login, access, public },
        }
    }
}

fn add_org(dev: &Dev, new: NewOrg) -> Reply {
    dev.change(|world| {
        if world.org(&new.name).is_none() {
            let id = world.new_id();
            world.orgs.push(Org { id, name: new.name.clone(), members: Vec::new() });
        }
    });
    for member in new.members {
        add_member(dev, &new.name, member)?;
    }
    let shape = dev.look(|world| world.org(&new.name).map(Shapes::org));
    Ok(answer(201, &json!(shape)))
}

fn add_member(dev: &Dev, org: &str, new: NewMember) -> Reply {
    let member = Member::from(new);
    dev.change(|world| {
        let login = &member.login;
        world.user(login).ok_or_else(|| Refusal::new(404, format!("there is no user {login}")))?;
        let org = world.org_mut(org).ok_or_else(|| Refusal::new(404, format!("there is no organisation {org}")))?;
        org.members.retain(|old| !old.login.eq_ignore_ascii_case(login));
        org.members.push(member);
        Ok(plain(204, Body::empty()))
    })
}

fn remove_member(dev: &Dev, org: &str, login: &str) -> Reply {
    dev.change(|world| {
        let org = world.org_mut(org).ok_or_else(|| Refusal::new(404, format!("there is no organisation {org}")))?;
        org.members.retain(|old| !old.login.eq_ignore_ascii_case(login));
        Ok(plain(204, Body::empty()))
    })
}
