//! Values that cannot be, named by their key.

/// A value that cannot be, and the key it belongs to.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{key} = {found}: expected {expected}")]
pub struct ConfigError {
    /// The key, with dots, relative to the section that was checked.
    pub key: String,
    /// The value found.
    pub found: String,
    /// What it should be.
    pub expected: String,
}

impl ConfigError {
    /// The same, seen from the config that holds this one as its section `section`.
    pub(crate) fn within(self, section: &str) -> crate::config::ConfigError {
        crate::config::ConfigError::Invalid {
            key: format!("{section}.{}", self.key),
            problem: format!("is {}, expected {}", self.found, self.expected),
        }
    }
}

/// `Ok` if `valid`, else the error that names the key.
pub(crate) fn expect(
    valid: bool,
    key: &str,
    found: impl std::fmt::Debug,
    expected: impl Into<String>,
) -> Result<(), ConfigError> {
    if valid {
        return Ok(());
    }
    Err(ConfigError {
        key: key.into(),
        found: format!("{found:?}"),
        expected: expected.into(),
    })
}

pub(crate) fn probability(key: &str, p: f64) -> Result<(), ConfigError> {
    expect(
        (0.0..=1.0).contains(&p),
        key,
        p,
        "a probability from 0 to 1",
    )
}

/// A side of something as a share of that in which it lies.
pub(crate) fn scale(key: &str, scale: f64) -> Result<(), ConfigError> {
    expect(
        scale > 0.0 && scale <= 1.0,
        key,
        scale,
        "a scale above 0, at most 1",
    )
}

/// Whether `[low, high]` is a range of finite numbers from `min` to `max`.
pub(crate) fn range(
    key: &str,
    [low, high]: [f64; 2],
    min: f64,
    max: f64,
) -> Result<(), ConfigError> {
    expect(
        min <= low && low <= high && high <= max && high.is_finite(),
        key,
        [low, high],
        format!("[low, high] with {min} <= low <= high <= {max}"),
    )
}

/// Whether `[low, high]` is a range of shares of a picture, none of them empty.
pub(crate) fn area(key: &str, [low, high]: [f64; 2]) -> Result<(), ConfigError> {
    expect(
        0.0 < low && low <= high && high <= 1.0,
        key,
        [low, high],
        "[low, high] with 0 < low <= high <= 1",
    )
}

/// Whether a mean and a standard deviation of colours are numbers, and the latter above 0.
pub(crate) fn normalisation(mean: [f32; 3], std: [f32; 3]) -> Result<(), ConfigError> {
    expect(
        mean.iter().all(|m| m.is_finite()),
        "mean",
        mean,
        "three numbers",
    )?;
    expect(
        std.iter().all(|&s| s > 1e-6 && s.is_finite()),
        "std",
        std,
        "three numbers above 0",
    )
}
