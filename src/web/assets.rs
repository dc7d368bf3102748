//! The stylesheet, the script and the icon. Their addresses carry a hash of what they hold, so browsers keep them for good
//! and still see every change.

use std::fmt::Write as _;
use std::sync::LazyLock;

use super::answer::Rendered;

const FOR_GOOD: &str = "public, max-age=31536000, immutable";

pub(super) struct Names {
    pub style: String,
    pub script: String,
    pub icon: String,
}

struct Assets {
    names: Names,
    style: Rendered,
    script: Rendered,
    icon: Rendered,
}

static ASSETS: LazyLock<Assets> = LazyLock::new(|| {
    let mut sheet = String::from(include_str!("assets/site.css"));
    // A share of the strip's width is a class: the policy forbids style attributes.
    for share in 1..=48 {
        let _ = write!(sheet, ".g{share}{{flex-grow:{share}}}");
    }
    let style = Rendered::new("text/css; charset=utf-8", FOR_GOOD, sheet);
    let script = Rendered::new("text/javascript; charset=utf-8", FOR_GOOD, include_str!("assets/site.js").into());
    let icon = Rendered::new("image/svg+xml", FOR_GOOD, include_str!("assets/icon.svg").into());
    let name = |stem: &str, asset: &Rendered, ending: &str| format!("/assets/{stem}-{}.{ending}", asset.label.hash());
    let names = Names {
        style: name("site", &style, "css"),
        script: name("site", &script, "js"),
        icon: name("icon", &icon, "svg"),
    };
    Assets { names, style, script, icon }
});

pub(super) fn names() -> &'static Names {
    &ASSETS.names
}

pub(super) fn find(file: &str) -> Option<&'static Rendered> {
    let assets = &*ASSETS;
    let is = |name: &str| name.strip_prefix("/assets/") == Some(file);
    match () {
        () if is(&assets.names.style) => Some(&assets.style),
        () if is(&assets.names.script) => Some(&assets.script),
        () if is(&assets.names.icon) => Some(&assets.icon),
        () => None,
    }
}
