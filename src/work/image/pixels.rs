//! Decodes the pixels of an image within limits, and derives facts from them.

use std::io::{BufRead, Seek};

use image::error::{LimitError, LimitErrorKind};
use image::metadata::Orientation;
use image::{
    DynamicImage, ExtendedColorType, ImageDecoder, ImageError, ImageReader, ImageResult, Limits,
    imageops,
};

/// The most pixels of an image: a header may claim gigabytes.
const MOST: u64 = 100_000_000;

/// The most bytes for a decoder and its pixels.
const MEMORY: u64 = 512 << 20;

/// An image as stored.
#[derive(Debug)]
pub struct Pixels {
    pub picture: DynamicImage,
    /// The rotation recorded by the camera.
    pub turned: Orientation,
    /// The mode, by Pillow's name; `None` if Pillow has none for it.
    pub mode: Option<&'static str>,
}

/// Decodes a BMP, GIF (its first frame), JPEG, PNG or WebP.
///
/// # Errors
/// Any other format; a damaged image, or one over a hundred megapixels.
pub fn decode(from: impl BufRead + Seek) -> ImageResult<Pixels> {
    let mut reader = ImageReader::new(from).with_guessed_format()?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MEMORY);
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MOST || decoder.total_bytes() > MEMORY {
        return Err(ImageError::Limits(LimitError::from_kind(LimitErrorKind::DimensionError)));
    }
    let turned = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mode = mode(decoder.original_color_type());
    Ok(Pixels { picture: DynamicImage::from_decoder(decoder)?, turned, mode })
}

fn mode(of: ExtendedColorType) -> Option<&'static str> {
    Some(match of {
        ExtendedColorType::L8 => "L",
        ExtendedColorType::La8 => "LA",
        ExtendedColorType::L16 => "I;16",
        ExtendedColorType::Rgb8 | ExtendedColorType::Rgb16 => "RGB",
        ExtendedColorType::Rgba8 | ExtendedColorType::Rgba16 => "RGBA",
        _ => return None,
    })
}

/// The columns and rows of differences in [`difference_hash`].
const SIDE: u32 = 8;

/// The difference hash of an image as displayed (dHash, 64 bits): whether each of nine grey means
/// in a row is darker than the next one, for eight rows, the first bit highest. Images that look
/// alike differ in few bits.
pub fn difference_hash(pixels: Pixels) -> u64 {
    let Pixels { picture, turned, .. } = pixels;
    // Grey first: rotating copies the image.
    let mut seen = DynamicImage::ImageLuma8(picture.into_luma8());
    seen.apply_orientation(turned);
    let small = imageops::thumbnail(&seen.into_luma8(), SIDE + 1, SIDE);
    let grey = |x, y| small.get_pixel(x, y).0[0];
    let bits = (0..SIDE).flat_map(|y| (0..SIDE).map(move |x| (x, y)));
    bits.fold(0, |hash, (x, y)| hash << 1 | u64::from(grey(x, y) < grey(x + 1, y)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn png(picture: &DynamicImage) -> Vec<u8> {
        let mut png = Vec::new();
        picture.write_to(&mut Cursor::new(&mut png), image::ImageFormat::Png).expect("written");
        png
    }

    fn hash(picture: &DynamicImage) -> u64 {
        difference_hash(decode(Cursor::new(png(picture))).expect("a picture"))
    }

    #[test]
    fn pictures_that_look_alike_have_hashes_that_are_near() {
        let wave = |bright: u32| {
            let pixel = |x: u32, y: u32| {
                let grey = (x * x / 7 + y * 3 + x * y / 11) % 200 + bright;
                image::Luma([u8::try_from(grey).unwrap_or(255)])
            };
            DynamicImage::ImageLuma8(image::ImageBuffer::from_fn(90, 64, pixel))
        };
        let of = hash(&wave(0));
        assert!((hash(&wave(40)) ^ of).count_ones() <= 4, "brighter");
        let smaller = wave(0).resize_exact(45, 32, imageops::FilterType::Triangle);
        assert!((hash(&smaller) ^ of).count_ones() <= 8, "smaller");
        assert!((hash(&wave(0).fliph()) ^ of).count_ones() > 16, "another picture");
        let rising = image::ImageBuffer::from_fn(90, 64, |x, _| image::Luma([x as u8 * 2]));
        assert_eq!(hash(&DynamicImage::ImageLuma8(rising)), u64::MAX);
        assert_eq!(hash(&DynamicImage::new_rgb8(1, 1)), 0);
    }

    #[test]
    fn pixels_have_the_names_of_pillow() {
        let cases = [
            (DynamicImage::new_luma8(2, 2), "L"),
            (DynamicImage::new_luma_a8(2, 2), "LA"),
            (DynamicImage::new_rgb8(2, 2), "RGB"),
            (DynamicImage::new_rgba8(2, 2), "RGBA"),
            (DynamicImage::new_luma16(2, 2), "I;16"),
        ];
        for (picture, mode) in cases {
            assert_eq!(decode(Cursor::new(png(&picture))).expect("a picture").mode, Some(mode));
        }
    }

    #[test]
    fn what_is_damaged_is_an_error() {
        let whole = png(&DynamicImage::new_rgb8(300, 300));
        for end in [0, 8, 20, whole.len() / 2] {
            assert!(decode(Cursor::new(&whole[..end])).is_err(), "{end}");
        }
        // A header that claims 100,000 x 100,000 pixels.
        let mut huge = whole;
        huge[16..24].copy_from_slice(&[0, 1, 0x86, 0xa0, 0, 1, 0x86, 0xa0]);
        assert!(decode(Cursor::new(huge)).is_err());
    }
}
