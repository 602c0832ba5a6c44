//! Configs: a preset, changed by a file, changed by `--set key=value`.
//!
//! The three layers are merged as TOML before anything is read into a struct, so that a wrong key or a
//! wrong type is found against the preset and named, with the nearest key that exists.

mod presets;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::Serialize;
use toml::{Table, Value};

pub use presets::{Named, Presets};

/// What is wrong with a config.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML.
    #[error("{origin}: {reason}")]
    Syntax {
        /// File or option.
        origin: String,
        /// What the parser says.
        reason: String,
    },
    /// No such preset.
    #[error("no preset `{name}`; there are {}{}", known.join(", "), nearest.as_ref().map(|n| format!(" (did you mean `{n}`?)")).unwrap_or_default())]
    UnknownPreset {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
        /// The nearest.
        nearest: Option<String>,
    },
    /// No such key.
    #[error("{origin}: unknown key `{key}`{}", nearest.as_ref().map(|n| format!(", did you mean `{n}`?")).unwrap_or_default())]
    UnknownKey {
        /// File or option.
        origin: String,
        /// The key as given.
        key: String,
        /// The nearest key that exists.
        nearest: Option<String>,
    },
    /// A value of the wrong type.
    #[error("{origin}: `{key}` is {found}, expected {expected}")]
    WrongType {
        /// File or option.
        origin: String,
        /// The key.
        key: String,
        /// The type given.
        found: String,
        /// The type needed.
        expected: String,
    },
    /// A value that makes no sense.
    #[error("`{key}` {problem}")]
    Invalid {
        /// The key.
        key: String,
        /// What is wrong, what was found, what would do.
        problem: String,
    },
}

/// Something that knows which of its values make no sense.
pub trait Validate {
    /// # Errors
    /// The first key whose value cannot be used, and why.
    fn validate(&self) -> Result<(), ConfigError>;
}

/// Builds a config from a preset, an optional file and `key=value` settings.
///
/// # Errors
/// As [`ConfigError`].
pub fn resolve<C: DeserializeOwned + Validate>(
    presets: Presets,
    preset: &str,
    file: Option<&Path>,
    settings: &[String],
) -> Result<C, ConfigError> {
    let mut base = presets.table(preset)?;
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Io {
            path: path.to_owned(),
            source,
        })?;
        let origin = path.display().to_string();
        lay(&mut base, parse(&origin, &text)?, &origin)?;
    }
    change(&mut base, settings)?;
    read(base)
}

/// A config with some settings changed: those of a TOML text, named `origin` in errors, and then `key=value` ones.
///
/// # Errors
/// As [`ConfigError`].
pub fn vary<C: Serialize + DeserializeOwned + Validate>(
    config: &C,
    (origin, text): (&str, &str),
    settings: &[String],
) -> Result<C, ConfigError> {
    let mut table = Table::try_from(config).expect("a config is plain data");
    lay(&mut table, parse(origin, text)?, origin)?;
    change(&mut table, settings)?;
    read(table)
}

/// Makes `key=value` changes.
fn change(table: &mut Table, settings: &[String]) -> Result<(), ConfigError> {
    settings.iter().try_for_each(|setting| {
        lay(
            table,
            parse_setting(setting)?,
            &format!("setting `{setting}`"),
        )
    })
}

fn read<C: DeserializeOwned + Validate>(table: Table) -> Result<C, ConfigError> {
    let config: C = Value::Table(table)
        .try_into()
        .map_err(|e: toml::de::Error| ConfigError::Syntax {
            origin: "the settings".into(),
            reason: e.to_string().trim().to_owned(),
        })?;
    config.validate()?;
    Ok(config)
}

fn parse(origin: &str, text: &str) -> Result<Table, ConfigError> {
    text.parse()
        .map_err(|e: toml::de::Error| ConfigError::Syntax {
            origin: origin.to_owned(),
            reason: e.to_string().trim().to_owned(),
        })
}

