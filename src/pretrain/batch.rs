//! The views of several pictures as the rows that the networks take.
//!
//! Rows are ordered view by view: the first global view of every picture, the second of every picture,
//! then each local view of every picture. Views of one size are one group of sequences.

mod file;

use std::borrow::Cow;
use std::ops::Deref;

use crate::augment::mask::{MaskConfig, MaskPlan};
use crate::augment::Views;
use crate::field::{Grid, Taps, View};
use crate::nn::ops::assemble::Plan;
use crate::nn::positions::Encoding;
use crate::nn::vit::{Positions, TokenInput};
use crate::nn::Groups;
use intertwine_kernels::attention::Group;

/// A batch, ready for a step.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Pictures.
    pub size: usize,
    /// Global views of each.
    pub globals: usize,
    /// Local views of each.
    pub locals: usize,
    /// Row of each view's CLS, globals first.
    pub cls: Vec<u32>,
    /// Rows of masked patches: those without content, then those without position.
    pub masked: Vec<u32>,
    /// How many of `masked` lack content.
    pub content_masked: usize,
    /// 1 / (patches masked in the view * global views in the batch), for each of `masked`.
    pub masked_weight: Vec<f32>,
    patches: Vec<f32>,
    positions: BatchPositions,
    student: Plan,
    teacher: Plan,
    /// Values of `patches` that belong to global views.
    global_values: usize,
    /// Patches of the global views.
    global_patches: usize,
}

/// Where the patches' positions come from.
#[derive(Clone, Debug)]
enum BatchPositions {
    /// Taps into a learned field.
    Field { all: Taps, globals: Taps },
    /// Fixed vectors and the values of one patch.
    Fixed { values: Vec<f32>, width: usize },
}

impl Batch {
    /// Arranges the views of a batch, the `index`-th of the run, on which the masks depend. `width` is that of a token.
    pub fn new<V: Deref<Target = Views>>(
        views: &[V],
        (encoding, width): (Encoding, usize),
        mask: &MaskConfig,
        seed: u64,
        index: u64,
    ) -> Self {
        let size = views.len();
        let (globals, locals) = views
            .first()
            .map_or((0, 0), |v| (v.globals.len(), v.locals.len()));
        let global_views = (0..globals).flat_map(|i| views.iter().map(move |v| &v.globals[i]));
        let local_views = (0..locals).flat_map(|i| views.iter().map(move |v| &v.locals[i]));

        let mut groups = Vec::new();
        let all_views = global_views.clone().chain(local_views.clone());
        let values = all_views.clone().map(|v| v.patches().len()).sum();
        let mut patches = Vec::with_capacity(values);
        for (views, count) in [
            (Vec::from_iter(global_views.clone()), globals),
            (Vec::from_iter(local_views.clone()), locals),
        ] {
            if let Some(view) = views.first() {
                groups.push(Group {
                    count: count * size,
                    len: view.grid().len() + 1,
                });
                views
                    .iter()
                    .for_each(|v| patches.extend_from_slice(v.patches()));
            }
        }
        let global_groups = Groups(groups[..usize::from(globals > 0).min(groups.len())].to_vec());
        let groups = Groups(groups);
        let global_values = global_views.clone().map(|v| v.patches().len()).sum();
        let global_patches = global_groups.rows() - global_groups.sequences();

        let positions = if let Some(side) = encoding.learned() {
            let sample = |views: &mut dyn Iterator<Item = &View>| {
                let mut taps = Taps::default();
                views.for_each(|v| v.taps(Grid::new(side, side), &mut taps));
                taps
            };
            BatchPositions::Field {
                all: sample(&mut all_views.clone()),
                globals: sample(&mut global_views.clone()),
            }
        } else {
            let mut first = global_views.clone();
            let largest = first.next().map_or(Grid::new(1, 1), View::grid);
            let rows = all_views.clone().map(|v| v.grid().len()).sum::<usize>();
            let mut values = Vec::with_capacity(rows * width);
            // Places in a view are the same in all views of a grid, which follow each other.
            let mut before = None;
            for v in all_views.clone() {
                let start = values.len();
                match before {
                    Some((grid, range)) if !encoding.is_field() && grid == v.grid() => {
                        values.extend_from_within(range);
                    }
                    _ => encoding.append(v.geometry(), v.grid(), largest, width, &mut values),
                }
                before = Some((v.grid(), start..values.len()));
            }
            BatchPositions::Fixed { values, width }
        };

        let teacher = Plan::unmasked(global_groups);
        let mut student = Plan::unmasked(groups);
        let cls: Vec<u32> = student
            .groups
            .starts()
            .map(|(start, _)| start as u32)
            .collect();
        let plan = MaskPlan::new(mask, (size, globals), seed, 0, index);
        let (mut content, mut position) = (Vec::new(), Vec::new());
        for (v, (view, (start, len))) in global_views.zip(student.groups.starts()).enumerate() {
            let first_patch = start - v;
            let drawn = plan.mask(v, view.grid());
            debug_assert_eq!(len, view.grid().len() + 1);
            for (masked, flags, rows) in [
                (drawn.content(), &mut student.content_masked, &mut content),
                (
                    drawn.position(),
                    &mut student.position_masked,
                    &mut position,
                ),
            ] {
                let weight = 1.0 / (masked.len() * globals * size) as f32;
                for &patch in masked {
                    flags[first_patch + patch as usize] = true;
                    rows.push((start as u32 + 1 + patch, weight));
                }
            }
        }
        let content_masked = content.len();
        let (masked, masked_weight) = content.into_iter().chain(position).unzip();
        Self {
            size,
            globals,
            locals,
            cls,
            masked,
            content_masked,
            masked_weight,
            patches,
            positions,
            student,
            teacher,
            global_values,
            global_patches,
        }
    }

