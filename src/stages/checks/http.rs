//! Checks that ask the app by HTTPS through the proxy, as its users would.

use reqwest::Url;
use serde_json::Value;

use super::{Came, Look};
use crate::knowledge::Http;
use crate::model::AppDomain;
use crate::probe::http::{is_proxys_own, title};
use crate::probe::{Raw, Request, Seen};

/// Bytes of an answer that are looked at.
const MOST: usize = 1 << 20;
/// Of what an asset was, only whether it came.
const OF_ASSET: usize = 64 << 10;
const REDIRECTS: usize = 5;

impl Look<'_> {
    /// The app itself answers well, or leads to where it does, and shows the wildcard certificate.
    pub(super) async fn front_page(&mut self) -> Came {
        let health = self.job.known().health();
        let domain = &self.app.domain;
        let answer = match self.prober.follow(domain, &health.path).await {
            Seen::App(answer) => answer,
            seen @ (Seen::Nothing(_) | Seen::Certificate(_)) => return Came::Unseen(seen.to_string()),
            seen => return Came::Badly(seen.to_string()),
        };
        let good = health.status.map_or((200..300).contains(&answer.status), |status| answer.status == status);
        if !good {
            return Came::Badly(Seen::App(answer).to_string());
        }
        let wildcard = domain.as_str().split_once('.').map_or(String::new(), |(_, above)| format!("*.{above}"));
        let names = answer.certificate.map(|certificate| certificate.names).unwrap_or_default();
        if names.contains(&wildcard) {
            return Came::Well(format!("{} answers {}, certificate for {wildcard}", answer.path, answer.status));
        }
        Came::Badly(format!("the certificate is for {}, not for {wildcard}", names.join(", ")))
    }

    pub(super) async fn http(&mut self, wanted: &Http) -> Came {
        let host = self.host(wanted.host.as_deref());
        let raw = match self.get(&host, &wanted.path, wanted.redirect.is_none(), MOST).await {
            Ok(raw) => raw,
            Err(came) => return came,
        };
        judge(wanted, &host, &raw)
    }

    /// The page's first stylesheet and its first script load, where it has them.
    pub(super) async fn assets(&mut self, host: Option<&str>, page: &str) -> Came {
        let host = self.host(host);
        let raw = match self.get(&host, page, true, MOST).await {
            Ok(raw) => raw,
            Err(came) => return came,
        };
        let text = String::from_utf8_lossy(&raw.body).into_owned();
        let mut seen = Vec::new();
        for (what, reference) in [("stylesheet", stylesheet(&text)), ("script", script(&text))] {
            let Some(reference) = reference else { continue };
            let base = Url::parse(&format!("https://{host}{page}")).ok();
            let Some(url) = base.and_then(|base| base.join(&reference).ok()) else {
                return Came::Badly(format!("the {what} `{reference}` has no address"));
            };
            let ours = self.app.reachable().find(|known| Some(known.as_str()) == url.host_str()).cloned();
            let Some(host) = ours else {
                return Came::Badly(format!("the {what} is of another host: {}", url.host_str().unwrap_or_default()));
            };
            let path = url.query().map_or(url.path().to_owned(), |query| format!("{}?{query}", url.path()));
            match self.get(&host, &path, true, OF_ASSET).await {
                Ok(raw) if (200..300).contains(&raw.status) => seen.push(format!("{path} loads")),
                Ok(raw) => return Came::Badly(format!("the {what} {path} answers {}", raw.status)),
                Err(came) => return came,
            }
        }
        if seen.is_empty() {
            return Came::Badly(format!("{page} has neither a stylesheet nor a script (status {})", raw.status));
        }
        Came::Well(seen.join(", "))
    }

    /// An answer of the app; what is none is a look that came badly, or could not be had.
    async fn get(&self, host: &AppDomain, path: &str, follow: bool, most: usize) -> Result<Raw, Came> {
        let unseen = |seen: Seen| match seen {
            Seen::Nothing(_) | Seen::Certificate(_) => Came::Unseen(seen.to_string()),
            other => Came::Badly(other.to_string()),
        };
        let wrong = |error| Came::Badly(format!("`{path}` is no path: {error}"));
        let mut url = Url::parse(&format!("https://{host}")).and_then(|base| base.join(path)).map_err(wrong)?;
        for _ in 0..=REDIRECTS {
            let request = Request { method: "GET", url: &url, headers: &[], body: None };
            let raw = tokio::select! {
                raw = self.prober.send(request, most) => raw.map_err(unseen)?,
                () = self.cancel.cancelled() => return Err(Came::Unseen("cancelled".into())),
            };
            if is_proxys_own(&raw) {
                return Err(Came::Badly(format!("the proxy's own {}, not an answer of the app", raw.status)));
            }
            let next = location(&raw).filter(|_| follow && (300..400).contains(&raw.status));
            match next.and_then(|next| url.join(next).ok()) {
                Some(next) if self.app.reachable().any(|known| Some(known.as_str()) == next.host_str()) => url = next,
                _ => return Ok(raw),
            }
        }
        Err(Came::Badly(format!("{path} leads from one page to the next, more than {REDIRECTS} times")))
    }
}

