//! Thumbnails of images.
//!
//! Invariant: a decoder is an attack surface, so it sees only what says that it is an image and begins like one, of bounded bytes,
//! sides and memory, on a thread of its own, and at most [`DECODERS_MAX`] run at once. What is encrypted is never decoded. Nothing
//! is scaled up; what is small already is handed out as it is. Nothing that is made moves: of an animation the first frame is taken.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#thumbnails>

use std::io::Cursor;

use image::{
    DynamicImage, GenericImageView, ImageDecoder, ImageFormat, ImageReader, Limits,
    codecs::jpeg::JpegEncoder, imageops::FilterType,
};

use super::Media;

/// The longest file of which a thumbnail is made, in bytes.
pub const SOURCE_BYTES_MAX: usize = 20 << 20;
/// The longest side of an image of which a thumbnail is made, in pixels.
const SOURCE_SIDE_MAX: u32 = 10_000;
/// The most pixels of such an image.
const SOURCE_PIXELS_MAX: u64 = 40_000_000;
/// Memory that a decoder may take, in bytes.
const DECODER_BYTES_MAX: u64 = 192 << 20;
/// The longest side of a thumbnail, in pixels.
const SIDE_MAX: u32 = 1600;
/// Decoders that run at once.
pub(super) const DECODERS_MAX: usize = 2;
/// Requests that wait for a decoder; more are told to come again.
const WAITING_MAX: usize = 64;
/// The quality of a JPEG, in percent.
const JPEG_QUALITY: u8 = 82;

/// Types of which thumbnails are made.
const IMAGES: [(&str, ImageFormat); 4] = [
    ("image/jpeg", ImageFormat::Jpeg),
    ("image/png", ImageFormat::Png),
    ("image/gif", ImageFormat::Gif),
    ("image/webp", ImageFormat::WebP),
];

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThumbnailSize {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Whether what does not fit the proportions is cut away; otherwise all is kept and one side is shorter.
    pub crop: bool,
    /// Whether it may move.
    pub animated: bool,
}

/// An image made small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thumbnail {
    /// Its bytes.
    pub file: Vec<u8>,
    /// Its type.
    pub content_type: &'static str,
}

/// Why there is no thumbnail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ThumbnailError {
    /// The size asked for is none.
    #[error("a side has no length")]
    Size,
    /// It is no image of a known type, or a broken one.
    #[error("not an image that can be read")]
    Unreadable,
    /// The image is too large to be decoded.
    #[error("the image is too large")]
    TooLarge,
    /// Too many wait for a decoder.
    #[error("too many wait")]
    Busy,
}

impl Media {
    /// Makes a thumbnail of an image of this type.
    ///
    /// # Errors
    /// [`ThumbnailError`].
    pub async fn thumbnail(
        &self,
        content_type: &str,
        file: bytes::Bytes,
        size: ThumbnailSize,
    ) -> Result<Thumbnail, ThumbnailError> {
        let format = format_of(content_type, &file)?;
        if size.width == 0 || size.height == 0 {
            return Err(ThumbnailError::Size);
        }
        let _waits = self
            .waiting
            .try_acquire()
            .map_err(|_| ThumbnailError::Busy)?;
        let permit = self.decoders.clone().acquire_owned().await;
        let permit = permit.map_err(|_| ThumbnailError::Busy)?;
        let made = tokio::task::spawn_blocking(move || {
            // Held by the thread: a client that goes away does not let another decoder begin before this one ends.
            let _permit = permit;
            make(&file, format, size)
        });
        made.await.unwrap_or(Err(ThumbnailError::Unreadable))
    }
}

/// Permits for those who wait and those who decode.
pub(super) fn waiting() -> tokio::sync::Semaphore {
    tokio::sync::Semaphore::new(WAITING_MAX)
}

/// The format of an image that says what it is and begins like it.
fn format_of(content_type: &str, file: &[u8]) -> Result<ImageFormat, ThumbnailError> {
    let known = IMAGES.iter().find(|(name, _)| *name == content_type);
    let guessed = image::guess_format(file).ok();
    match known {
        Some((_, format)) if guessed == Some(*format) => Ok(*format),
        // Some clients call everything PNG or JPEG.
        Some(_) => IMAGES
            .iter()
            .map(|(_, format)| *format)
            .find(|format| guessed == Some(*format))
            .ok_or(ThumbnailError::Unreadable),
        None => Err(ThumbnailError::Unreadable),
    }
}

fn make(
    file: &[u8],
    format: ImageFormat,
    size: ThumbnailSize,
) -> Result<Thumbnail, ThumbnailError> {
    let image = decode(file, format)?;
    let before = image.dimensions();
    let image = shrink(image, size);
    // "When the content is smaller than the requested dimensions, servers should return the original content rather than thumbnail it."
    if image.dimensions() == before
        && (size.animated || !may_move(file, format))
        && let Some(&(content_type, _)) = IMAGES.iter().find(|(_, known)| *known == format)
    {
        return Ok(Thumbnail {
            file: file.to_vec(),
            content_type,
        });
    }
    let mut made = Cursor::new(Vec::new());
    let unreadable = |_| ThumbnailError::Unreadable;
    // Photographs stay photographs; all else keeps its transparency.
    let content_type = if format == ImageFormat::Jpeg {
        let encoder = JpegEncoder::new_with_quality(&mut made, JPEG_QUALITY);
        image
            .to_rgb8()
            .write_with_encoder(encoder)
            .map_err(unreadable)?;
        "image/jpeg"
    } else {
        DynamicImage::ImageRgba8(image.to_rgba8())
            .write_to(&mut made, ImageFormat::Png)
            .map_err(unreadable)?;
        "image/png"
    };
    Ok(Thumbnail {
        file: made.into_inner(),
        content_type,
    })
}

