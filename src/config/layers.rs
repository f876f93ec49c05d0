//! Where settings come from: files, the environment, arguments; which of them wins, and what is wrong with one.
//! Never what a setting means.
//!
//! # Sections that the operator names
//! A section of the base whose name ends in `.NAME` is a pattern: there are as many of it as the layers name, each with
//! the shipped values, and none until one does.

use config::{Environment, File, FileFormat, Source, Value, ValueKind};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;
use std::fmt::{self, Display};

/// What stands for a name of the operator's own.
const NAME: &str = "NAME";

/// What is wrong with a configuration: every wrong key, with the reason and where its value came from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Problem {
    key: String,
    reason: String,
}

impl ConfigError {
    pub(super) fn one(key: impl Display, reason: impl Display) -> ConfigError {
        let mut error = ConfigError { problems: Vec::new() };
        error.add(key, reason);
        error
    }

    pub(super) fn none() -> ConfigError {
        ConfigError { problems: Vec::new() }
    }

    pub(super) fn add(&mut self, key: impl Display, reason: impl Display) {
        self.problems.push(Problem { key: key.to_string(), reason: reason.to_string() });
    }

    pub(super) fn or_ok(self) -> Result<(), ConfigError> {
        if self.problems.is_empty() { Ok(()) } else { Err(self) }
    }

    /// Whether this key is among what is wrong.
    pub fn names(&self, key: &str) -> bool {
        self.problems.iter().any(|problem| problem.key == key)
    }
}

impl Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is refused")?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {}: {}", problem.key, problem.reason))
    }
}

/// One source of settings.
pub struct Layer {
    /// By key, `section.key`; with each its value, and its origin for people.
    entries: Vec<(String, Given, String)>,
}

/// A setting as its source gives it.
enum Given {
    /// With a kind of its own.
    Typed(Json),
    /// A text, whose kind is that of the setting.
    Text(String),
}

impl Layer {
    /// What a TOML file says.
    pub fn toml(name: &str, text: &str) -> Result<Layer, ConfigError> {
        let wrong = |err: config::ConfigError| ConfigError::one(name, err.to_string().trim());
        let table = File::from_str(text, FileFormat::Toml).collect().map_err(wrong)?;
        let mut entries = Vec::new();
        for (key, value) in table {
            flatten(key, value, name, &mut entries);
        }
        Ok(Layer { entries })
    }

    /// What the environment says in `QUCKCHAT__SECTION__KEY`.
    pub fn environment(variables: Environment) -> Result<Layer, ConfigError> {
        let variables = variables.prefix("quckchat").separator("__");
        let table = variables.collect().map_err(|err| ConfigError::one("the environment", err))?;
        let entry = |(key, value): (String, Value)| {
            let name = format!("QUCKCHAT__{}", key.to_uppercase().replace('.', "__"));
            (key, Given::Text(value.into_string().unwrap_or_default()), name)
        };
        Ok(Layer { entries: table.into_iter().map(entry).collect() })
    }

    /// Settings given as texts.
    pub fn texts(name: &str, texts: &[(&str, String)]) -> Layer {
        let entry = |(key, text): &(&str, String)| ((*key).to_owned(), Given::Text(text.clone()), name.to_owned());
        Layer { entries: texts.iter().map(entry).collect() }
    }
}

fn flatten(key: String, value: Value, name: &str, entries: &mut Vec<(String, Given, String)>) {
    match value.kind {
        ValueKind::Table(table) => {
            for (inner, value) in table {
                flatten(format!("{key}.{inner}"), value, name, entries);
            }
        }
        kind => entries.push((key, Given::Typed(json(kind)), name.to_owned())),
    }
}

fn json(kind: ValueKind) -> Json {
    match kind {
        ValueKind::Boolean(value) => value.into(),
        ValueKind::I64(value) => value.into(),
        ValueKind::U64(value) => value.into(),
        ValueKind::Float(value) => value.into(),
        ValueKind::String(value) => value.into(),
        ValueKind::Array(values) => values.into_iter().map(|value| json(value.kind)).collect(),
        // TOML has no others.
        _ => Json::Null,
    }
}

