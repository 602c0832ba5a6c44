//! What a fine-tuning needs of its data, told before hours of work and not found out after.

use intertwine_datasets::{DatasetError, Instance, PackedSet};

use super::config::FinetuneConfig;
use super::data::chosen;
use super::error::FinetuneError;
use crate::evaluate::model::match_classes;

/// Makes sure that there is something to learn from `data`; whether some of its objects have masks.
///
/// # Errors
/// If there is not, or a label cannot be read.
pub fn check_labels(config: &FinetuneConfig, data: &PackedSet) -> Result<bool, FinetuneError> {
    let path = || data.folder().to_owned();
    if data.categories().is_empty() {
        return Err(FinetuneError::Unlabelled { path: path() });
    }
    let pictures = config.pictures(data.len() as u64);
    let records = (0..pictures).map(chosen(config, data.len() as u64));
    if !any_object(data, records.clone(), |object| !object.crowd)? {
        let path = path();
        return Err(FinetuneError::NoObjects { path, pictures });
    }
    Ok(any_object(data, records, |object| {
        !object.crowd && object.mask.is_some()
    })?)
}

/// Makes sure that what is learnt from `data` can be evaluated on `val`.
///
/// # Errors
/// If it cannot, or a label cannot be read.
pub fn check_val(data: &PackedSet, val: &PackedSet) -> Result<(), FinetuneError> {
    let path = || val.folder().to_owned();
    match_classes(data.categories(), val).map_err(|source| FinetuneError::Val {
        path: path(),
        source,
    })?;
    if !any_object(val, 0..val.len(), |object| !object.crowd)? {
        return Err(FinetuneError::NothingToFind { path: path() });
    }
    Ok(())
}

/// Whether there is such an object; the first one found answers.
fn any_object(
    data: &PackedSet,
    mut records: impl Iterator<Item = usize>,
    such: impl Fn(&Instance) -> bool,
) -> Result<bool, DatasetError> {
    let found = records.find_map(|record| match data.instances(record) {
        Ok(objects) => objects.iter().any(&such).then_some(Ok(true)),
        Err(error) => Some(Err(error)),
    });
    found.unwrap_or(Ok(false))
}
