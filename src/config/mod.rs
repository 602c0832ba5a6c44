//! Configs: a preset, changed by a file, changed by `--set key=value`.
//!
//! The three layers are merged as TOML before anything is read into a struct, so that a wrong key or a
//! wrong type is found against the preset and named, with the nearest key that exists.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::{Table, Value};

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

/// A set of presets: name and TOML text, the first being the default.
pub type Presets = &'static [(&'static str, &'static str)];

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
    let Some((_, text)) = presets.iter().find(|(name, _)| *name == preset) else {
        let known: Vec<String> = presets.iter().map(|(name, _)| (*name).to_owned()).collect();
        let nearest = nearest(preset, known.iter().map(String::as_str));
        return Err(ConfigError::UnknownPreset {
            name: preset.to_owned(),
            known,
            nearest,
        });
    };
    let mut base = parse(&format!("preset {preset}"), text)?;
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Io {
            path: path.to_owned(),
            source,
        })?;
        let origin = path.display().to_string();
        merge(&mut base, parse(&origin, &text)?, &origin, "")?;
    }
    for setting in settings {
        let origin = format!("--set {setting}");
        merge(&mut base, parse_setting(setting)?, &origin, "")?;
    }
    let config: C = Value::Table(base)
        .try_into()
        .map_err(|e: toml::de::Error| ConfigError::Syntax {
            origin: "config".into(),
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
    let origin = format!("--set {setting}");
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

/// Lays `over` on `base`; every key must exist in `base` with the same type (an integer may stand for a float).
fn merge(base: &mut Table, over: Table, origin: &str, path: &str) -> Result<(), ConfigError> {
    for (key, value) in over {
        let full = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        let Some(slot) = base.get_mut(&key) else {
            let nearest = nearest(&key, base.keys().map(String::as_str)).map(|n| {
                if path.is_empty() {
                    n
                } else {
                    format!("{path}.{n}")
                }
            });
            return Err(ConfigError::UnknownKey {
                origin: origin.to_owned(),
                key: full,
                nearest,
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

    #[derive(serde::Deserialize, Debug, PartialEq)]
    struct C {
        lr: f64,
        steps: usize,
        name: String,
        model: M,
    }
    #[derive(serde::Deserialize, Debug, PartialEq)]
    struct M {
        depth: usize,
        sizes: Vec<f64>,
    }
    impl Validate for C {
        fn validate(&self) -> Result<(), ConfigError> {
            require(self.steps > 0, "steps", || "must be at least 1".into())
        }
    }
    const PRESETS: Presets = &[(
        "a",
        "lr = 0.5\nsteps = 3\nname = 'x'\n[model]\ndepth = 2\nsizes = [0.5, 1.0]",
    )];

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
    fn mistakes_are_named() {
        let message = |s| set(s).unwrap_err().to_string();
        assert_eq!(
            message("model.dept=3"),
            "--set model.dept=3: unknown key `model.dept`, did you mean `model.depth`?"
        );
        assert!(message("steps=many").contains("`steps` is string (\"many\"), expected integer"));
        assert!(message("steps").contains("expected key=value"));
        assert!(message("steps=0").contains("`steps` must be at least 1"));
        let e = resolve::<C>(PRESETS, "b", None, &[])
            .unwrap_err()
            .to_string();
        assert!(e.starts_with("no preset `b`; there are a"), "{e}");
    }
}