/// Whether a file may be an animation: where nobody asked for one, its first frame stands for it.
fn may_move(file: &[u8], format: ImageFormat) -> bool {
    match format {
        ImageFormat::Jpeg => false,
        // The chunk that makes an animation of a PNG stands before its first picture.
        ImageFormat::Png => file.windows(4).any(|chunk| chunk == b"acTL"),
        _ => true,
    }
}

fn decode(file: &[u8], format: ImageFormat) -> Result<DynamicImage, ThumbnailError> {
    let mut limits = Limits::no_limits();
    limits.max_image_width = Some(SOURCE_SIDE_MAX);
    limits.max_image_height = Some(SOURCE_SIDE_MAX);
    limits.max_alloc = Some(DECODER_BYTES_MAX);
    let failed = |error: image::ImageError| match error {
        image::ImageError::Limits(_) => ThumbnailError::TooLarge,
        _ => ThumbnailError::Unreadable,
    };
    let mut reader = ImageReader::with_format(Cursor::new(file), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > SOURCE_PIXELS_MAX {
        return Err(ThumbnailError::TooLarge);
    }
    let orientation = decoder.orientation().map_err(failed)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(failed)?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// "The server MUST NOT upscale thumbnails under any circumstances."
fn shrink(image: DynamicImage, size: ThumbnailSize) -> DynamicImage {
    let (width, height) = image.dimensions();
    let wanted = (size.width.min(SIDE_MAX), size.height.min(SIDE_MAX));
    let filter = FilterType::Triangle;
    if size.crop {
        let to = (wanted.0.min(width), wanted.1.min(height));
        if to == (width, height) {
            return image;
        }
        return image.resize_to_fill(to.0.max(1), to.1.max(1), filter);
    }
    if wanted.0 >= width && wanted.1 >= height {
        return image;
    }
    image.resize(wanted.0, wanted.1, filter)
}

#[cfg(test)]
mod tests {
    use image::RgbaImage;

    use super::*;

    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut file = Cursor::new(Vec::new());
        let image = DynamicImage::ImageRgba8(RgbaImage::new(width, height));
        image.write_to(&mut file, ImageFormat::Png).unwrap();
        file.into_inner()
    }

    fn sides(file: &[u8], size: ThumbnailSize) -> (u32, u32) {
        let made = make(file, ImageFormat::Png, size).unwrap();
        image::load_from_memory(&made.file).unwrap().dimensions()
    }

    fn size(width: u32, height: u32, crop: bool) -> ThumbnailSize {
        ThumbnailSize {
            width,
            height,
            crop,
            animated: false,
        }
    }

    #[test]
    fn scaling_keeps_the_proportions_and_cropping_the_size() {
        let file = png(400, 200);
        for (wanted, expected) in [
            (size(100, 100, false), (100, 50)),
            (size(100, 100, true), (100, 100)),
            (size(32, 32, true), (32, 32)),
            (size(800, 600, false), (400, 200)),
            (size(800, 600, true), (400, 200)),
            (size(800, 100, true), (400, 100)),
        ] {
            assert_eq!(sides(&file, wanted), expected, "{wanted:?}");
        }
    }

    #[test]
    fn what_is_small_already_stays_as_it_is_unless_it_might_move() {
        let file = png(4, 4);
        let made = make(&file, ImageFormat::Png, size(8, 8, false)).unwrap();
        assert_eq!((made.file, made.content_type), (file.clone(), "image/png"));
        let smaller = make(&file, ImageFormat::Png, size(2, 2, false)).unwrap();
        assert_ne!(smaller.file, file);
        let mut gif = Cursor::new(Vec::new());
        let image = DynamicImage::ImageRgba8(RgbaImage::new(4, 4));
        image.write_to(&mut gif, ImageFormat::Gif).unwrap();
        let gif = gif.into_inner();
        let still = make(&gif, ImageFormat::Gif, size(8, 8, false)).unwrap();
        assert_eq!(still.content_type, "image/png");
        let moving = ThumbnailSize {
            animated: true,
            ..size(8, 8, false)
        };
        let moving = make(&gif, ImageFormat::Gif, moving).unwrap();
        assert_eq!((moving.file, moving.content_type), (gif, "image/gif"));
    }

    #[test]
    fn what_is_no_image_is_not_decoded() {
        let file = png(4, 4);
        assert_eq!(format_of("image/png", &file), Ok(ImageFormat::Png));
        assert_eq!(format_of("image/jpeg", &file), Ok(ImageFormat::Png));
        let unreadable = Err(ThumbnailError::Unreadable);
        assert_eq!(format_of("application/octet-stream", &file), unreadable);
        assert_eq!(format_of("image/png", b"<svg/>"), unreadable);
        assert_eq!(
            decode(&file[..20], ImageFormat::Png).err(),
            Some(ThumbnailError::Unreadable)
        );
    }

    #[test]
    fn an_image_that_claims_to_be_huge_is_refused_before_it_is_decoded() {
        let mut file = png(4, 4);
        // The width and height of the header, and the checksum that covers them.
        file[16..24].copy_from_slice(&[0, 0, 0x70, 0, 0, 0, 0x70, 0]);
        let crc = crc32(&file[12..29]);
        file[29..33].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(
            decode(&file, ImageFormat::Png).err(),
            Some(ThumbnailError::TooLarge)
        );
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                (crc >> 1) ^ (0xEDB8_8320 & 0u32.wrapping_sub(crc & 1))
            })
        })
    }
}
