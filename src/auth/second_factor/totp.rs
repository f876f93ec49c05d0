//! Authenticator apps: their secret, its link and picture, and which step a code belongs to (RFC 6238).
//! Never whether a step was used before: the row says that.

use actors::protocol::{Fault, Outcome};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use entities::Timestamp;
use qrcode::{Color, EcLevel, QrCode};
use totp_rs::{Builder, Totp};

/// The length of a secret: that of SHA-1's output (RFC 4226, section 4, R6).
pub const SECRET_BYTES: usize = 20;
/// Digits of a code.
pub const DIGITS: usize = 6;
/// Pixels of a module of the picture, and the modules of the quiet zone around it (ISO/IEC 18004, 9.1).
const MODULE: usize = 6;
const QUIET: usize = 4;

/// What an app and the node have in common: SHA-1, six digits, steps of 30 s, and one step either way, for clocks that
/// are late or early (RFC 6238, section 5.2). It is what every app can do.
pub struct Authenticator(Totp);

impl Authenticator {
    /// The one of this secret.
    ///
    /// # Errors
    /// A fault: the secret is too short.
    pub fn new(secret: &[u8]) -> Outcome<Authenticator> {
        Ok(Authenticator(builder(secret).build().map_err(Fault::new)?))
    }

    /// The step, among those that count now, whose code this is.
    pub fn step_of(&self, code: &str, now: Timestamp) -> Option<i64> {
        let seconds = u64::try_from(now.millis() / 1000).ok()?;
        i64::try_from(self.0.check(code, seconds)?).ok()
    }
}

/// A secret as people and their apps take it.
pub struct Shared {
    /// In base32.
    pub secret: String,
    /// As a link, whose form Google Authenticator's "Key Uri Format" has set.
    pub uri: String,
    /// The link as a picture, a `data:` URI.
    pub picture: String,
}

/// How an app is told of a secret: it lists it under the issuer's and the account's name.
///
/// # Errors
/// A fault: the issuer's name has a colon, or the link is too long for a picture.
pub fn share(secret: &[u8], issuer: &str, account: &str) -> Outcome<Shared> {
    // A colon divides the two names.
    let account = account.replace(':', " ");
    let totp = builder(secret).with_issuer(Some(issuer)).with_account_name(account).build().map_err(Fault::new)?;
    let uri = totp.to_url().map_err(Fault::new)?;
    let picture = format!("data:image/png;base64,{}", STANDARD.encode(picture(&uri)?));
    Ok(Shared { secret: totp.secret().to_base32(), uri, picture })
}

fn builder(secret: &[u8]) -> Builder {
    Builder::new().with_secret(secret.to_vec())
}

/// A QR code as a PNG in black and white.
fn picture(text: &str) -> Outcome<Vec<u8>> {
    let code = QrCode::with_error_correction_level(text, EcLevel::M).map_err(Fault::new)?;
    let modules = code.width();
    let side = (modules + 2 * QUIET) * MODULE;
    let is_dark = |at: usize, line: usize| {
        let place = |pixel: usize| (pixel / MODULE).checked_sub(QUIET).filter(|place| *place < modules);
        place(at).zip(place(line)).is_some_and(|place| code[place] == Color::Dark)
    };
    let pixels: Vec<u8> =
        (0..side * side).map(|pixel| if is_dark(pixel % side, pixel / side) { 0 } else { u8::MAX }).collect();
    let mut file = Vec::new();
    let size = u32::try_from(side).map_err(Fault::new)?;
    let mut encoder = png::Encoder::new(&mut file, size, size);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.write_header().and_then(|mut writer| writer.write_image_data(&pixels)).map_err(Fault::new)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    /// RFC 6238, appendix B: its codes have eight digits, of which ours are the last six.
    #[test]
    fn codes_are_those_of_the_standard() {
        let authenticator = Authenticator::new(b"12345678901234567890").unwrap();
        for (seconds, code) in [
            (59, "94287082"),
            (1_111_111_109, "07081804"),
            (1_111_111_111, "14050471"),
            (1_234_567_890, "89005924"),
            (2_000_000_000, "69279037"),
            (20_000_000_000, "65353130"),
        ] {
            let code = &code[2..];
            let step = seconds / 30;
            for near in [step - 1, step, step + 1] {
                assert_eq!(authenticator.step_of(code, at(near * 30)), Some(step), "{seconds}");
                assert_eq!(authenticator.step_of(code, at(near * 30 + 29)), Some(step), "{seconds}");
            }
            for far in [(step - 1) * 30 - 1, (step + 2) * 30] {
                assert_eq!(authenticator.step_of(code, at(far)), None, "{seconds}");
            }
        }
        for wrong in ["", "08180", "0818044", "+08180", "07081804", "０８１８０４"] {
            assert_eq!(authenticator.step_of(wrong, at(1_111_111_109)), None, "{wrong}");
        }
        assert!(Authenticator::new(b"too short").is_err());
    }

    #[test]
    fn the_link_and_the_picture_say_the_same() {
        let shared = share(b"12345678901234567890", "Quck & Chat", "ann:of+tea@example.org").unwrap();
        assert_eq!(shared.secret, "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        assert!(
            shared.uri.starts_with("otpauth://totp/Quck%20%26%20Chat:ann%20of%2Btea%40example.org?"),
            "{}",
            shared.uri
        );
        assert!(shared.uri.contains(&format!("secret={}", shared.secret)), "{}", shared.uri);
        assert!(shared.uri.contains("issuer=Quck%20%26%20Chat"), "{}", shared.uri);

        // Read as a phone would: by somebody else's decoder.
        let file = STANDARD.decode(shared.picture.strip_prefix("data:image/png;base64,").unwrap()).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        let (width, height) = (info.width as usize, info.height as usize);
        let mut seen = rqrr::PreparedImage::prepare_from_greyscale(width, height, |x, y| pixels[y * width + x]);
        let grids = seen.detect_grids();
        assert_eq!(grids.len(), 1);
        assert_eq!(grids[0].decode().unwrap().1, shared.uri);
    }
}