    /// All views, masked.
    pub fn student_input(&self) -> TokenInput<'_> {
        let positions = match &self.positions {
            BatchPositions::Field { all, .. } => Positions::Field(all),
            BatchPositions::Fixed { values, .. } => Positions::Fixed(values),
        };
        TokenInput {
            patches: Cow::Borrowed(&self.patches),
            positions,
            plan: &self.student,
        }
    }

    /// The global views, whole. Their rows are the first rows of the student's.
    pub fn teacher_input(&self) -> TokenInput<'_> {
        let positions = match &self.positions {
            BatchPositions::Field { globals, .. } => Positions::Field(globals),
            BatchPositions::Fixed { values, width } => {
                Positions::Fixed(&values[..self.global_patches * width])
            }
        };
        TokenInput {
            patches: Cow::Borrowed(&self.patches[..self.global_values]),
            positions,
            plan: &self.teacher,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::resolve;
    use crate::pretrain::config::PRESETS;
    use crate::pretrain::testing::drawn_views;
    use crate::pretrain::PretrainConfig;

    #[test]
    fn masked_views_weigh_alike_and_unmasked_ones_count_in_the_mean() {
        let settings = ["mask.ratio=[0.2, 0.5]".to_owned()];
        let config: PretrainConfig = resolve(PRESETS, "pico", None, &settings).unwrap();
        let views = drawn_views(&config);
        let batch = Batch::new(&views, (Encoding::View(0), 4), &config.mask, 3, 0);
        // Two global views of each of four pictures; half of them are masked, and weigh 1/8 each, whatever their masks'
        // sizes.
        let mut sums = std::collections::BTreeMap::new();
        for (row, weight) in batch.masked.iter().zip(&batch.masked_weight) {
            *sums.entry(row / 37).or_insert(0.0f32) += weight;
        }
        assert_eq!(sums.len(), 4, "{sums:?}");
        assert!(
            sums.values().all(|sum| (sum - 0.125).abs() < 1e-6),
            "{sums:?}"
        );
        // Those without content come first.
        let views_of = |rows: &[u32]| rows.iter().map(|row| row / 37).collect::<Vec<_>>();
        let (content, position) = batch.masked.split_at(batch.content_masked);
        assert!(views_of(content)
            .iter()
            .all(|v| !views_of(position).contains(v)));
    }

    #[test]
    fn the_views_of_a_picture_may_lose_the_same() {
        let settings = ["mask.exclusive=picture", "mask.probability=1.0"].map(str::to_owned);
        let config: PretrainConfig = resolve(PRESETS, "pico", None, &settings).unwrap();
        let views = drawn_views(&config);
        for index in 0..8 {
            let batch = Batch::new(&views, (Encoding::View(0), 4), &config.mask, 3, index);
            let (content, position) = batch.masked.split_at(batch.content_masked);
            let views_of = |rows: &[u32]| {
                std::collections::BTreeSet::from_iter(rows.iter().map(|row| row / 37))
            };
            let (content, position) = (views_of(content), views_of(position));
            // The first views of the four pictures, then the second.
            assert_eq!((content.len(), position.len()), (4, 4));
            for picture in 0..4 {
                assert_eq!(content.contains(&picture), content.contains(&(4 + picture)));
            }
        }
    }
}
