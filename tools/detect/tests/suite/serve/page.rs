//! The page, in a real browser where there is one.

use std::path::Path;

use serde_json::json;

use super::browser::Browser;
use super::*;
use crate::squares::{picture, GREY};

/// The page with the camera showing [`two_squares`]; none without a browser.
fn open(server: &Server, folder: &Path) -> Option<Browser> {
    let camera = folder.join("camera.y4m");
    std::fs::write(&camera, moving_picture(&two_squares())).unwrap();
    let mut browser = Browser::open(&server.url(), &camera)?;
    browser.wait_for("document.readyState === 'complete' && document.title === 'detect'");
    browser.wait_for("document.getElementById('model').textContent !== ''");
    Some(browser)
}

/// One picture without colours as a video: YUV4MPEG2, <https://wiki.multimedia.cx/index.php/YUV4MPEG2>.
fn moving_picture(picture: &RgbImage) -> Vec<u8> {
    let (width, height) = picture.dimensions();
    let mut bytes =
        format!("YUV4MPEG2 W{width} H{height} F25:1 Ip A1:1 C420jpeg\nFRAME\n").into_bytes();
    bytes.extend(picture.pixels().map(|pixel| pixel[0]));
    bytes.extend(vec![128; (width * height / 2) as usize]);
    bytes
}

const LISTED: &str =
    "[...document.querySelectorAll('#list li .name')].map(e => e.textContent).join()";

/// The colour of the canvas at a place of the picture, as a share of its size.
fn color(browser: &mut Browser, x: f64, y: f64) -> Vec<u64> {
    let pixel = browser.value(&format!(
        "Array.from(canvas.getContext('2d').getImageData({x} * canvas.width, {y} * canvas.height, 1, 1).data)"
    ));
    pixel.as_array().unwrap()[..3]
        .iter()
        .map(|v| v.as_u64().unwrap())
        .collect()
}

#[test]
fn a_picture_is_drawn_listed_and_narrowed_by_score() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&[]);
    let Some(mut browser) = open(&server, folder.path()) else {
        return;
    };
    let model = browser.value("document.getElementById('model').textContent");
    assert_eq!(
        model,
        "squares.onnx: 2 classes (bright, dark), input 128 × 128"
    );
    browser.screenshot("1-empty");

    // Two sure squares and one that is bright with 0.59.
    let squares = [
        ([32, 64, 16, 16], WHITE),
        ([96, 16, 16, 16], BLACK),
        ([64, 96, 16, 16], image::Rgb([219; 3])),
    ];
    let file = folder.path().join("squares.png");
    picture(128, 128, &squares).save(&file).unwrap();
    browser.choose("#file", &file);
    browser.wait_for(&format!("{LISTED}.split(',').length === 3"));
    browser.screenshot("2-found");
    let size = browser.value("[canvas.width, canvas.height]");
    assert_eq!(size, json!([640, 640]));
    // The bright squares are tinted by their masks, exactly up to their edges. (The model gives dark ones none.)
    let cell = 1.0 / 8.0;
    for (x, y) in [(2.5, 4.5), (4.5, 6.5)] {
        let tinted = color(&mut browser, x * cell, y * cell);
        assert!(
            tinted.iter().max() > tinted.iter().min(),
            "{x}, {y}: {tinted:?}"
        );
    }
    for (x, y) in [(0.5, 0.5), (2.5, 5.2), (7.2, 1.5), (5.2, 6.5), (2.5, 3.5)] {
        assert_eq!(
            color(&mut browser, x * cell, y * cell),
            [128; 3],
            "{x}, {y}"
        );
    }
    let timing = browser.value("document.getElementById('timing').textContent");
    let timing = timing.as_str().unwrap();
    assert!(timing.starts_with("128 × 128 pixels; decoding"), "{timing}");

    // Up: the weak one goes, without a question to the server.
    let asked = server.metric("detect_pictures_total");
    let slide = |to: &str| format!("slider.value = {to}; slider.dispatchEvent(new Event('input'))");
    browser.value(&slide("0.9"));
    browser.wait_for(&format!("{LISTED}.split(',').length === 2"));
    assert_eq!(color(&mut browser, 4.5 * cell, 6.5 * cell), [219; 3]);
    assert_eq!(server.metric("detect_pictures_total"), asked);
    // Down below what was asked for: asked again.
    browser.value(&slide("0.1"));
    browser.wait_for(&format!("{LISTED}.split(',').length === 3"));
    browser.wait_for("!busy");
    assert_eq!(
        server.metric("detect_pictures_total"),
        asked.map(|n| n + 1.0)
    );

    browser.resize(390, 800);
    browser.screenshot("3-phone");
    // Nothing is wider than a phone.
    browser.wait_for("document.documentElement.scrollWidth <= 390");
    // Nothing was thrown, nothing refused by the page's policy.
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
fn the_camera_runs_one_request_at_a_time_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&[]);
    let Some(mut browser) = open(&server, folder.path()) else {
        return;
    };
    browser.value(
        "window.most = 0; window.open = 0; const plain = fetch; window.fetch = async (...a) => {
            most = Math.max(most, ++open);
            try { return await plain(...a); } finally { open--; }
        }; element('camera').click()",
    );
    server.wait_until("frames arrive", |server| {
        server.metric("detect_pictures_total") >= Some(5.0)
    });
    browser.wait_for(&format!(
        "{LISTED}.split(',').sort().join() === 'bright,dark'"
    ));
    browser.screenshot("4-camera");
    browser.value("element('camera').click()");
    browser.wait_for("!busy && !stream && !video.srcObject");
    assert_eq!(browser.value("most"), 1);
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
fn what_goes_wrong_is_said_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&[]);
    let Some(mut browser) = open(&server, folder.path()) else {
        return;
    };
    let text = folder.path().join("text.png");
    std::fs::write(&text, "This is a text.").unwrap();
    browser.choose("#file", &text);
    browser.wait_for("!element('error').hidden");
    let error = browser.value("element('error').textContent");
    assert!(
        error
            .as_str()
            .unwrap()
            .contains("Cannot decode the picture"),
        "{error}"
    );
    browser.screenshot("5-error");
    // The next picture clears it.
    let file = folder.path().join("two.png");
    two_squares().save(&file).unwrap();
    browser.choose("#file", &file);
    browser.wait_for("element('error').hidden && !canvas.hidden");
    assert_eq!(color(&mut browser, 0.01, 0.99), GREY.0.map(u64::from));
    drop(server);
    browser.choose("#file", &file);
    browser.wait_for("element('error').textContent.includes('does not answer')");
}
