//! How the pictures of an encoder are normalised, as text: in the notes of its file, and in options.

use std::collections::BTreeMap;

use crate::augment::check;
use crate::field::Normalisation;

/// Values of red, green and blue as text: with commas between.
pub fn text(colours: [f32; 3]) -> String {
    colours.map(|v| v.to_string()).join(",")
}

/// Values of red, green and blue from text.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<[f32; 3], String> {
    let values: Option<Vec<f32>> = text.split(',').map(|v| v.trim().parse().ok()).collect();
    let colours = values.and_then(|values| values.try_into().ok());
    colours.ok_or_else(|| {
        format!("`{text}`: expected R,G,B, three numbers with commas between, such as 0.5,0.5,0.5")
    })
}

/// Writes it into the notes of an encoder's file.
pub fn note(normalisation: Normalisation, notes: &mut BTreeMap<String, String>) {
    notes.insert("mean".into(), text(normalisation.mean));
    notes.insert("std".into(), text(normalisation.std));
}

/// What the notes of a file of ours say; files without such notes are of ImageNet's.
///
/// # Errors
/// Notes that cannot be.
pub fn noted(notes: &BTreeMap<String, String>) -> Result<Normalisation, String> {
    let colours = |key: &str, absent| match notes.get(key) {
        None => Ok(absent),
        Some(text) => parse(text).map_err(|e| format!("its note `{key}` is {e}")),
    };
    let mean = colours("mean", Normalisation::IMAGENET.mean)?;
    let std = colours("std", Normalisation::IMAGENET.std)?;
    check::normalisation(mean, std).map_err(|e| format!("its notes say {e}"))?;
    Ok(Normalisation { mean, std })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_back_to_the_bit_and_absent_ones_are_imagenets() {
        let odd = Normalisation {
            mean: [0.1, 1.0 / 3.0, -0.0],
            std: [0.5, 1e-5, 7.25],
        };
        let mut notes = BTreeMap::new();
        assert_eq!(noted(&notes), Ok(Normalisation::IMAGENET));
        note(odd, &mut notes);
        assert_eq!(notes["std"], "0.5,0.00001,7.25");
        assert_eq!(noted(&notes), Ok(odd));
    }

    #[test]
    fn what_are_no_three_colours_is_refused() {
        assert_eq!(parse("0.5, 0.25,1"), Ok([0.5, 0.25, 1.0]));
        for text in ["", "0.5", "0.5,0.5", "1,2,3,4", "a,b,c", "1,2,"] {
            let said = parse(text).unwrap_err();
            assert!(said.starts_with(&format!("`{text}`: expected R,G,B")));
        }
        for (key, text) in [("mean", "nan,0,0"), ("std", "1,0,1"), ("std", "1,1,inf")] {
            let notes = BTreeMap::from([(key.to_owned(), text.to_owned())]);
            let said = noted(&notes).unwrap_err();
            assert!(said.contains(&format!("{key} = [")), "{said}");
        }
    }
}
