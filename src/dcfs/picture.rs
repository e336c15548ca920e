//! Scales pictures down, whatever a stranger's file claims to be.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageResult};

use dcfs_work::image::pixels::{Pixels, decode};

/// Quality of the JPEG, out of 100.
const QUALITY: u8 = 82;

/// Limit of a file in bytes.
pub const LARGEST: u64 = 128 << 20;

/// A JPEG with sides of at most `side` pixels, rotated as its metadata says.
///
/// # Errors
/// The picture has an unknown format, is damaged, or is too large.
pub fn scaled(bytes: &[u8], side: u32) -> ImageResult<Vec<u8>> {
    let Pixels { picture, turned, .. } = decode(Cursor::new(bytes))?;
    let (width, height) = (picture.width(), picture.height());
    let mut picture = DynamicImage::ImageRgba8(picture.into_rgba8());
    if width.max(height) > side {
        picture = picture.thumbnail(side, side);
    }
    picture.apply_orientation(turned);
    // Transparent pixels become white, as on a page.
    let mut ground =
        image::RgbaImage::from_pixel(picture.width(), picture.height(), image::Rgba([255; 4]));
    image::imageops::overlay(&mut ground, &picture.to_rgba8(), 0, 0);
    let mut out = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut out, QUALITY);
    DynamicImage::ImageRgba8(ground).to_rgb8().write_with_encoder(encoder)?;
    Ok(out)
}
