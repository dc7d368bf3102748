//! serde over [`Node`]. The first level that knows a position gives it to the error; the level above adds the key.

use serde::de::{self, Deserializer, EnumAccess, Expected, MapAccess, SeqAccess, Unexpected, VariantAccess, Visitor};

use super::{Node, Span, Value, Wrong, YamlError};

#[derive(Debug)]
pub(super) struct Error {
    span: Option<Span>,
    /// Whether the key it belongs to is named already, or needs no naming.
    named: bool,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// A sentence of its own.
    Says(String),
    /// "needs …, not …", which reads on from the key.
    Needs(String),
}

impl Error {
    fn new(kind: Kind) -> Error {
        Error { span: None, named: false, kind }
    }

    fn at(mut self, span: Span) -> Error {
        self.span.get_or_insert(span);
        self
    }

    fn of_key(mut self, key: &Node) -> Error {
        if !self.named {
            self.named = true;
            let key = key.scalar().unwrap_or_default().escape_debug();
            self.kind = match self.kind {
                Kind::Needs(what) => Kind::Says(format!("`{key}` {what}")),
                Kind::Says(what) => Kind::Says(format!("`{key}`: {what}")),
            };
        }
        self
    }

    fn without_key(mut self) -> Error {
        self.named = true;
        self
    }