/// Puts the layers over the base, the last one on top, and reads the whole. The base says which settings there are,
/// and what kind of value each has.
pub fn merge<T: DeserializeOwned>(base: Layer, over: Vec<Layer>) -> Result<T, ConfigError> {
    let mut settings: Settings = BTreeMap::new();
    let mut patterns = Vec::new();
    for (key, given, _) in base.entries {
        match (given, named(&key, NAME)) {
            (Given::Typed(value), Some(pattern)) => patterns.push((pattern, value)),
            (Given::Typed(value), None) => drop(settings.insert(key, (value, None))),
            (Given::Text(_), _) => {}
        }
    }
    let mut wrong = ConfigError::none();
    for (key, given, origin) in over.into_iter().flat_map(|layer| layer.entries) {
        if is_pattern(&key, &given, &patterns) {
            continue;
        }
        if !settings.contains_key(&key) {
            make_named(&key, &patterns, &mut settings);
        }
        match settings.get_mut(&key) {
            None => wrong.add(&key, format!("there is no such setting (in {origin})")),
            Some(setting) => match fit(given, &setting.0) {
                Ok(value) => *setting = (value, Some(origin)),
                Err(expected) => wrong.add(&key, format!("must be {expected} (in {origin})")),
            },
        }
    }
    wrong.or_ok()?;

    let mut whole = Map::new();
    // A pattern without a name yet is an empty section.
    for ((section, _), _) in &patterns {
        insert(&mut whole, section, Map::new().into());
    }
    for (key, (value, _)) in &settings {
        insert(&mut whole, key, value.clone());
    }
    serde_path_to_error::deserialize(Json::Object(whole)).map_err(|err| {
        let path = err.path().to_string();
        // A list's place, `gateway.trusted_proxies[0]`, is not a setting's name.
        let key = path.split('[').next().unwrap_or(&path).to_owned();
        let origin = settings.get(&key).and_then(|(_, origin)| origin.as_deref()).unwrap_or("config.toml");
        ConfigError::one(key, format!("{} (in {origin})", err.inner()))
    })
}

/// By key, its value and where that came from; nowhere but the base without one.
type Settings = BTreeMap<String, (Json, Option<String>)>;
/// A key of a pattern, as what stands before and behind the name, and its shipped value.
type Pattern = ((String, String), Json);

/// What stands before and behind this name in a key.
fn named(key: &str, name: &str) -> Option<(String, String)> {
    let (section, rest) = key.split_once(&format!(".{name}."))?;
    Some((section.to_owned(), rest.to_owned()))
}

/// Whether this is the pattern itself, in a copy of the shipped file, with nothing filled in.
fn is_pattern(key: &str, given: &Given, patterns: &[Pattern]) -> bool {
    let Some(found) = named(key, NAME) else { return false };
    patterns
        .iter()
        .any(|(pattern, shipped)| *pattern == found && matches!(given, Given::Typed(value) if value == shipped))
}

/// Where a key is one of a pattern's under a new name, there is a section of that name from now on.
fn make_named(key: &str, patterns: &[Pattern], settings: &mut Settings) {
    let name_in = |section: &str, field: &str| {
        let name = key.strip_prefix(section)?.strip_prefix('.')?.strip_suffix(field)?.strip_suffix('.')?;
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        ((1..=32).contains(&name.len()) && name.bytes().all(plain)).then_some(name)
    };
    let Some(name) = patterns.iter().find_map(|((section, field), _)| name_in(section, field)) else { return };
    for ((section, field), value) in patterns {
        settings.entry(format!("{section}.{name}.{field}")).or_insert_with(|| (value.clone(), None));
    }
}

