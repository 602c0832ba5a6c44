//! A batch as named tensors, so that the step that takes it can be repeated.
//!
//! Whole numbers are kept as `f32`: rows, cells and counts are far below 2^24.

use super::{Batch, BatchPositions};
use crate::field::Taps;
use crate::nn::checkpoint::CheckpointError;
use crate::nn::ops::assemble::Plan;
use crate::nn::positions::Encoding;
use crate::nn::weights::StateDict;
use crate::nn::Groups;
use intertwine_kernels::attention::Group;

impl Batch {
    /// The batch as tensors and notes.
    pub(in crate::pretrain) fn to_dict(&self) -> StateDict {
        let mut dict = StateDict::default();
        for (key, value) in [
            ("size", self.size),
            ("globals", self.globals),
            ("locals", self.locals),
            ("content_masked", self.content_masked),
        ] {
            dict.metadata.insert(key.into(), value.to_string());
        }
        let groups = self.student.groups.0.iter();
        let groups: Vec<f32> = groups
            .flat_map(|g| [g.count as f32, g.len as f32])
            .collect();
        let whole = |values: &[u32]| -> Vec<f32> { values.iter().map(|&v| v as f32).collect() };
        dict.insert_vector("groups", &groups);
        dict.insert_vector("masked", &whole(&self.masked));
        dict.insert_vector("masked_weight", &self.masked_weight);
        dict.insert_vector("patches", &self.patches);
        match &self.positions {
            BatchPositions::Field { all, .. } => {
                dict.insert_vector("taps.index", &whole(all.index.as_flattened()));
                dict.insert_vector("taps.weight", all.weight.as_flattened());
            }
            BatchPositions::Fixed { values, .. } => dict.insert_vector("positions", values),
        }
        dict
    }

    /// The batch that [`to_dict`](Self::to_dict) made a dictionary of, for patches of so many values and tokens of such a width.
    ///
    /// # Errors
    /// If something is missing, or does not fit the rest.
    pub(in crate::pretrain) fn from_dict(
        dict: &StateDict,
        (encoding, width): (Encoding, usize),
        patch_values: usize,
    ) -> Result<Self, CheckpointError> {
        let number = |key| Ok::<_, CheckpointError>(dict.number(key)? as usize);
        let (size, globals, locals) = (number("size")?, number("globals")?, number("locals")?);
        let patches = vector(dict, "patches", None)?;
        let count = patches.len() / patch_values;
        let sides = whole(dict, "groups", None, patches.len() + 2)?;
        let group = |g: &[u32]| Group {
            count: g[0] as usize,
            len: g[1] as usize,
        };
        let groups = Groups(sides.chunks_exact(2).map(group).collect());
        let of_globals = Groups(groups.0.iter().take(1).cloned().collect());
        let views = globals.saturating_add(locals).saturating_mul(size);
        if size == 0
            || globals == 0
            || groups.0.iter().any(|g| g.len == 0)
            || groups.sequences() != views
            || of_globals.sequences() != globals * size
            || groups.rows() - views != count
            || patches.len() != count * patch_values
        {
            return Err(dict.foreign(format!(
                "{globals} global and {locals} local views of {size} pictures do not give {} values of patches in \
                 sequences of {sides:?}",
                patches.len()
            )));
        }
        let global_patches = of_globals.rows() - of_globals.sequences();
        let positions = match encoding.learned() {
            Some(side) => {
                let index = whole(dict, "taps.index", Some(4 * count), side * side)?;
                let weight = vector(dict, "taps.weight", Some(4 * count))?;
                let all = Taps {
                    index: index.as_chunks().0.to_vec(),
                    weight: weight.as_chunks().0.to_vec(),
                };
                let globals = Taps {
                    index: all.index[..global_patches].to_vec(),
                    weight: all.weight[..global_patches].to_vec(),
                };
                BatchPositions::Field { all, globals }
            }
            None => BatchPositions::Fixed {
                values: vector(dict, "positions", Some(count * width))?.to_vec(),
                width,
            },
        };

        let masked = whole(dict, "masked", None, of_globals.rows())?;
        let masked_weight = vector(dict, "masked_weight", Some(masked.len()))?.to_vec();
        let content_masked = number("content_masked")?;
        // The patch of each row; none for CLS.
        let mut patch_of = vec![None; groups.rows()];
        for (sequence, (start, len)) in groups.starts().enumerate() {
            for (row, patch) in patch_of
                .iter_mut()
                .enumerate()
                .take(start + len)
                .skip(start + 1)
            {
                *patch = Some(row - sequence - 1);
            }
        }
        let cls = groups.starts().map(|(start, _)| start as u32).collect();
        let mut student = Plan::unmasked(groups);
        for (i, &row) in masked.iter().enumerate() {
            let flags = if i < content_masked {
                &mut student.content_masked
            } else {
                &mut student.position_masked
            };
            match patch_of[row as usize] {
                Some(patch) => flags[patch] = true,
                None => return Err(dict.foreign(format!("row {row} of `masked` is a CLS token"))),
            }
        }
        if content_masked > masked.len() {
            return Err(dict.foreign(format!(
                "`content_masked` is {content_masked}, of {} masked patches",
                masked.len()
            )));
        }
        Ok(Self {
            size,
            globals,
            locals,
            cls,
            masked,
            content_masked,
            masked_weight,
            patches: patches.to_vec(),
            positions,
            student,
            teacher: Plan::unmasked(of_globals),
            global_values: global_patches * patch_values,
            global_patches,
        })
    }
}

