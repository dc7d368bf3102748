//! A tree as text that readers of YAML 1.1 and 1.2 understand alike: whatever one of them could take for something else
//! stands in quotes.

use std::fmt::Write as _;

use super::{Node, Value};

/// Block style, two spaces, one document.
pub fn render(node: &Node) -> String {
    let mut out = String::new();
    write(node, 0, false, &mut out);
    out
}

fn write(node: &Node, indent: usize, after_key: bool, out: &mut String) {
    match &node.value {
        Value::Map(entries) if !entries.is_empty() => {
            for (index, (key, value)) in entries.iter().enumerate() {
                if index > 0 || after_key {
                    pad(indent, out);
                }
                string(key.scalar().unwrap_or_default(), out);
                out.push(':');
                nested(value, indent + 2, out);
            }
        }
        Value::Seq(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 || after_key {
                    pad(indent, out);
                }
                out.push('-');
                match &item.value {
                    Value::Map(entries) if !entries.is_empty() => {
                        out.push(' ');
                        write(item, indent + 2, false, out);
                    }
                    _ => nested(item, indent + 2, out),
                }
            }
        }
        _ => {
            scalar(node, out);
            out.push('\n');
        }
    }
}

fn nested(value: &Node, indent: usize, out: &mut String) {
    match &value.value {
        Value::Map(entries) if !entries.is_empty() => {
            out.push('\n');
            write(value, indent, true, out);
        }
        Value::Seq(items) if !items.is_empty() => {
            out.push('\n');
            write(value, indent, true, out);
        }
        _ => {
            out.push(' ');
            scalar(value, out);
            out.push('\n');
        }
    }
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

fn scalar(node: &Node, out: &mut String) {
    match &node.value {
        Value::Null => out.push_str("null"),
        Value::Bool(yes) => out.push_str(if *yes { "true" } else { "false" }),
        Value::Int(text) | Value::Float(text) => out.push_str(text),
        Value::String(text) => string(text, out),
        Value::Seq(_) => out.push_str("[]"),
        Value::Map(_) => out.push_str("{}"),
    }
}

fn string(text: &str, out: &mut String) {
    if is_safe(text) {
        out.push_str(text);
        return;
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if (c as u32) < 0x20 || (0x7f..=0x9f).contains(&(c as u32)) => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            // Line breaks to some readers, a byte order mark to others, and what go-yaml does not count as printable.
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A plain word to every reader: not a number, a date, a boolean of YAML 1.1 or a null.
fn is_safe(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || matches!(first, b'_' | b'/'))
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/'))
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "y" | "n" | "yes" | "no" | "on" | "off" | "true" | "false" | "null" | "inf" | "nan"
        )
}