/// Puts a value to its place in the tree of sections.
fn insert(whole: &mut Map<String, Json>, key: &str, value: Json) {
    match key.split_once('.') {
        None => drop(whole.entry(key).or_insert(value)),
        Some((section, inner)) => {
            let section = whole.entry(section).or_insert_with(|| Map::new().into());
            if let Json::Object(section) = section {
                insert(section, inner, value);
            }
        }
    }
}

/// A value of the same kind as the shipped one, or what it must be.
fn fit(given: Given, shipped: &Json) -> Result<Json, &'static str> {
    let value = match given {
        Given::Typed(value) => Some(value),
        Given::Text(text) => from_text(text, shipped),
    };
    let whole = |value: &Json| value.is_i64() || value.is_u64();
    let texts = |value: &Json| value.as_array().is_some_and(|items| items.iter().all(Json::is_string));
    let (fits, expected): (fn(&Json) -> bool, _) = match shipped {
        Json::Number(_) => (whole, "a whole number"),
        Json::Bool(_) => (Json::is_boolean, "true or false"),
        Json::Array(_) => (texts, "a list of texts"),
        _ => (Json::is_string, "a text"),
    };
    value.filter(fits).ok_or(expected)
}

/// What a text says where a value of the shipped one's kind is expected; lists are written with commas.
fn from_text(text: String, shipped: &Json) -> Option<Json> {
    match shipped {
        Json::Number(_) => text.trim().parse::<i64>().ok().map(Json::from),
        Json::Bool(_) => text.trim().parse::<bool>().ok().map(Json::from),
        Json::Array(_) => Some(text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect()),
        _ => Some(text.into()),
    }
}

/// The shipped file with the values of `effective`: its comments and its order stay. A pattern is followed by what is
/// there of it, and is itself a comment.
pub fn rewrite(shipped: &str, effective: &Json) -> String {
    let mut out = String::with_capacity(shipped.len());
    for block in blocks(shipped) {
        let section = block.lines().next().and_then(header).unwrap_or_default();
        match section.strip_suffix(NAME).and_then(|section| section.strip_suffix('.')) {
            None => rewrite_section(block, at(effective, section), &mut out),
            Some(pattern) => {
                rewrite_pattern(block, &mut out);
                for (name, values) in at(effective, pattern).as_object().into_iter().flatten() {
                    out.push_str(&format!("[{pattern}.{name}]\n"));
                    let keys = block.lines().filter_map(setting);
                    keys.for_each(|key| out.push_str(&format!("{key} = {}\n", values[key])));
                    out.push('\n');
                }
            }
        }
    }
    out
}

/// The file in pieces, each of which but the first begins with a section's header.
fn blocks(text: &str) -> impl Iterator<Item = &str> {
    let starts = text.match_indices("\n[").map(|(at, _)| at + 1).chain([text.len()]);
    let mut from = 0;
    starts.map(move |to| {
        let block = &text[from..to];
        from = to;
        block
    })
}

/// The section that a line begins.
fn header(line: &str) -> Option<&str> {
    line.strip_prefix('[')?.strip_suffix(']')
}

/// The key that a line sets.
fn setting(line: &str) -> Option<&str> {
    let (key, _) = line.split_once(" = ").filter(|_| !line.starts_with('#'))?;
    Some(key)
}

fn at<'a>(whole: &'a Json, section: &str) -> &'a Json {
    section.split('.').filter(|part| !part.is_empty()).fold(whole, |value, part| &value[part])
}

fn rewrite_section(block: &str, section: &Json, out: &mut String) {
    for line in block.lines() {
        match setting(line) {
            // A JSON text, number or list of texts is the same in TOML.
            Some(key) => out.push_str(&format!("{key} = {}", section[key])),
            None => out.push_str(line),
        }
        out.push('\n');
    }
}

fn rewrite_pattern(block: &str, out: &mut String) {
    for line in block.lines() {
        let is_said = header(line).is_some() || setting(line).is_some();
        out.push_str(if is_said { "# " } else { "" });
        out.push_str(line);
        out.push('\n');
    }
}
