//! Position and scale augmentation (METHOD section 1): where a picture lies in the field.

use intertwine_flow::random::ChaCha8Rng;
use rand::RngExt;
use rand_distr::{Beta, Distribution};
use serde::{Deserialize, Serialize};

use super::check::{expect, scale, ConfigError};
use crate::field::Window;

/// How the size of the picture's window in the field is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WindowScale {
    /// Beta-distributed, with the keys `alpha` and `beta`; the paper's.
    Beta,
    /// Uniform from `min` to 1.
    Uniform,
    /// The key `constant`.
    Constant,
    /// The picture fills the field.
    Whole,
}

/// What is drawn of the picture's window (METHOD section 1: the paper's summary does not say which).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WindowRatio {
    /// Its side over the field's.
    Sides,
    /// Its area over the field's, of which its side is the root.
    Areas,
}

/// Position and scale augmentation: where pictures lie in the field. The place of the window is
/// uniform over what fits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WindowConfig {
    /// The distribution of the window's size over the field's.
    pub scale: WindowScale,
    /// Whether that is of sides or of areas.
    pub ratio: WindowRatio,
    /// First parameter of the Beta distribution.
    pub alpha: f64,
    /// Second parameter of the Beta distribution.
    pub beta: f64,
    /// The constant scale.
    pub constant: f64,
    /// The smallest scale; smaller draws are raised to it.
    pub min: f64,
    /// Whether all views of an image share one window. A shortcut for the network: the window then
    /// tells which image a view is of.
    pub shared: bool,
}

impl Default for WindowConfig {
    fn default() -> Self {
        WindowConfig {
            scale: WindowScale::Beta,
            ratio: WindowRatio::Sides,
            alpha: 2.0,
            beta: 5.0,
            constant: 0.35,
            min: 0.1,
            shared: false,
        }
    }
}

/// A [`WindowConfig`] ready to be drawn from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowDistribution {
    scale: WindowScale,
    ratio: WindowRatio,
    beta: Beta<f64>,
    constant: f64,
    min: f64,
}

impl WindowConfig {
    /// Of pictures that all have this scale; `None`: drawn as the paper draws it.
    pub fn of(scale: Option<f64>) -> Self {
        scale.map_or_else(Self::default, |constant| WindowConfig {
            scale: WindowScale::Constant,
            constant,
            ..Self::default()
        })
    }

    /// The scale that every picture has; `None` where scales are drawn.
    pub fn fixed(&self) -> Option<f64> {
        match self.scale {
            WindowScale::Beta | WindowScale::Uniform => None,
            WindowScale::Constant => Some(self.ratio.side(self.constant)),
            WindowScale::Whole => Some(1.0),
        }
    }

    pub(crate) fn distribution(&self) -> Result<WindowDistribution, ConfigError> {
        let shape = |key, v: f64| {
            expect(
                v > 0.0 && v <= 1e3,
                key,
                v,
                "a number above 0, at most 1000",
            )
        };
        shape("window.alpha", self.alpha)?;
        shape("window.beta", self.beta)?;
        scale("window.min", self.min)?;
        scale("window.constant", self.constant)?;
        let beta = Beta::new(self.alpha, self.beta).map_err(|error| ConfigError {
            key: "window.alpha".into(),
            found: format!("{:?}", (self.alpha, self.beta)),
            expected: error.to_string(),
        })?;
        Ok(WindowDistribution {
            scale: self.scale,
            ratio: self.ratio,
            beta,
            constant: self.constant,
            min: self.min,
        })
    }
}

impl WindowRatio {
    /// The window's side over the field's.
    fn side(self, drawn: f64) -> f64 {
        match self {
            Self::Sides => drawn,
            Self::Areas => drawn.sqrt(),
        }
    }
}