/// `a.b=1` as a table; a value that is no TOML is taken as a string, so quotes may be left out.
fn parse_setting(setting: &str) -> Result<Table, ConfigError> {
    let origin = format!("setting `{setting}`");
    let Some((key, value)) = setting.split_once('=') else {
        return Err(ConfigError::Syntax {
            origin,
            reason: "expected key=value".into(),
        });
    };
    let (key, value) = (key.trim(), value.trim());
    parse(&origin, &format!("{key} = {value}")).or_else(|_| {
        parse(
            &origin,
            &format!("{key} = {}", Value::String(value.to_owned())),
        )
    })
}

/// Lays `over` on `base`, as [`merge`]; a key that does not exist is told with the most similar one of all.
fn lay(base: &mut Table, over: Table, origin: &str) -> Result<(), ConfigError> {
    let keys = keys(base);
    merge(base, over, origin, "").map_err(|error| match error {
        ConfigError::UnknownKey { origin, key, .. } => ConfigError::UnknownKey {
            nearest: nearest_key(&key, &keys),
            origin,
            key,
        },
        other => other,
    })
}

/// A key with those of the tables in it, as long as there is one alone: as it was written.
fn whole_key(key: String, value: &Value) -> String {
    match value
        .as_table()
        .map(|table| (table.len(), table.iter().next()))
    {
        Some((1, Some((inner, value)))) => whole_key(format!("{key}.{inner}"), value),
        _ => key,
    }
}

/// Every key of a table, and those of the tables in it, with dots.
fn keys(table: &Table) -> Vec<String> {
    let mut all = Vec::new();
    for (key, value) in table {
        all.push(key.clone());
        if let Value::Table(inner) = value {
            all.extend(keys(inner).into_iter().map(|rest| format!("{key}.{rest}")));
        }
    }
    all
}

/// The key whose last part is the most similar, of several such the one that is so as a whole: `lr` for `optim.lr`.
fn nearest_key(word: &str, keys: &[String]) -> Option<String> {
    fn last(key: &str) -> &str {
        key.rsplit('.').next().unwrap_or(key)
    }
    let likeness = |key: &&String| {
        (
            strsim::jaro_winkler(last(word), last(key)),
            strsim::jaro_winkler(word, key),
        )
    };
    let best = keys.iter().max_by(|a, b| {
        let ((a, whole_a), (b, whole_b)) = (likeness(a), likeness(b));
        a.total_cmp(&b).then(whole_a.total_cmp(&whole_b))
    });
    best.filter(|key| likeness(key).0 > 0.8).cloned()
}

/// Lays `over` on `base`; every key must exist in `base` with the same type (an integer may stand for a float).
fn merge(base: &mut Table, over: Table, origin: &str, path: &str) -> Result<(), ConfigError> {
    for (key, value) in over {
        let full = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        let Some(slot) = base.get_mut(&key) else {
            return Err(ConfigError::UnknownKey {
                origin: origin.to_owned(),
                key: whole_key(full, &value),
                nearest: None,
            });
        };
        match (slot, value) {
            (Value::Table(slot), Value::Table(value)) => merge(slot, value, origin, &full)?,
            (slot @ Value::Float(_), Value::Integer(i)) => *slot = Value::Float(i as f64),
            (Value::Array(slot), Value::Array(value)) => {
                let floats = slot.iter().any(Value::is_float);
                *slot = value
                    .into_iter()
                    .map(|v| match v {
                        Value::Integer(i) if floats => Value::Float(i as f64),
                        v => v,
                    })
                    .collect();
            }
            (slot, value) if slot.same_type(&value) => *slot = value,
            (slot, value) => {
                return Err(ConfigError::WrongType {
                    origin: origin.to_owned(),
                    key: full,
                    found: format!("{} ({value})", value.type_str()),
                    expected: format!("{}, for example {slot}", slot.type_str()),
                })
            }
        }
    }
    Ok(())
}

/// The most similar name, if any is similar at all.
pub fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    names
        .map(|name| (strsim::jaro_winkler(word, name), name))
        .filter(|(score, _)| *score > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name.to_owned())
}

/// Checks that a value is a number above 0.
pub(crate) fn positive(value: f64, key: &str) -> Result<(), ConfigError> {
    require(value > 0.0 && value.is_finite(), key, || {
        format!("is {value}, expected more than 0")
    })
}

/// Checks that a value is from 0 to 1.
pub(crate) fn share(value: f32, key: &str) -> Result<(), ConfigError> {
    require((0.0..=1.0).contains(&value), key, || {
        format!("is {value}, expected 0 to 1")
    })
}

