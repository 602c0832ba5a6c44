//! `intertwine probe`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use image::{imageops, RgbImage};
use intertwine_datasets::{Mix, PackedSet, Scratch};

use super::bar::Bar;
use crate::field::Normalisation;
use crate::files::{make_room, save};
use crate::nn::normalisation;
use crate::probe::drawing::Shelf;
use crate::probe::encoder::Encoder;
use crate::probe::{knn, npy, parquet, probe, Embeddings, Figures, Options};
use crate::report::pictures::{contact_sheet, png};

/// Measure what an encoder has learnt: nearest neighbours, rank, positions, shortcuts.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  intertwine probe runs/first --data packed/val\n  intertwine probe vit_tiny.safetensors --data packed/val --neighbours sheet.png --embeddings cls.npy\n  intertwine probe augreg.safetensors --data packed/val --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5"
)]
pub struct Args {
    /// A pretraining run, which need not have ended, or a finished fine-tuning; their model.safetensors, or a vision
    /// transformer under timm's names.
    #[arg(value_name = "RUN|SAFETENSORS")]
    encoder: PathBuf,
    /// A packed set. Classes are those of its pictures, or of the largest object in each.
    #[arg(long)]
    data: PathBuf,
    /// Look at so many of its pictures.
    #[arg(long, value_name = "N", default_value_t = Options::default().pictures)]
    pictures: usize,
    /// Pixels a side of what the encoder sees, in whole patches, two or more [default: what it was trained on, where its
    /// file or its positions tell; else about 64 for patches below 14 pixels, 224 for larger ones].
    #[arg(long, value_name = "PIXELS")]
    side: Option<usize>,
    /// Side of the window of the field in which pictures lie, above 0, at most 1 [default: that of its training, if all
    /// pictures lay in one; else 0.35].
    #[arg(long, value_name = "SHARE")]
    window: Option<f64>,
    /// Mean of the colours that a file of elsewhere was trained with, of values from 0 to 1 [default: ImageNet's].
    #[arg(long, value_name = "R,G,B", value_parser = normalisation::parse, requires = "std")]
    mean: Option<[f32; 3]>,
    /// Their standard deviation [default: ImageNet's].
    #[arg(long, value_name = "R,G,B", value_parser = normalisation::parse, requires = "mean")]
    std: Option<[f32; 3]>,
    /// Which pictures are drawn, and which half of them is fitted to.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Write the figures as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the CLS features, a row a picture: to a .npy file for NumPy, or to a .parquet file, with record and class.
    #[arg(long, value_name = "FILE.npy|FILE.parquet")]
    embeddings: Option<PathBuf>,
    /// Draw pictures beside their nearest neighbours.
    #[arg(long, value_name = "FILE.png")]
    neighbours: Option<PathBuf>,
    /// Draw a few pictures, each above its patch features as colours and what the CLS token attends to.
    #[arg(long, value_name = "FILE.png")]
    drawing: Option<PathBuf>,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let form = args.embeddings.as_deref().map(Form::of).transpose()?;
    let written = [
        &args.json,
        &args.embeddings,
        &args.neighbours,
        &args.drawing,
    ];
    for path in written.into_iter().flatten() {
        make_room(path)?;
    }
    let encoder = open(&args)?;
    let set = Mix::from(Arc::new(PackedSet::open(&args.data)?));
    let options = Options {
        pictures: args.pictures,
        side: args.side,
        window: args.window,
        seed: args.seed,
        classes: true,
    };
    let mut progress = Bar::of("probe", 0, "passes");
    let (figures, embeddings) = probe(&encoder, &set, &options, &mut |done, total| {
        progress.set_length(total);
        progress.advance(done, String::new());
    })?;
    progress.clear();
    if let Some(step) = encoder.stopped_after() {
        println!("of a pretraining that has done {step} steps, and not ended");
    }
    let grid = figures.side / encoder.patch();
    print(&figures, grid);
    if encoder.is_foreign() {
        print_colours(encoder.normalisation(), args.mean.is_some());
        print_positions(&encoder, grid);
    }
    if let Some(path) = &args.json {
        save(path, &serde_json::to_vec_pretty(&figures)?)?;
        eprintln!("wrote {}", path.display());
    }
    if let (Some(path), Some(form)) = (&args.embeddings, form) {
        let bytes = match form {
            Form::Npy => npy::encode(&embeddings.cls),
            Form::Parquet => parquet::encode(&embeddings)?,
        };
        save(path, &bytes)?;
        eprintln!(
            "wrote {}: {} x {}",
            path.display(),
            embeddings.cls.len(),
            embeddings.cls.width()
        );
    }
    if let Some(path) = &args.neighbours {
        write_sheet(path, &set, &embeddings)?;
        eprintln!(
            "wrote {}: a picture, then its nearest, row by row",
            path.display()
        );
    }
    if let Some(path) = &args.drawing {
        let drawing = Shelf::read(&set, args.seed)?.draw(&encoder, &options)?;
        save(path, &png(&drawing)?)?;
        eprintln!(
            "wrote {}: pictures, their patch features, the attention of CLS",
            path.display()
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// The encoder, with the colours that the options name.
fn open(args: &Args) -> anyhow::Result<Encoder> {
    let encoder = Encoder::open(&args.encoder)?;
    let Some((mean, std)) = args.mean.zip(args.std) else {
        return Ok(encoder);
    };
    if !encoder.is_foreign() {
        bail!(
            "{}: an encoder of ours, with mean {} and std {}; leave out --mean and --std",
            args.encoder.display(),
            normalisation::text(encoder.normalisation().mean),
            normalisation::text(encoder.normalisation().std)
        );
    }
    Ok(encoder.normalised(Normalisation { mean, std })?)
}

/// How features are written.
#[derive(Clone, Copy)]
enum Form {
    Npy,
    Parquet,
}

impl Form {
    /// By a file's name.
    fn of(path: &Path) -> anyhow::Result<Self> {
        match path.extension().and_then(|e| e.to_str()) {
            Some("npy") => Ok(Self::Npy),
            Some("parquet") => Ok(Self::Parquet),
            _ => bail!(
                "--embeddings {}: features are written to a .npy or a .parquet file",
                path.display()
            ),
        }
    }
}

fn print_colours(Normalisation { mean, std }: Normalisation, given: bool) {
    let origin = match given {
        true => "as given",
        false => "assumed: the file does not say, and --mean and --std were not given",
    };
    let [mean, std] = [mean, std].map(normalisation::text);
    println!("colours: mean {mean}, std {std}, {origin}");
}

fn print_positions(encoder: &Encoder, grid: usize) {
    if let Some(own) = encoder.grid().filter(|own| *own != grid) {
        println!("positions: of {own} x {own} patches, resampled to {grid} x {grid}");
    }
}

fn print(figures: &Figures, grid: usize) {
    let line = |name: &str, value: String| println!("{name:<44}{value}");
    let share = |value: f64| format!("{value:.3}");
    println!(
        "{} pictures of {} pixels, {} of them in {} classes",
        figures.pictures, figures.side, figures.with_class, figures.classes
    );
    for (name, value) in [
        ("class, always the commonest", figures.commonest),
        ("class by 20 nearest, CLS", figures.knn),
        ("class by 20 nearest, mean of patches", figures.knn_patches),
        ("class by a linear fit to CLS", figures.linear),
    ] {
        if let Some(value) = value {
            line(name, share(value));
        }
    }
    line("effective rank, CLS", format!("{:.1}", figures.rank_cls));
    line(
        "effective rank, patches",
        format!("{:.1}", figures.rank_patches),
    );
    for (name, value) in [
        ("place of a patch, R^2", figures.position_visible),
        (
            "place of a patch with masked position, R^2",
            figures.position_masked,
        ),
    ] {
        if let Some(value) = value {
            line(name, share(value));
        }
    }
    if let Some(found) = figures.position_retrieved {
        let by_chance = 1.0 / (grid * grid) as f64;
        let value = format!("{found:.3} (by chance {by_chance:.3})");
        line("the same, found among all places", value);
    }
    if let Some(shortcut) = figures.shortcut {
        line("variance of CLS between pictures", share(shortcut.picture));
        line("variance of CLS between windows", share(shortcut.window));
        line("found again in another window", share(shortcut.retrieved));
    }
}

/// Pictures in a row of the sheet, and rows.
const COLUMNS: usize = 8;
const ROWS: usize = 10;

fn write_sheet(path: &Path, set: &Mix, embeddings: &Embeddings) -> anyhow::Result<()> {
    let features = embeddings.cls.normalised();
    let (mut image, mut scratch) = (RgbImage::default(), Scratch::default());
    let mut pictures = Vec::new();
    let rows = ROWS.min(features.len());
    for row in (0..rows).map(|i| i * features.len() / rows) {
        let nearest = knn::nearest(&features, row, COLUMNS - 1);
        for at in std::iter::once(row).chain(nearest.into_iter().map(|(at, _)| at)) {
            let (set, number) = set.locate(embeddings.records[at]);
            set.read_image_into(number, &mut image, &mut scratch)?;
            pictures.push(imageops::thumbnail(&image, 96, 96));
        }
    }
    let sheet = png(&contact_sheet(&pictures, COLUMNS))?;
    save(path, &sheet)
}
