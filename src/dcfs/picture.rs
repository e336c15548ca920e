//! Pictures made smaller, whatever a stranger's file claims to be.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::error::{LimitError, LimitErrorKind};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageReader, ImageResult, Limits};

/// Quality of the JPEG, of 100.
const QUALITY: u8 = 82;

/// Bytes of a file that is made small, at most, and pixels: a header may claim gigabytes.
pub const LARGEST: u64 = 128 << 20;
const PIXELS: u64 = 100_000_000;

/// Bytes that a decoder and its pixels may take.
const MEMORY: u64 = 512 << 20;

/// A JPEG of at most `side` pixels on each side, turned as the camera noted.
///
/// # Errors
/// It is no picture of a kind that is known, is damaged, or is too large.
pub fn scaled(bytes: &[u8], side: u32) -> ImageResult<Vec<u8>> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MEMORY);
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > PIXELS || decoder.total_bytes() > MEMORY {
        let error = LimitError::from_kind(LimitErrorKind::DimensionError);
        return Err(ImageError::Limits(error));
    }
    let turned = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::ImageRgba8(DynamicImage::from_decoder(decoder)?.into_rgba8());
    if width.max(height) > side {
        picture = picture.thumbnail(side, side);
    }
    picture.apply_orientation(turned);
    // On white, as a page would show it.
    let mut ground =
        image::RgbaImage::from_pixel(picture.width(), picture.height(), image::Rgba([255; 4]));
    image::imageops::overlay(&mut ground, &picture.to_rgba8(), 0, 0);
    let mut out = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut out, QUALITY);
    DynamicImage::ImageRgba8(ground).to_rgb8().write_with_encoder(encoder)?;
    Ok(out)
}
