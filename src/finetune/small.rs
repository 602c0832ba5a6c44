//! Objects that are too small for a detector: told before hours of training, not found out after.

use intertwine_datasets::{DatasetError, PackedSet};
use intertwine_detect::card::MAX_INPUT_SIZE;

use super::config::FinetuneConfig;
use super::data::chosen;
use crate::nn::arch::Tiny;

/// Most pictures that are looked at.
const PICTURES: u64 = 1000;
/// Share of objects that may be too small before something is said.
const MANY: f64 = 0.1;

/// What to say of a detector for which many of the objects are too small: narrower, in its input, than the distance of its
/// finest anchor points. `None` where few are.
///
/// # Errors
/// If a label cannot be read.
pub fn too_small(
    config: &FinetuneConfig,
    data: &PackedSet,
) -> Result<Option<String>, DatasetError> {
    let records = data.len() as u64;
    let pictures = config.pictures(records);
    let looked = pictures.min(PICTURES);
    let record_at = chosen(config, records);
    // Sides at which each object is as wide as the anchor points are apart.
    let stride = finest_stride(config);
    let mut needed = Vec::new();
    for i in 0..looked {
        let record = record_at(i * pictures / looked);
        let (width, height) = data.image_size(record)?;
        let longest = f64::from(width.max(height));
        let objects = data.instances(record)?.into_iter().filter(|o| !o.crowd);
        needed.extend(objects.map(|object| {
            let [_, _, width, height] = object.bbox;
            stride * longest / f64::from(width.min(height)).max(1e-3)
        }));
    }
    Ok(advice(needed, config))
}

/// Pixels between the finest anchor points.
fn finest_stride(config: &FinetuneConfig) -> f64 {
    // Which does not depend on the network's width.
    let spec = config.spec::<Tiny>(&config.model, 1, false);
    spec.strides()[0] as f64
}

fn advice(mut needed: Vec<f64>, config: &FinetuneConfig) -> Option<String> {
    let size = config.detector.size;
    let small = needed.iter().filter(|side| **side > size as f64).count();
    let share = small as f64 / needed.len().max(1) as f64;
    if share <= MANY {
        return None;
    }
    needed.sort_by(f64::total_cmp);
    let enough = needed[((1.0 - MANY) * (needed.len() - 1) as f64) as usize];
    // So that the coarsest level has no row left over.
    let enough = (enough.ceil() as usize).next_multiple_of(2 * config.model.patch());
    let cure = match config.detector.fine {
        false => "detector.fine=true halves that distance".into(),
        true if enough > MAX_INPUT_SIZE as usize => {
            "pictures cut into parts before they are packed show them larger".into()
        }
        true => format!(
            "with detector.size={enough}, {:.0} times the patches, at most a tenth would be",
            (enough as f64 / size as f64).powi(2)
        ),
    };
    Some(format!(
        "{:.0}% of the objects are narrower than {} pixels when their pictures are scaled to detector.size={size}, and will \
         hardly be found: anchor points are that far apart; {cure}",
        100.0 * share,
        finest_stride(config),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::config::PRESETS;
    use super::*;
    use crate::config::resolve;

    #[test]
    fn small_objects_ask_for_a_larger_detector() {
        let set = [
            "model.arch=tiny16",
            "detector.size=64",
            "detector.fine=true",
        ];
        let config: FinetuneConfig =
            resolve(PRESETS, "pico", None, &set.map(String::from)).unwrap();
        assert_eq!(finest_stride(&config), 8.0);
        assert_eq!(advice(Vec::new(), &config), None);
        // One of ten is a tenth, which is not many.
        let mut needed = vec![64.0; 9];
        needed.push(1000.0);
        assert_eq!(advice(needed.clone(), &config), None);
        needed.extend([100.0; 10]);
        let said = advice(needed.clone(), &config).unwrap();
        assert!(
            said.starts_with("55% of the objects are narrower than 8 pixels")
                && said.contains("with detector.size=128, 4 times the patches"),
            "{said}"
        );
        // What is cheaper comes first, and what cannot be is not advised.
        let huge = needed.iter().map(|side| 100.0 * side).collect();
        assert!(advice(huge, &config).unwrap().contains("cut into parts"));
        let mut coarse = config.clone();
        coarse.detector.fine = false;
        assert!(advice(needed, &coarse)
            .unwrap()
            .contains("detector.fine=true"));
    }
}