/// Checks that a value is a number of at least 0.
pub(crate) fn not_negative(value: f32, key: &str) -> Result<(), ConfigError> {
    require(value >= 0.0 && value.is_finite(), key, || {
        format!("is {value}, expected at least 0")
    })
}

/// Checks a value against a condition, naming the key.
pub(crate) fn require(
    holds: bool,
    key: &str,
    problem: impl FnOnce() -> String,
) -> Result<(), ConfigError> {
    if holds {
        Ok(())
    } else {
        Err(ConfigError::Invalid {
            key: key.to_owned(),
            problem: problem(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, serde::Deserialize, Debug, PartialEq)]
    struct C {
        lr: f64,
        steps: usize,
        name: String,
        model: M,
    }
    #[derive(Serialize, serde::Deserialize, Debug, PartialEq)]
    struct M {
        depth: usize,
        sizes: Vec<f64>,
    }
    impl Validate for C {
        fn validate(&self) -> Result<(), ConfigError> {
            require(self.steps > 0, "steps", || "must be at least 1".into())
        }
    }
    const PRESETS: Presets = Presets {
        complete: &[(
            "a",
            "lr = 0.5\nsteps = 3\nname = 'x'\n[model]\ndepth = 2\nsizes = [0.5, 1.0]",
        )],
        variants: &[("deep", "[model]\ndepth = 9"), ("odd", "stepz = 1")],
        keys: "",
    };

    fn set(s: &str) -> Result<C, ConfigError> {
        resolve(PRESETS, "a", None, &[s.to_owned()])
    }

    #[test]
    fn settings_change_values() {
        assert_eq!(set("model.depth=12").unwrap().model.depth, 12);
        assert_eq!(set("lr=1").unwrap().lr, 1.0);
        assert_eq!(set("name=hello world").unwrap().name, "hello world");
        assert_eq!(set("model.sizes=[1, 2]").unwrap().model.sizes, [1.0, 2.0]);
    }

    #[test]
    fn a_variant_changes_a_preset_and_a_setting_the_variant() {
        let deep = |settings: &[String]| resolve::<C>(PRESETS, "a-deep", None, settings).unwrap();
        assert_eq!((deep(&[]).model.depth, deep(&[]).steps), (9, 3));
        let set = ["model.depth=4".to_owned()];
        assert_eq!(deep(&set).model.depth, 4);
        assert_eq!(
            PRESETS.names().collect::<Vec<_>>(),
            ["a", "a-deep", "a-odd"]
        );
        let other = vary(&deep(&set), ("x", "lr = 2"), &["steps=7".into()]).unwrap();
        assert_eq!((other.model.depth, other.lr, other.steps), (4, 2.0, 7));
    }

    #[test]
    fn mistakes_are_named() {
        let message = |s| set(s).unwrap_err().to_string();
        assert_eq!(
            message("model.dept=3"),
            "setting `model.dept=3`: unknown key `model.dept`, did you mean `model.depth`?"
        );
        // A key without its section, or with the wrong one.
        assert!(message("depth=3").ends_with("did you mean `model.depth`?"));
        assert!(message("optim.lr=3").ends_with("did you mean `lr`?"));
        assert!(message("crops=3").ends_with("unknown key `crops`"));
        assert!(message("steps=many").contains("`steps` is string (\"many\"), expected integer"));
        assert!(message("steps").contains("expected key=value"));
        assert!(message("steps=0").contains("`steps` must be at least 1"));
        let e = resolve::<C>(PRESETS, "b", None, &[])
            .unwrap_err()
            .to_string();
        assert!(e.starts_with("no preset `b`; there are a, a-deep"), "{e}");
        let e = |name| {
            resolve::<C>(PRESETS, name, None, &[])
                .unwrap_err()
                .to_string()
        };
        assert!(
            e("a-deeep").ends_with("did you mean `a-deep`?)"),
            "{}",
            e("a-deeep")
        );
        assert!(
            e("a-odd").starts_with("preset a-odd: unknown key `stepz`"),
            "{}",
            e("a-odd")
        );
        assert!(e("adeep").starts_with("no preset `adeep`"));
    }
}
