//! How large an encoder has seen pictures, and where in the field: noted in its file, for whoever shows it others.

use std::collections::BTreeMap;

use crate::augment::check;

/// What the pictures of a training had in common.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usual {
    /// Pixels a side of the largest view.
    pub side: Option<usize>,
    /// Side of a picture's window, as a share of the field's; `None` where windows were drawn.
    pub window: Option<f64>,
}

impl Usual {
    /// Writes it into the notes of an encoder's file.
    pub fn note(self, notes: &mut BTreeMap<String, String>) {
        let side = self.side.map(|side| ("side", side.to_string()));
        let window = self.window.map(|window| ("window", window.to_string()));
        let known = side.into_iter().chain(window);
        notes.extend(known.map(|(key, value)| (key.to_owned(), value)));
    }

    /// What the notes of a file say; nothing, if there are none.
    ///
    /// # Errors
    /// Notes that cannot be.
    pub fn noted(notes: &BTreeMap<String, String>) -> Result<Self, String> {
        let wrong = |key: &str, text: &String, expected: &str| {
            format!("its note `{key}` is `{text}`, expected {expected}")
        };
        let side = |text: &String| match text.parse() {
            Ok(side) if (1..=1 << 15).contains(&side) => Ok(side),
            _ => Err(wrong("side", text, "pixels from 1 to 32768")),
        };
        let window = |text: &String| match text.parse() {
            Ok(window) if check::scale("window", window).is_ok() => Ok(window),
            _ => Err(wrong("window", text, "a number above 0, at most 1")),
        };
        Ok(Self {
            side: notes.get("side").map(side).transpose()?,
            window: notes.get("window").map(window).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_back_and_nonsense_is_refused() {
        let usual = Usual {
            side: Some(96),
            window: Some(0.35),
        };
        let mut notes = BTreeMap::new();
        assert_eq!(Usual::noted(&notes), Ok(Usual::default()));
        usual.note(&mut notes);
        assert_eq!(Usual::noted(&notes), Ok(usual));
        for (key, text) in [
            ("side", "0"),
            ("side", "-1"),
            ("side", "99999999999"),
            ("window", "0"),
            ("window", "1.5"),
            ("window", "NaN"),
            ("window", "a"),
        ] {
            let notes = BTreeMap::from([(key.to_owned(), text.to_owned())]);
            let said = Usual::noted(&notes).unwrap_err();
            assert!(said.contains(&format!("`{key}` is `{text}`")), "{said}");
        }
    }
}
