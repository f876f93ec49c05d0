//! Where settings come from: files, the environment, arguments; which of them wins, and what is wrong with one.
//! Never what a setting means.

use config::{Environment, File, FileFormat, Source, Value, ValueKind};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;
use std::fmt::{self, Display};

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
    let mut settings: BTreeMap<String, (Json, Option<String>)> = BTreeMap::new();
    for (key, given, _) in base.entries {
        if let Given::Typed(value) = given {
            settings.insert(key, (value, None));
        }
    }
    let mut wrong = ConfigError::none();
    for (key, given, origin) in over.into_iter().flat_map(|layer| layer.entries) {
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
    for (key, (value, _)) in &settings {
        match key.split_once('.') {
            None => drop(whole.insert(key.clone(), value.clone())),
            Some((section, inner)) => {
                let section = whole.entry(section).or_insert_with(|| Map::new().into());
                section[inner] = value.clone();
            }
        }
    }
    serde_path_to_error::deserialize(Json::Object(whole)).map_err(|err| {
        let path = err.path().to_string();
        // A list's place, `gateway.trusted_proxies[0]`, is not a setting's name.
        let key = path.split('[').next().unwrap_or(&path).to_owned();
        let origin = settings.get(&key).and_then(|(_, origin)| origin.as_deref()).unwrap_or("config.toml");
        ConfigError::one(key, format!("{} (in {origin})", err.inner()))
    })
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

/// The shipped file with the values of `effective`: its comments and its order stay.
pub fn rewrite(shipped: &str, effective: &Json) -> String {
    let mut section = effective;
    let mut out = String::with_capacity(shipped.len());
    for line in shipped.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = &effective[name];
        }
        match line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            // A JSON text, number or list of texts is the same in TOML.
            Some((key, _)) => out.push_str(&format!("{key} = {}\n", section[key])),
            None => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}