    pub(super) fn in_file(self, file: &str, otherwise: Span) -> YamlError {
        let (Kind::Says(message) | Kind::Needs(message)) = self.kind;
        YamlError { file: file.to_owned(), span: self.span.unwrap_or(otherwise), message, wrong: Wrong::Content }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Kind::Says(message) | Kind::Needs(message)) = &self.kind;
        f.write_str(message)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: std::fmt::Display>(message: T) -> Error {
        Error::new(Kind::Says(message.to_string()))
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Error {
        Error::new(Kind::Needs(format!("needs {}, not {}", in_words(&expected.to_string()), got(unexpected))))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Error {
        Error::invalid_type(unexpected, expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Error {
        Error::new(Kind::Needs(format!("needs {}, not {length} of them", in_words(&expected.to_string()))))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Error {
        let message = format!("unknown key `{}`{}", field.escape_debug(), suggestion(field, expected));
        Error::new(Kind::Says(message)).without_key()
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Error {
        let known: Vec<String> = expected.iter().map(|word| format!("`{word}`")).collect();
        let near = suggestion(variant, expected);
        Error::new(Kind::Needs(format!("needs {}, not `{}`{near}", known.join(" or "), variant.escape_debug())))
    }

    fn missing_field(field: &'static str) -> Error {
        Error::new(Kind::Says(format!("the key `{field}` is missing here")))
    }

    fn duplicate_field(field: &'static str) -> Error {
        Error::new(Kind::Says(format!("the key `{field}` stands here twice"))).without_key()
    }
}

fn suggestion(word: &str, known: &[&str]) -> String {
    let near = known.iter().map(|other| (strsim::jaro_winkler(&word.to_lowercase(), other), other));
    match near.max_by(|(one, _), (other, _)| one.total_cmp(other)) {
        Some((similarity, nearest)) if similarity > 0.75 => format!("; did you mean `{nearest}`?"),
        _ => String::new(),
    }
}

/// serde names types of Rust; people write text, numbers and lists.
fn in_words(expected: &str) -> String {
    match expected {
        "a string" | "string" | "a borrowed string" | "str" => "text".into(),
        "a boolean" => "`true` or `false`".into(),
        "u8" => "a whole number from 0 to 255".into(),
        "u16" => "a whole number from 0 to 65535".into(),
        "u32" => "a whole number from 0 to 4294967295".into(),
        "u64" | "u128" | "usize" => "a whole number that is not negative".into(),
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        "a sequence" | "sequence" => "a list".into(),
        "a map" | "map" => "a mapping".into(),
        "unit" => "nothing".into(),
        "path string" => "a path".into(),
        text if text.starts_with("struct ") => "a mapping of keys".into(),
        text if text.starts_with("enum ") => "one of its words".into(),
        text => text.into(),
    }
}

fn got(unexpected: Unexpected<'_>) -> String {
    match unexpected {
        Unexpected::Bool(yes) => format!("`{yes}`"),
        Unexpected::Unsigned(number) => format!("`{number}`"),
        Unexpected::Signed(number) => format!("`{number}`"),
        Unexpected::Float(number) => format!("`{number}`"),
        Unexpected::Char(c) => Value::String(c.to_string()).in_words(),
        Unexpected::Str(text) => Value::String(text.into()).in_words(),
        Unexpected::Unit | Unexpected::Option => "nothing".into(),
        Unexpected::Seq => "a list".into(),
        Unexpected::Map => "a mapping".into(),
        other => other.to_string(),
    }
}

#[derive(Clone, Copy)]
pub(super) struct At<'a>(pub &'a Node);

impl<'a> At<'a> {
    fn unexpected(self) -> Unexpected<'a> {
        match &self.0.value {
            Value::Null => Unexpected::Unit,
            Value::Bool(yes) => Unexpected::Bool(*yes),
            Value::Int(text) | Value::Float(text) => Unexpected::Other(text),
            Value::String(text) => Unexpected::Str(text),
            Value::Seq(_) => Unexpected::Seq,
            Value::Map(_) => Unexpected::Map,
        }
    }

    fn any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.0.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(yes) => visitor.visit_bool(*yes),
            Value::Int(text) => match int(text) {
                Some(number) => match (u64::try_from(number), i64::try_from(number)) {
                    (Ok(number), _) => visitor.visit_u64(number),
                    (_, Ok(number)) => visitor.visit_i64(number),
                    _ => Err(de::Error::invalid_type(
                        Unexpected::Other(&format!("`{text}`, which is too large")),
                        &visitor,
                    )),
                },
                None => visitor.visit_str(text),
            },
            Value::Float(text) => visitor.visit_f64(float(text)),
            Value::String(text) => visitor.visit_str(text),
            Value::Seq(items) => visitor.visit_seq(Items(items.iter())),
            Value::Map(entries) => visitor.visit_map(Entries { rest: entries.iter(), value: None }),
        }
    }
}

/// As YAML 1.2 writes whole numbers.
pub(super) fn int(text: &str) -> Option<i128> {
    match text.get(..2) {
        Some("0x") => i128::from_str_radix(&text[2..], 16).ok(),
        Some("0o") => i128::from_str_radix(&text[2..], 8).ok(),
        _ => text.parse().ok(),
    }
}

fn float(text: &str) -> f64 {
    match text.trim_start_matches(['-', '+']).to_ascii_lowercase().as_str() {
        ".inf" if text.starts_with('-') => f64::NEG_INFINITY,
        ".inf" => f64::INFINITY,
        ".nan" => f64::NAN,
        _ => text.parse().unwrap_or(f64::NAN),
    }
}

impl<'de> Deserializer<'de> for At<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.any(visitor).map_err(|error| error.at(self.0.span))
    }

