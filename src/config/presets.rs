//! The configs that have a name, as texts in which every setting says what it is.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::{lay, nearest, parse, ConfigError};

/// Names and TOML texts.
pub type Named = &'static [(&'static str, &'static str)];

/// The configs that have a name.
#[derive(Clone, Copy, Debug)]
pub struct Presets {
    /// Complete configs, the first being the default: a line a setting, under the head of its table.
    pub complete: Named,
    /// What changes some settings of any of them: `pico-dino` is the variant `dino` of `pico`.
    pub variants: Named,
    /// What each setting is: a TOML text in which it has a sentence for a value.
    pub keys: &'static str,
}

impl Presets {
    /// The name of the default.
    pub const fn default(&self) -> &'static str {
        self.complete[0].0
    }

    /// Every name there is: each complete config, and each with each variant.
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        self.complete.iter().flat_map(|(name, _)| {
            let variants = self.variants.iter();
            let variants = variants.map(move |(variant, _)| format!("{name}-{variant}"));
            std::iter::once((*name).to_owned()).chain(variants)
        })
    }

    /// The texts of a name: of a complete config, and of the variant of it, if the name is of one.
    fn texts(&self, name: &str) -> Option<(&'static str, Option<&'static str>)> {
        self.complete.iter().find_map(|(complete, text)| {
            let variant = name.strip_prefix(complete)?;
            if variant.is_empty() {
                return Some((*text, None));
            }
            self.variant(variant.strip_prefix('-')?)
                .map(|changes| (*text, Some(changes)))
        })
    }

    /// The text of a preset, with what each setting is above it; of a variant, the complete config with the settings that the
    /// variant changes.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn text(&self, name: &str) -> Result<String, ConfigError> {
        let Some((complete, variant)) = self.texts(name) else {
            return Err(self.unknown(name));
        };
        let changes = variant.unwrap_or_default();
        let (about, changed) = (values("keys", self.keys)?, values(name, changes)?);
        let heading = |text: &'static str| text.lines().take_while(|line| line.starts_with('#'));
        let mut out = String::new();
        for line in heading(changes).chain(heading(complete)) {
            out += &format!("{line}\n");
        }
        out.push('\n');
        let mut table = String::new();
        // The preset's own remarks on the setting that comes next.
        let mut remarks = String::new();
        for line in complete.lines().skip(heading(complete).count()) {
            if let Some(head) = line.strip_prefix('[') {
                table = format!("{}.", head.trim_end_matches(']'));
            }
            match line.split_once(" = ").filter(|_| !line.starts_with('#')) {
                None if line.starts_with('#') => remarks += &format!("{line}\n"),
                None => out += &format!("{}{line}\n", std::mem::take(&mut remarks)),
                Some((key, value)) => {
                    let full = format!("{table}{key}");
                    let about = about.get(&full).and_then(Value::as_str);
                    for line in about.unwrap_or_default().lines() {
                        out += &format!("# {line}\n");
                    }
                    out += &std::mem::take(&mut remarks);
                    let new = changed.get(&full).map(Value::to_string);
                    out += &format!("{key} = {}\n", new.as_deref().unwrap_or(value));
                }
            }
        }
        Ok(out)
    }

    fn unknown(&self, name: &str) -> ConfigError {
        let known: Vec<String> = self.names().collect();
        ConfigError::UnknownPreset {
            name: name.to_owned(),
            nearest: nearest(name, known.iter().map(String::as_str)),
            known,
        }
    }

    /// What a variant changes.
    pub fn variant(&self, name: &str) -> Option<&'static str> {
        let found = self.variants.iter().find(|(variant, _)| *variant == name);
        found.map(|(_, text)| *text)
    }

    /// The table of a preset.
    pub(super) fn table(&self, name: &str) -> Result<Table, ConfigError> {
        let Some((complete, variant)) = self.texts(name) else {
            return Err(self.unknown(name));
        };
        let origin = format!("preset {name}");
        let mut table = parse(&origin, complete)?;
        if let Some(changes) = variant {
            lay(&mut table, parse(&origin, changes)?, &origin)?;
        }
        Ok(table)
    }
}

/// The values of a text, each under its whole key.
fn values(origin: &str, text: &str) -> Result<BTreeMap<String, Value>, ConfigError> {
    fn flatten(table: Table, path: &str, all: &mut BTreeMap<String, Value>) {
        for (key, value) in table {
            let key = format!("{path}{key}");
            match value {
                Value::Table(inner) => flatten(inner, &format!("{key}."), all),
                value => drop(all.insert(key, value)),
            }
        }
    }
    let mut all = BTreeMap::new();
    flatten(parse(origin, text)?, "", &mut all);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{finetune, pretrain};

    #[test]
    fn every_setting_of_every_preset_says_what_it_is() {
        for presets in [pretrain::config::PRESETS, finetune::config::PRESETS] {
            let about = values("keys", presets.keys).unwrap();
            assert!(about.values().all(|text| text.as_str().is_some()));
            for name in presets.names() {
                let text = presets.text(&name).unwrap();
                let (heading, _) = text.split_once("\n\n").unwrap();
                assert!(heading.lines().all(|line| line.starts_with("# ")), "{text}");
                // The same values, whatever stands around them.
                assert_eq!(
                    parse(&name, &text).unwrap(),
                    presets.table(&name).unwrap(),
                    "{name}"
                );
                let settings = values(&name, &text).unwrap();
                let keys = |all: &BTreeMap<String, Value>| Vec::from_iter(all.keys().cloned());
                assert_eq!(keys(&settings), keys(&about), "{name}");
                let mut above = "";
                for line in text.lines() {
                    if line.contains(" = ") && !line.starts_with('#') {
                        assert!(above.starts_with("# "), "{name}: {line}");
                    }
                    above = line;
                }
            }
        }
    }
}
