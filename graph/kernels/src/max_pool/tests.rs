use super::{backward, forward};
use crate::testing::{same_on_any_pool, values};

#[test]
fn agrees_with_the_definition() {
    for (b, h, w, c) in [
        (1, 2, 2, 1),
        (2, 4, 6, 5),
        (3, 5, 7, 31),
        (1, 14, 14, 64),
        (2, 1, 4, 3),
    ] {
        let x = values(b * h * w * c, 1);
        let (oh, ow) = (h / 2, w / 2);
        let dy = values(b * oh * ow * c, 2);
        let (mut y, mut argmax) = (vec![f32::NAN; dy.len()], vec![9; dy.len()]);
        forward(&x, &mut y, &mut argmax, b, h, w, c);
        let mut dx = vec![1.0; x.len()];
        backward(&dy, &argmax, &mut dx, b, h, w, c);
        let mut expected = vec![1.0; x.len()];
        for (i, y) in y.iter().enumerate() {
            let (channel, column, line, image) =
                (i % c, i / c % ow, i / c / ow % oh, i / c / ow / oh);
            let window = [(0, 0), (0, 1), (1, 0), (1, 1)]
                .map(|(p, q)| ((image * h + 2 * line + p) * w + 2 * column + q) * c + channel);
            let largest = window
                .into_iter()
                .max_by(|p, q| x[*p].total_cmp(&x[*q]))
                .expect("four candidates");
            assert_eq!(*y, x[largest]);
            expected[largest] += dy[i];
        }
        assert_eq!(dx, expected);
    }
}

#[test]
fn the_first_of_equals_takes_the_gradient() {
    let (mut y, mut argmax, mut dx) = ([0.0], [9], [0.0; 4]);
    forward(&[1.0, 3.0, 3.0, 3.0], &mut y, &mut argmax, 1, 2, 2, 1);
    backward(&[2.0], &argmax, &mut dx, 1, 2, 2, 1);
    assert_eq!((y, argmax, dx), ([3.0], [1], [0.0, 2.0, 0.0, 0.0]));
}

#[test]
fn threads_do_not_change_the_result() {
    let (b, h, w, c) = (5, 20, 24, 32);
    let (x, dy) = (values(b * h * w * c, 1), values(b * h * w * c / 4, 2));
    same_on_any_pool(|| {
        let (mut y, mut argmax, mut dx) =
            (vec![0.0; dy.len()], vec![0; dy.len()], vec![0.0; x.len()]);
        forward(&x, &mut y, &mut argmax, b, h, w, c);
        backward(&dy, &argmax, &mut dx, b, h, w, c);
        [y, dx].concat()
    });
}