/// The values of a tensor, of which there must be `count` if that is known.
fn vector<'a>(
    dict: &'a StateDict,
    name: &str,
    count: Option<usize>,
) -> Result<&'a [f32], CheckpointError> {
    match dict.tensors.get(name) {
        None => Err(dict.foreign(format!("tensor `{name}` is missing"))),
        Some(t) => match count {
            Some(count) if t.values.len() != count => Err(dict.foreign(format!(
                "`{name}` has {} values, expected {count}",
                t.values.len()
            ))),
            _ => Ok(&t.values),
        },
    }
}

/// As [`vector`]; the values must be whole numbers below a bound.
fn whole(
    dict: &StateDict,
    name: &str,
    count: Option<usize>,
    below: usize,
) -> Result<Vec<u32>, CheckpointError> {
    let number = |&v: &f32| {
        let fits = v >= 0.0 && v.fract() == 0.0 && f64::from(v) < below as f64;
        fits.then_some(v as u32).ok_or_else(|| {
            dict.foreign(format!(
                "`{name}` holds {v}, expected a whole number below {below}"
            ))
        })
    };
    vector(dict, name, count)?.iter().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::resolve;
    use crate::pretrain::config::PRESETS;
    use crate::pretrain::testing::drawn_views;
    use crate::pretrain::PretrainConfig;

    fn batch(encoding: (Encoding, usize)) -> Batch {
        let settings = ["mask.probability=1.0".to_owned()];
        let config: PretrainConfig = resolve(PRESETS, "pico", None, &settings).unwrap();
        Batch::new(&drawn_views(&config), encoding, &config.mask, 3, 5)
    }

    #[test]
    fn a_batch_comes_back_as_it_was() {
        for encoding in [(Encoding::Learned(50), 192), (Encoding::View(0), 192)] {
            let batch = batch(encoding);
            assert!(0 < batch.content_masked && batch.content_masked < batch.masked.len());
            let back = Batch::from_dict(&batch.to_dict(), encoding, 192).unwrap();
            assert_eq!(format!("{back:?}"), format!("{batch:?}"));
        }
    }

    #[test]
    fn a_damaged_batch_is_an_error() {
        let encoding = (Encoding::Learned(50), 192);
        let whole = batch(encoding).to_dict();
        let error = |dict: &StateDict| {
            let read = Batch::from_dict(dict, encoding, 192);
            read.expect_err("it is damaged").to_string()
        };
        for name in whole.tensors.keys() {
            let mut dict = whole.clone();
            dict.tensors.remove(name);
            assert!(error(&dict).contains(name));
            if name != "masked" {
                let mut dict = whole.clone();
                dict.tensors.get_mut(name).unwrap().values.pop();
                error(&dict);
            }
        }
        for (name, value) in [
            ("masked", 0.0),
            ("masked", 1e9),
            ("masked", 0.5),
            ("taps.index", 2500.0),
            ("taps.index", f32::NAN),
            ("groups", -1.0),
            ("groups", 1e30),
        ] {
            let mut dict = whole.clone();
            dict.tensors.get_mut(name).unwrap().values[0] = value;
            assert!(
                error(&dict).contains(name) || name == "groups",
                "{name} {value}"
            );
        }
        for key in ["size", "globals", "locals", "content_masked"] {
            for value in ["18446744073709551615", "0", "many"] {
                if (key, value) != ("content_masked", "0") {
                    let mut dict = whole.clone();
                    dict.metadata.insert(key.into(), value.into());
                    error(&dict);
                }
            }
        }
    }
}
