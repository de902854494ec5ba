//! How a driver is drawn: colour, dash and marker together, so that a figure reads in black and white and without seeing colours.

use plotters::prelude::*;

/// Okabe & Ito, "Color Universal Design" (2008), without the yellow, which vanishes on white. Black comes first: it is the control's.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 0, 0),
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

/// Lengths of strokes and gaps in units of the canvas; empty is a solid line.
const DASHES: [&[f64]; 5] = [&[], &[22.0, 10.0], &[5.0, 9.0], &[26.0, 8.0, 5.0, 8.0], &[12.0, 7.0]];

/// Shape of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marker {
    Circle,
    Square,
    Triangle,
    Diamond,
    Down,
    Cross,
    Plus,
    Star,
}

const MARKERS: [Marker; 8] = [
    Marker::Circle,
    Marker::Square,
    Marker::Triangle,
    Marker::Diamond,
    Marker::Down,
    Marker::Cross,
    Marker::Plus,
    Marker::Star,
];

/// Look of one series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Look {
    pub colour: RGBColor,
    pub dash: &'static [f64],
    pub marker: Option<Marker>,
}

/// The look of the driver with this position in the run: 7 colours, 5 dashes and 8 markers, so that 280 drivers differ.
pub(super) fn look(index: usize) -> Look {
    Look {
        colour: COLOURS[index % COLOURS.len()],
        dash: DASHES[index % DASHES.len()],
        marker: Some(MARKERS[index % MARKERS.len()]),
    }
}

/// The look of a line that was computed and not measured: `index` 0 or 1.
pub(super) fn reference(index: usize) -> Look {
    let dashes: [&[f64]; 2] = [&[4.0, 6.0], &[14.0, 6.0, 4.0, 6.0]];
    Look { colour: RGBColor(110, 110, 110), dash: dashes[index % 2], marker: None }
}

/// Corners, in canvas units.
type Corners = Vec<(i32, i32)>;

/// Outline of a marker of radius `r` around a point, as a shape to be filled and lines to be stroked.
pub(super) fn marker(marker: Marker, (x, y): (i32, i32), r: i32) -> (Corners, Vec<[(i32, i32); 2]>) {
    let s = r * 9 / 10;
    match marker {
        Marker::Circle => (Vec::new(), Vec::new()),
        Marker::Square => (vec![(x - s, y - s), (x + s, y - s), (x + s, y + s), (x - s, y + s)], Vec::new()),
        Marker::Triangle => (vec![(x, y - r), (x + r, y + s), (x - r, y + s)], Vec::new()),
        Marker::Down => (vec![(x, y + r), (x + r, y - s), (x - r, y - s)], Vec::new()),
        Marker::Diamond => {
            let d = r * 5 / 4;
            (vec![(x, y - d), (x + d, y), (x, y + d), (x - d, y)], Vec::new())
        }
        Marker::Cross => (Vec::new(), vec![[(x - s, y - s), (x + s, y + s)], [(x - s, y + s), (x + s, y - s)]]),
        Marker::Plus => (Vec::new(), vec![[(x - r, y), (x + r, y)], [(x, y - r), (x, y + r)]]),
        Marker::Star => {
            let d = r * 7 / 10;
            let upright = [[(x - r, y), (x + r, y)], [(x, y - r), (x, y + r)]];
            (
                Vec::new(),
                vec![upright[0], upright[1], [(x - d, y - d), (x + d, y + d)], [(x - d, y + d), (x + d, y - d)]],
            )
        }
    }
}

/// Cuts a line through `points` into strokes of a dash pattern.
pub(super) fn dashed(points: &[(i32, i32)], pattern: &[f64]) -> Vec<Vec<(i32, i32)>> {
    if pattern.iter().sum::<f64>() < 1.0 {
        return vec![points.to_vec()];
    }
    let mut strokes = Vec::new();
    let mut stroke: Vec<(i32, i32)> = points.first().copied().into_iter().collect();
    let mut part = 0;
    let mut left = pattern[0];
    for pair in points.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        let (dx, dy) = (f64::from(b.0 - a.0), f64::from(b.1 - a.1));
        let length = dx.hypot(dy);
        let mut done = 0.0;
        while length - done > left {
            done += left;
            let at = done / length;
            let point = (a.0 + (dx * at).round() as i32, a.1 + (dy * at).round() as i32);
            if part % 2 == 0 {
                stroke.push(point);
                strokes.push(std::mem::take(&mut stroke));
            } else {
                stroke = vec![point];
            }
            part = (part + 1) % pattern.len();
            left = pattern[part];
        }
        left -= length - done;
        if part % 2 == 0 {
            stroke.push(b);
        }
    }
    if stroke.len() > 1 {
        strokes.push(stroke);
    }
    strokes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dashed_line_keeps_its_pattern_around_corners() {
        // 10 on, 5 off, along 20 to the right and 20 down: on 0-10, off 10-15, on 15-20 and 0-5 down, off 5-10, on 10-20.
        let strokes = dashed(&[(0, 0), (20, 0), (20, 20)], &[10.0, 5.0]);
        assert_eq!(strokes, vec![vec![(0, 0), (10, 0)], vec![(15, 0), (20, 0), (20, 5)], vec![(20, 10), (20, 20)]]);
        assert_eq!(dashed(&[(0, 0), (9, 9)], &[]), vec![vec![(0, 0), (9, 9)]]);
        assert!(dashed(&[], &[10.0, 5.0]).is_empty());
    }

    #[test]
    fn forty_drivers_look_different() {
        for a in 0..40 {
            for b in 0..a {
                assert_ne!(look(a), look(b), "{a} and {b}");
            }
        }
    }
}
