//! From an item of a source to a record: one picture and its labels, on one thread.

use std::io::{self, ErrorKind};

use image::metadata::Orientation;
use image::RgbImage;
use intertwine_kernels::resize::{Filter, Resizer};

use crate::decode::{decode, DecodeError, Decoded};
use crate::import::{Importer, Item};
use crate::labels::{place, Sizes};
use crate::options::PackOptions;
use crate::pixels::{Encoding, PixelEncoder};
use crate::quarantine::{Quarantined, Reason};
use crate::sample::{Instance, RecordInfo};
use crate::shard::EncodedRecord;

/// What became of a picture.
pub(crate) struct Outcome {
    /// None if the picture was refused.
    pub picture: Option<Picture>,
    /// What is to be listed about it.
    pub quarantined: Vec<Quarantined>,
}

/// A picture that is taken in.
pub(crate) struct Picture {
    /// Upright, not resized yet.
    pub image: RgbImage,
    /// The size it is stored in, which its labels are meant for.
    pub stored: (u32, u32),
    pub instances: Vec<Instance>,
    pub info: RecordInfo,
    /// The file's own bytes, if they are a JPEG that can be stored as it is.
    jpeg: Option<Vec<u8>>,
}

/// Why a picture is not taken in: it is put into quarantine.
struct Refused(Reason, String);

/// Reads an item's picture and checks it with its labels.
pub(crate) fn read(
    importer: &dyn Importer,
    index: usize,
    item: Item,
    options: &PackOptions,
) -> Outcome {
    let (source, image_id) = (item.source.clone(), item.image_id);
    let mut quarantined = Vec::new();
    let file = importer.read(index).map_err(unreadable);
    let picture = match file.and_then(|file| picture(item, file, options, &mut quarantined)) {
        Ok(picture) => Some(picture),
        Err(Refused(reason, detail)) => {
            // Labels of a picture that is not packed go with it; the picture's line stands for them.
            quarantined = vec![Quarantined::picture(source.clone(), reason, detail)];
            None
        }
    };
    for entry in &mut quarantined {
        entry.image_id = Some(image_id);
        entry.source.get_or_insert_with(|| source.clone());
    }
    Outcome {
        picture,
        quarantined,
    }
}

fn picture(
    item: Item,
    file: Vec<u8>,
    options: &PackOptions,
    quarantined: &mut Vec<Quarantined>,
) -> Result<Picture, Refused> {
    let mut decoded = decode_anything(&file).map_err(undecodable)?;
    quarantined.extend(item.refused);
    // A file whose rotation is passed over is not kept: other programs would rotate it.
    let as_it_came = decoded.is_jpeg && decoded.orientation == Orientation::NoTransforms;
    if let Some(stated) = item.stated_size {
        let remark = reconcile(stated, &mut decoded)?;
        // Where nothing is labelled, nothing can be labelled wrongly.
        let remark =
            remark.filter(|(reason, _)| *reason != Reason::ExifUnclear || !item.objects.is_empty());
        quarantined.extend(remark.map(|(reason, detail)| Quarantined {
            kept: true,
            ..Quarantined::picture(item.source.clone(), reason, detail)
        }));
    }
    let image = decoded.upright();
    let original = image.dimensions();
    if original.0.min(original.1) < options.smallest_side {
        let detail = format!(
            "{} x {}, expected at least {} a side",
            original.0, original.1, options.smallest_side
        );
        return Err(Refused(Reason::TooSmall, detail));
    }
    let stored = options.resize.target(original.0, original.1);
    let sizes = Sizes { original, stored };
    let instances = item
        .objects
        .into_iter()
        .filter_map(|label| place(label, sizes, quarantined))
        .collect();
    let info = RecordInfo {
        image_id: item.image_id,
        source: item.source,
        original_size: original,
        label: item.label,
    };
    let keeps_jpeg = options.encoding == Encoding::Jpeg && as_it_came && original == stored;
    Ok(Picture {
        image,
        stored,
        instances,
        info,
        jpeg: keeps_jpeg.then_some(file),
    })
}