fn header<'a>(raw: &'a Raw, name: &str) -> Option<&'a str> {
    raw.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn location(raw: &Raw) -> Option<&str> {
    header(raw, "location")
}

/// What is wanted, in a line.
pub(super) fn expected(wanted: &Http) -> String {
    let mut parts = vec![match (&wanted.redirect, wanted.status) {
        (Some(to), Some(status)) => format!("{status} that leads to {to}"),
        (Some(to), None) => format!("a redirect to {to}"),
        (None, Some(status)) => status.to_string(),
        (None, None) => "2xx".to_owned(),
    }];
    parts.extend(wanted.title.iter().map(|title| format!("title {title:?}")));
    parts.extend(wanted.contains.iter().map(|text| format!("{text:?} in it")));
    parts.extend(wanted.header.iter().map(|(name, value)| format!("{name}: {value}")));
    parts.extend(wanted.json.iter().map(|(pointer, value)| format!("{pointer} = {value}")));
    parts.join(", ")
}

/// The first thing in which an answer is not as wanted.
fn judge(wanted: &Http, host: &AppDomain, raw: &Raw) -> Came {
    let good = match (wanted.status, &wanted.redirect) {
        (Some(status), _) => raw.status == status,
        (None, Some(_)) => (300..400).contains(&raw.status),
        (None, None) => (200..300).contains(&raw.status),
    };
    if !good {
        let to = location(raw).map(|to| format!(", which leads to {to}")).unwrap_or_default();
        return Came::Badly(format!("{}{to}", raw.status));
    }
    if let Some(to) = &wanted.redirect {
        let at = Url::parse(&format!("https://{host}{}", wanted.path)).ok();
        let absolute = |text: &str| at.as_ref().and_then(|at| at.join(text).ok());
        let leads = location(raw).unwrap_or_default();
        if absolute(leads).is_none() || absolute(leads) != absolute(to) {
            return Came::Badly(format!("{} that leads to {leads:?}", raw.status));
        }
    }
    let text = String::from_utf8_lossy(&raw.body);
    if let Some(wanted) = &wanted.title {
        match title(&text) {
            Some(title) if title == *wanted => {}
            Some(title) => return Came::Badly(format!("title {title:?}")),
            None => return Came::Badly("a page without a title".into()),
        }
    }
    if let Some(wanted) = wanted.contains.as_ref().filter(|wanted| !text.contains(wanted.as_str())) {
        return Came::Badly(format!(
            "{} without {wanted:?}: {}",
            raw.status,
            text.chars().take(120).collect::<String>()
        ));
    }
    for (name, value) in &wanted.header {
        match header(raw, name) {
            Some(got) if got.contains(value.as_str()) => {}
            Some(got) => return Came::Badly(format!("{name}: {got}")),
            None => return Came::Badly(format!("no header {name}")),
        }
    }
    if wanted.json.is_empty() {
        return Came::Well(raw.status.to_string());
    }
    let json: Value = match serde_json::from_slice(&raw.body) {
        Ok(json) => json,
        Err(error) => return Came::Badly(format!("no JSON: {error}")),
    };
    for (pointer, value) in &wanted.json {
        match json.pointer(pointer) {
            Some(got) if got == value => {}
            Some(got) => return Came::Badly(format!("{pointer} = {got}")),
            None => return Came::Badly(format!("JSON without {pointer}")),
        }
    }
    Came::Well(format!("{}, {}", raw.status, wanted.json.keys().cloned().collect::<Vec<_>>().join(", ")))
}

/// Where the first stylesheet is.
fn stylesheet(page: &str) -> Option<String> {
    tags(page, "<link")
        .find(|tag| attribute(tag, "rel").is_some_and(|rel| rel.eq_ignore_ascii_case("stylesheet")))
        .and_then(|tag| attribute(tag, "href"))
}

/// Where the first script is that is not in the page itself.
fn script(page: &str) -> Option<String> {
    tags(page, "<script").find_map(|tag| attribute(tag, "src"))
}

