//! Reads pages as a browser would at its strictest: every tag, every attribute, where each link leads.

/// Elements that pages are made of; anything else came from somebody's text.
const ELEMENTS: &[&str] = &[
    "html", "head", "meta", "title", "link", "script", "noscript", "body", "a", "header", "nav", "main", "footer",
    "div", "section", "article", "h1", "h2", "h3", "p", "ul", "ol", "li", "dl", "dt", "dd", "table", "thead", "tbody",
    "tr", "th", "td", "span", "b", "i", "code", "pre", "time", "form", "label", "input", "button", "details",
    "summary", "img", "svg", "rect", "text", "kbd",
];
const ATTRIBUTES: &[&str] = &[
    "lang",
    "charset",
    "name",
    "content",
    "rel",
    "href",
    "src",
    "defer",
    "type",
    "http-equiv",
    "class",
    "id",
    "aria-label",
    "aria-labelledby",
    "aria-current",
    "aria-hidden",
    "role",
    "tabindex",
    "title",
    "datetime",
    "scope",
    "method",
    "action",
    "placeholder",
    "maxlength",
    "autocomplete",
    "spellcheck",
    "value",
    "hidden",
    "alt",
    "loading",
    "width",
    "height",
    "aria-sort",
    "viewBox",
    "x",
    "y",
    "data-label",
    "data-since",
    "data-again",
    "data-events",
    "data-title",
    "data-open",
    "data-follow",
    "data-found",
];

pub(crate) struct Tag {
    pub name: String,
    pub attributes: Vec<(String, String)>,
}

impl Tag {
    fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(its, _)| its == name).map(|(_, value)| value.as_str())
    }
}

/// Every opening tag, with its attributes as they are written.
pub(crate) fn tags(html: &str) -> Vec<Tag> {
    let mut tags = Vec::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        if rest.starts_with('/') || rest.starts_with('!') {
            continue;
        }
        let name_end = rest.find(|letter: char| letter.is_whitespace() || letter == '>').expect("a tag ends");
        let mut tag = Tag { name: rest[..name_end].to_owned(), attributes: Vec::new() };
        rest = rest[name_end..].trim_start();
        while !rest.starts_with('>') {
            let end = rest
                .find(|letter: char| letter.is_whitespace() || letter == '=' || letter == '>')
                .expect("an attribute ends");
            let name = rest[..end].to_owned();
            rest = &rest[end..];
            let mut value = String::new();
            if let Some(quoted) = rest.strip_prefix("=\"") {
                let end = quoted.find('"').expect("a value ends");
                quoted[..end].clone_into(&mut value);
                rest = &quoted[end + 1..];
            }
            tag.attributes.push((name, value));
            rest = rest.trim_start();
        }
        tags.push(tag);
    }
    tags
}

/// Nothing inline, nothing from elsewhere, nothing that no template of ours writes.
pub(crate) fn holds_to_the_rules(html: &str, address: &str) {
    for tag in tags(html) {
        assert!(ELEMENTS.contains(&tag.name.as_str()), "{address}: <{}>", tag.name);
        for (name, value) in &tag.attributes {
            assert!(ATTRIBUTES.contains(&name.as_str()), "{address}: {name}=\"{value}\" on <{}>", tag.name);
            if name == "src" && tag.name == "img" {
                let run = value.strip_prefix("/runs/").and_then(|rest| rest.strip_suffix("/evidence/front-page.png"));
                let is_own = run.is_some_and(|run| run.bytes().all(|byte| byte.is_ascii_digit()));
                let is_badge = value.starts_with("/badge/") && value.ends_with(".svg");
                assert!(is_own || is_badge, "{address}: {name}=\"{value}\"");
            } else if name == "src" || (name == "href" && tag.name == "link") {
                assert!(value.starts_with("/assets/"), "{address}: {name}=\"{value}\"");
            }
            if name == "href" && tag.name == "a" {
                let here = value.starts_with('/') && !value.starts_with("//") || value.starts_with('#');
                assert!(here || value.starts_with("https://git.example.org/"), "{address}: href=\"{value}\"");
            }
        }
    }
    let scripts = html.matches("<script").count();
    assert_eq!(html.matches("defer></script>").count(), scripts, "{address}: a script with something in it");
    for (what, count) in [("<html", 1), ("<h1", 1), ("<main", 1)] {
        if html.contains("<!DOCTYPE") {
            assert_eq!(html.matches(what).count(), count, "{address}: {what}");
        }
    }
    assert!(html.matches("<img").count() <= 2, "{address}: more pictures than the front page's and a badge");
    let mut ids: Vec<String> = tags(html).iter().filter_map(|tag| tag.get("id").map(str::to_owned)).collect();
    let all = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), all, "{address}: an id stands twice");
}

/// The runs that a list's rows lead to, in its order.
pub(crate) fn run_links(html: &str) -> Vec<i64> {
    html.split("<tr>")
        .skip(1)
        .filter_map(|row| {
            let at = row.find("href=\"/runs/")? + "href=\"/runs/".len();
            row[at..].split('"').next()?.parse().ok()
        })
        .collect()
}

/// Where the link with this `rel` leads.
pub(crate) fn link_to(html: &str, rel: &str) -> Option<String> {
    let tags = tags(html);
    let link = tags.iter().find(|tag| tag.name == "a" && tag.get("rel") == Some(rel))?;
    Some(link.get("href")?.replace("&amp;", "&"))
}

pub(crate) fn assets(html: &str) -> Vec<String> {
    let tags = tags(html);
    let loaded = tags.iter().filter_map(|tag| if tag.name == "link" { tag.get("href") } else { tag.get("src") });
    loaded.map(str::to_owned).collect()
}

/// What somebody reads: text without tags, spaces made one.
pub(crate) fn words(html: &str) -> String {
    let mut words = String::new();
    let mut in_tag = false;
    for letter in html.chars() {
        match letter {
            '<' => in_tag = true,
            '>' => {
                in_tag = false;
                words.push(' ');
            }
            letter if !in_tag => words.push(letter),
            _ => {}
        }
    }
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}