/// Brings pictures to their stored form; what a thread keeps between them.
#[derive(Default)]
pub(crate) struct Worker {
    resizer: Resizer,
    encoder: PixelEncoder,
}

impl Worker {
    /// Resizes and encodes a picture.
    ///
    /// # Errors
    /// If packing cannot go on.
    pub fn encode(&mut self, picture: Picture, options: &PackOptions) -> io::Result<EncodedRecord> {
        let Picture {
            image,
            stored,
            instances,
            info,
            jpeg,
        } = picture;
        if let Some(file) = jpeg {
            return EncodedRecord::from_pixels(file, Encoding::Jpeg, stored, &info, &instances);
        }
        let image = self.resize(image, stored);
        EncodedRecord::new(
            &image,
            &info,
            &instances,
            options.encoding,
            options.jpeg_quality,
            &mut self.encoder,
        )
    }

    /// Makes a picture smaller, as Pillow's `resize(size, BICUBIC)` does: antialiased.
    fn resize(&mut self, image: RgbImage, (width, height): (u32, u32)) -> RgbImage {
        if image.dimensions() == (width, height) {
            return image;
        }
        let mut smaller = RgbImage::new(width, height);
        let sides = |image: &RgbImage| (image.width() as usize, image.height() as usize);
        let (from, to) = (sides(&image), sides(&smaller));
        self.resizer
            .resize_rgb(&image, from, to, Filter::Bicubic, &mut smaller);
        smaller
    }
}

/// Holds a picture against the size its label file states, in which the boxes are meant. Labels made
/// without regard to EXIF keep the picture unrotated, which the remark returned says, or that the size does not tell.
fn reconcile(
    stated: (u32, u32),
    decoded: &mut Decoded,
) -> Result<Option<(Reason, String)>, Refused> {
    use Orientation::{Rotate270, Rotate270FlipH, Rotate90, Rotate90FlipH};
    let (width, height) = decoded.image.dimensions();
    let swaps_sides = matches!(
        decoded.orientation,
        Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH
    );
    let upright = if swaps_sides {
        (height, width)
    } else {
        (width, height)
    };
    let (w, h) = stated;
    let unrotated = stated == (width, height);
    if stated == upright {
        let unclear = unrotated && decoded.orientation != Orientation::NoTransforms;
        return Ok(unclear.then(|| {
            let detail = format!(
                "its EXIF data turn or mirror it, and the labels' size, {w} x {h}, fits it either way; packed as they say, see that its boxes fit"
            );
            (Reason::ExifUnclear, detail)
        }));
    }
    if unrotated {
        decoded.orientation = Orientation::NoTransforms;
        let detail =
            format!("labels are for {w} x {h}, the picture without its EXIF rotation; packed so");
        return Ok(Some((Reason::ExifIgnored, detail)));
    }
    let detail = format!(
        "the label file says {w} x {h}, the picture is {} x {}",
        upright.0, upright.1
    );
    Err(Refused(Reason::SizeMismatch, detail))
}

fn unreadable(error: io::Error) -> Refused {
    let reason = match error.kind() {
        ErrorKind::NotFound => Reason::MissingPicture,
        ErrorKind::FileTooLarge => Reason::TooLarge,
        _ => Reason::Unreadable,
    };
    Refused(reason, error.to_string())
}

fn undecodable(error: DecodeError) -> Refused {
    let reason = match error {
        DecodeError::NotAPicture(_) => Reason::NotAPicture,
        DecodeError::Unsupported(_) => Reason::UnsupportedFormat,
        DecodeError::TooLarge(..) => Reason::TooLarge,
        DecodeError::Damaged(_) => Reason::Damaged,
    };
    let detail = match error {
        DecodeError::Damaged(detail) => detail,
        other => other.to_string(),
    };
    Refused(reason, detail)
}

/// Decodes a file that may hold anything. A decoder that panics on it costs this one picture, not hours of
/// packing; it holds no state that the panic could leave half changed.
pub(crate) fn decode_anything(file: &[u8]) -> Result<Decoded, DecodeError> {
    let decoded = std::panic::catch_unwind(|| decode(file));
    decoded.unwrap_or_else(|_| Err(DecodeError::Damaged("the decoder panicked on it".into())))
}