/// The insides of tags, one after the other.
fn tags<'a>(page: &'a str, open: &'static str) -> impl Iterator<Item = &'a str> {
    let lower = page.to_ascii_lowercase();
    let mut at = 0;
    std::iter::from_fn(move || {
        let begin = at + lower.get(at..)?.find(open)? + open.len();
        let end = begin + lower[begin..].find('>')?;
        at = end;
        Some(&page[begin..end])
    })
}

/// The value of an attribute, quoted or not.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let lower = tag.to_ascii_lowercase();
    let mut from = 0;
    loop {
        let at = from + lower[from..].find(name)?;
        from = at + name.len();
        let alone = lower[..at].chars().next_back().is_none_or(|c| c.is_ascii_whitespace() || c == '"' || c == '\'');
        let Some(rest) = tag[from..].trim_start().strip_prefix('=').filter(|_| alone) else { continue };
        let rest = rest.trim_start();
        let value = match rest.chars().next() {
            Some(quote @ ('"' | '\'')) => rest[1..].split(quote).next()?,
            _ => rest.split(|c: char| c.is_ascii_whitespace()).next()?.trim_end_matches('/'),
        };
        return Some(value.replace("&amp;", "&"));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn wanted() -> Http {
        Http {
            host: None,
            path: "/a/b".into(),
            status: None,
            title: None,
            contains: None,
            header: BTreeMap::new(),
            json: BTreeMap::new(),
            redirect: None,
        }
    }

    fn came(wanted: &Http, status: u16, headers: &[(&str, &str)], body: &str) -> Came {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        judge(wanted, &"n.ci.test".parse().unwrap(), &Raw { status, headers, body: body.into(), cut: false })
    }

    #[test]
    fn an_answer_is_held_against_what_is_wanted() {
        let badly = |text: &str| Came::Badly(text.to_owned());
        assert_eq!(came(&wanted(), 404, &[], ""), badly("404"));
        assert_eq!(came(&wanted(), 302, &[("location", "/x")], ""), badly("302, which leads to /x"));
        let login = Http { redirect: Some("/a/login".into()), ..wanted() };
        assert!(matches!(came(&login, 302, &[("Location", "login")], ""), Came::Well(_)));
        assert!(matches!(came(&login, 307, &[("location", "https://n.ci.test/a/login")], ""), Came::Well(_)));
        assert_eq!(came(&login, 302, &[("location", "/b")], ""), badly("302 that leads to \"/b\""));
        assert_eq!(came(&login, 302, &[], ""), badly("302 that leads to \"\""));
        assert_eq!(came(&login, 200, &[], ""), badly("200"));
        let page = Http { title: Some("Notes".into()), contains: Some("Welcome".into()), ..wanted() };
        assert!(matches!(came(&page, 200, &[], "<title>Notes</title>Welcome"), Came::Well(_)));
        assert_eq!(came(&page, 200, &[], "<title>Other</title>Welcome"), badly("title \"Other\""));
        assert_eq!(
            came(&page, 200, &[], "<title>Notes</title>"),
            badly("200 without \"Welcome\": <title>Notes</title>")
        );
        let json = Http { json: BTreeMap::from([("/a/0".into(), Value::from(true))]), ..wanted() };
        assert!(matches!(came(&json, 200, &[], r#"{"a":[true]}"#), Came::Well(_)));
        assert_eq!(came(&json, 200, &[], r#"{"a":[1]}"#), badly("/a/0 = 1"));
        assert_eq!(came(&json, 200, &[], r#"{"a":[]}"#), badly("JSON without /a/0"));
        let header = Http { header: BTreeMap::from([("Content-Type".into(), "html".into())]), ..wanted() };
        assert!(matches!(came(&header, 200, &[("content-type", "text/html")], ""), Came::Well(_)));
        assert_eq!(came(&header, 200, &[], ""), badly("no header Content-Type"));
        assert_eq!(expected(&page), "2xx, title \"Notes\", \"Welcome\" in it");
    }

    #[test]
    fn the_first_stylesheet_and_script_are_found_as_pages_write_them() {
        let page = r#"<LINK rel=icon href=/i.ico><link data-href="/no" href='/a.css?v=1&amp;b' rel="stylesheet"><script>let src = 1</script>
                      <script async SRC=/b.js></script><script src="/c.js"></script>"#;
        assert_eq!(stylesheet(page).as_deref(), Some("/a.css?v=1&b"));
        assert_eq!(script(page).as_deref(), Some("/b.js"));
        assert_eq!((stylesheet("<p>"), script("<script src")), (None, None));
    }
}