    /// Whoever wants text gets numbers and booleans as they are written: `VERSION: 1.10` is `1.10`.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0.scalar() {
            Some(text) => visitor.visit_str(text),
            None => Err(de::Error::invalid_type(self.unexpected(), &visitor)),
        }
        .map_err(|error: Error| error.at(self.0.span))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.0.value {
            Value::Int(text) | Value::Float(text) => visitor.visit_f64(float(text)),
            _ => Err(de::Error::invalid_type(self.unexpected(), &visitor)),
        }
        .map_err(|error: Error| error.at(self.0.span))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self).map_err(|error| error.at(self.0.span))
    }

    /// A key with nothing after it is an empty list or mapping to whoever wants one.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() { visitor.visit_seq(Items([].iter())) } else { self.any(visitor) }
            .map_err(|error| error.at(self.0.span))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() { visitor.visit_map(Entries { rest: [].iter(), value: None }) } else { self.any(visitor) }
            .map_err(|error| error.at(self.0.span))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        // serde would fill a struct from a list, field by field; nobody means that.
        if matches!(self.0.value, Value::Seq(_)) {
            return Err(<Error as de::Error>::invalid_type(Unexpected::Seq, &visitor).at(self.0.span));
        }
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let variant = match &self.0.value {
            Value::Map(entries) if entries.len() == 1 => Variant { name: &entries[0].0, content: Some(&entries[0].1) },
            _ if self.0.scalar().is_some() => Variant { name: self.0, content: None },
            other => {
                let known: Vec<String> = variants.iter().map(|word| format!("`{word}`")).collect();
                let needs = format!("needs {}, not {}", known.join(" or "), other.in_words());
                return Err(Error::new(Kind::Needs(needs)).at(self.0.span));
            }
        };
        visitor.visit_enum(variant).map_err(|error| error.at(self.0.span))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 bytes byte_buf unit unit_struct tuple tuple_struct
    }
}

struct Items<'a>(std::slice::Iter<'a, Node>);

impl<'a> SeqAccess<'a> for Items<'a> {
    type Error = Error;

    fn next_element_seed<T: de::DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.0.next().map(|node| seed.deserialize(At(node)).map_err(|error| error.at(node.span))).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

struct Entries<'a> {
    rest: std::slice::Iter<'a, (Node, Node)>,
    value: Option<(&'a Node, &'a Node)>,
}

impl<'a> MapAccess<'a> for Entries<'a> {
    type Error = Error;

    fn next_key_seed<K: de::DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        self.value = Some((key, value));
        seed.deserialize(At(key)).map(Some).map_err(|error| error.at(key.span))
    }

    fn next_value_seed<V: de::DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some((key, value)) = self.value.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        seed.deserialize(At(value)).map_err(|error| error.at(value.span).of_key(key))
    }
}

struct Variant<'a> {
    name: &'a Node,
    content: Option<&'a Node>,
}

impl<'a> EnumAccess<'a> for Variant<'a> {
    type Error = Error;
    type Variant = Variant<'a>;

    fn variant_seed<V: de::DeserializeSeed<'a>>(self, seed: V) -> Result<(V::Value, Variant<'a>), Error> {
        let value = seed.deserialize(At(self.name)).map_err(|error| error.at(self.name.span))?;
        Ok((value, self))
    }
}

impl<'a> VariantAccess<'a> for Variant<'a> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.content {
            None => Ok(()),
            Some(content) if content.is_null() => Ok(()),
            Some(content) => Err(Error::new(Kind::Says("this word takes nothing after it".into())).at(content.span)),
        }
    }

    fn newtype_variant_seed<T: de::DeserializeSeed<'a>>(self, seed: T) -> Result<T::Value, Error> {
        match self.content {
            Some(content) => seed.deserialize(At(content)).map_err(|error| error.at(content.span).of_key(self.name)),
            None => Err(self.needs_more()),
        }
    }

    fn tuple_variant<V: Visitor<'a>>(self, _length: usize, visitor: V) -> Result<V::Value, Error> {
        match self.content {
            Some(content) => At(content).deserialize_seq(visitor),
            None => Err(self.needs_more()),
        }
    }

    fn struct_variant<V: Visitor<'a>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        match self.content {
            Some(content) => At(content).deserialize_struct("", fields, visitor),
            None => Err(self.needs_more()),
        }
    }
}

impl Variant<'_> {
    fn needs_more(&self) -> Error {
        let name = self.name.scalar().unwrap_or_default().escape_debug();
        Error::new(Kind::Says(format!("`{name}` needs something after it: `{name}: …`"))).at(self.name.span)
    }
}