impl WindowDistribution {
    /// Draws a window.
    pub(crate) fn draw(&self, rng: &mut ChaCha8Rng) -> Window {
        let scale = self.ratio.side(match self.scale {
            WindowScale::Beta => self.beta.sample(rng).clamp(self.min, 1.0),
            WindowScale::Uniform => rng.random_range(self.min..=1.0),
            WindowScale::Constant => self.constant,
            WindowScale::Whole => return Window::WHOLE,
        });
        let free = 1.0 - scale;
        Window {
            x: free * rng.random::<f64>(),
            y: free * rng.random::<f64>(),
            scale,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use intertwine_flow::random::{stream, Purpose};

    /// Mean and variance of Beta(2, 5) are 2/7 and 10/392; raising draws below 0.1 to 0.1 adds
    /// E[(0.1 - s)+] = 0.00413 to the mean. The free place is divided uniformly.
    #[test]
    fn windows_follow_their_distribution() {
        let windows = WindowConfig::default().distribution().unwrap();
        let mut rng = stream(1, Purpose::Augment, 0, 0);
        let n = 20_000;
        let (mut scale, mut x, mut smallest) = (0.0, 0.0, 1.0f64);
        for _ in 0..n {
            let window = windows.draw(&mut rng);
            assert!(window.x >= 0.0 && window.x + window.scale <= 1.0 + 1e-12);
            scale += window.scale;
            x += window.x / (1.0 - window.scale);
            smallest = smallest.min(window.scale);
        }
        let n = f64::from(n);
        assert!(
            (scale / n - (2.0 / 7.0 + 0.00413)).abs() < 0.004,
            "{}",
            scale / n
        );
        assert!((x / n - 0.5).abs() < 0.01, "{}", x / n);
        assert_eq!(smallest, 0.1);
    }

    #[test]
    fn the_other_distributions_are_what_they_say() {
        let draw = |scale, n: usize| -> Vec<Window> {
            let config = WindowConfig {
                scale,
                ..WindowConfig::default()
            };
            let windows = config.distribution().unwrap();
            let mut rng = stream(1, Purpose::Augment, 0, 0);
            (0..n).map(|_| windows.draw(&mut rng)).collect()
        };
        // Uniform from 0.1 to 1: mean 0.55, variance 0.9^2 / 12.
        let uniform = draw(WindowScale::Uniform, 20_000);
        let mean = uniform.iter().map(|w| w.scale).sum::<f64>() / 2e4;
        let variance = uniform
            .iter()
            .map(|w| (w.scale - mean).powi(2))
            .sum::<f64>()
            / 2e4;
        assert!((mean - 0.55).abs() < 0.01, "{mean}");
        assert!((variance - 0.0675).abs() < 0.003, "{variance}");
        assert!(uniform.iter().all(|w| (0.1..=1.0).contains(&w.scale)));
        // One size, anywhere.
        let constant = draw(WindowScale::Constant, 2_000);
        assert!(constant
            .iter()
            .all(|w| w.scale == 0.35 && w.x <= 0.65 && w.y <= 0.65));
        let mean = constant.iter().map(|w| w.x).sum::<f64>() / 2e3;
        assert!((mean - 0.325).abs() < 0.015, "{mean}");
        assert!(draw(WindowScale::Whole, 9)
            .iter()
            .all(|w| *w == Window::WHOLE));

        // The same draws, as areas.
        let config = WindowConfig {
            scale: WindowScale::Uniform,
            ratio: WindowRatio::Areas,
            ..WindowConfig::default()
        };
        let areas = config.distribution().unwrap();
        let mut rng = stream(1, Purpose::Augment, 0, 0);
        for side in uniform.iter().take(9) {
            let window = areas.draw(&mut rng);
            assert!((window.scale.powi(2) - side.scale).abs() < 1e-12);
            assert!(window.x + window.scale <= 1.0 && window.y + window.scale <= 1.0);
        }
        let quarter = WindowConfig {
            ratio: WindowRatio::Areas,
            ..WindowConfig::of(Some(0.25))
        };
        assert_eq!(quarter.fixed(), Some(0.5));

        let fixed = |scale| {
            let config = WindowConfig {
                scale,
                ..WindowConfig::default()
            };
            config.fixed()
        };
        assert_eq!(fixed(WindowScale::Beta), None);
        assert_eq!(fixed(WindowScale::Uniform), None);
        assert_eq!(fixed(WindowScale::Constant), Some(0.35));
        assert_eq!(fixed(WindowScale::Whole), Some(1.0));
        assert_eq!(WindowConfig::of(None), WindowConfig::default());
        assert_eq!(WindowConfig::of(Some(0.5)).fixed(), Some(0.5));
    }
}
