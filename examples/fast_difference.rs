//! How far the fast colours of the multi-crop augmentation are from the exact ones on a folder of pictures.
//!
//! usage: fast_difference FOLDER
//!
//! Prints the mean absolute difference of a channel of a pixel, in grey levels, and the share of the views in which the
//! mean is above 5.

use intertwine::augment::{MultiCrop, MultiCropConfig, Scratch, Views};
use intertwine_flow::random::{stream, Purpose};

fn main() -> anyhow::Result<()> {
    let folder = std::env::args().nth(1);
    let folder = folder.ok_or_else(|| anyhow::anyhow!("usage: fast_difference FOLDER"))?;
    let mut paths = std::fs::read_dir(folder)?
        .map(|e| e.map(|e| e.path()))
        .collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    let multi_crop = |fast| {
        let config = MultiCropConfig::default();
        MultiCrop::new(MultiCropConfig { fast, ..config })
    };
    let (exact, fast) = (multi_crop(false)?, multi_crop(true)?);
    let std = exact.config().std;
    let mut scratch = Scratch::default();
    let (mut sum, mut values, mut views, mut far) = (0.0, 0, 0, 0);
    for (index, path) in paths.iter().take(200).enumerate() {
        let picture = image::open(path)?.to_rgb8();
        let mut apply = |multi_crop: &MultiCrop| {
            let mut rng = stream(1, Purpose::Augment, 0, index as u64);
            multi_crop.apply(&picture, &mut rng, &mut scratch)
        };
        let (exact, fast) = (apply(&exact)?, apply(&fast)?);
        let all = |views: Views| views.globals.into_iter().chain(views.locals);
        for (exact, fast) in all(exact).zip(all(fast)) {
            let area = exact.patch() * exact.patch();
            let pairs = exact.patches().iter().zip(fast.patches()).enumerate();
            let of_view: f64 = pairs
                .map(|(i, (a, b))| f64::from((a - b).abs() * std[i / area % 3] * 255.0))
                .sum();
            sum += of_view;
            values += exact.patches().len();
            views += 1;
            far += usize::from(of_view > 5.0 * exact.patches().len() as f64);
        }
    }
    println!(
        "mean absolute difference {:.2} of 255, above 5 in {:.1}% of {views} views",
        sum / values as f64,
        100.0 * far as f64 / views as f64
    );
    Ok(())
}
