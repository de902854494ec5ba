//! How a driver is drawn: colour, dash and marker together, so that a figure reads in black and white and without seeing colours.

use plotters::prelude::*;

use crate::record::DriverInfo;

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

/// A driver, its colour and the tint of its variants. Okabe & Ito, "Color Universal Design" (2008), told apart by readers who do not see all colours;
/// without the yellow, which vanishes on white. aufs's tint is a darker shade of its own colour, fuse-overlayfs's a lighter one, and the greys are bind's.
const FAMILIES: [(&str, [RGBColor; 2]); 5] = [
    ("bind", [RGBColor(0, 0, 0), RGBColor(105, 105, 105)]),
    ("overlay2", [RGBColor(0, 114, 178), RGBColor(86, 180, 233)]),
    ("aufs", [RGBColor(204, 121, 167), RGBColor(136, 34, 85)]),
    ("fuse-union", [RGBColor(213, 94, 0), RGBColor(230, 159, 0)]),
    ("fuse-overlayfs", [RGBColor(0, 158, 115), RGBColor(110, 200, 170)]),
];

/// Colours of drivers that have none of their own.
const STRANGERS: [RGBColor; 2] = [RGBColor(102, 76, 40), RGBColor(110, 80, 170)];

/// How the variants that workloads ship with are drawn: driver, variant, which of the driver's colours, which dash, marker. A figure of them reads alike in
/// every run; black and white suffice, since no two markers are alike in a run of one variant a driver and `volatile`.
const KNOWN: [(&str, &str, usize, usize, Marker); 12] = [
    ("bind", "", 0, 0, Marker::Circle),
    ("overlay2", "", 0, 0, Marker::Square),
    ("overlay2", "volatile", 1, 1, Marker::Diamond),
    ("overlay2", "volatile,metacopy=on", 1, 2, Marker::Star),
    ("overlay2", "metacopy=on", 0, 2, Marker::Star),
    ("aufs", "", 0, 3, Marker::Plus),
    ("fuse-union", "", 0, 0, Marker::Triangle),
    ("fuse-union", "opens=off", 1, 3, Marker::Cross),
    ("fuse-union", "uring=on", 1, 1, Marker::Cross),
    ("fuse-union", "uring=off", 0, 2, Marker::Triangle),
    ("fuse-union", "(no passthrough)", 1, 4, Marker::Star),
    ("fuse-overlayfs", "", 0, 3, Marker::Down),
];

/// What a variant is beside its driver: its options, or what its label has behind the driver's name.
fn variant(info: &DriverInfo) -> String {
    match info.options.is_empty() {
        true => info.label.strip_prefix(info.driver.as_str()).unwrap_or(&info.label).trim().to_owned(),
        false => info.options.join(","),
    }
}

fn colours(driver: &str) -> [RGBColor; 2] {
    FAMILIES.iter().find(|(name, _)| *name == driver).map_or(STRANGERS, |(_, colours)| *colours)
}

/// FNV-1a: the same text gives the same number in every run, which the standard library's hash does not promise.
fn hash(text: &str) -> usize {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    (hash >> 33) as usize
}

/// The look of a driver of a run: its own in every figure of every run, whoever stands beside it. A variant that nobody has given a look takes one of its
/// driver's that its name decides, or the next that is free where another variant of the run has that: no two of a run look the same, nor have the
/// same colour and marker while a driver has no more than 16.
pub(super) fn look(drivers: &[DriverInfo], label: &str) -> Look {
    let mut taken: Vec<Look> = Vec::new();
    let known = |info: &DriverInfo| {
        let variant = variant(info);
        KNOWN.iter().find(|row| row.0 == info.driver && row.1 == variant)
    };
    let drawn = |&(driver, _, colour, dash, marker): &(&str, &str, usize, usize, Marker)| Look {
        colour: colours(driver)[colour],
        dash: DASHES[dash],
        marker: Some(marker),
    };
    // What has a look of its own keeps it, also where it is not in the run.
    let reserved: Vec<Look> = KNOWN.iter().map(drawn).collect();
    let mut unnamed: Vec<&DriverInfo> = Vec::new();
    for info in drivers {
        match known(info).map(drawn).filter(|look| !taken.contains(look)) {
            Some(look) if info.label == label => return look,
            Some(look) => taken.push(look),
            None => unnamed.push(info),
        }
    }
    taken.extend(reserved);
    for info in unnamed {
        let look = free(info, &taken);
        if info.label == label {
            return look;
        }
        taken.push(look);
    }
    Look { colour: STRANGERS[0], dash: DASHES[1], marker: Some(Marker::Circle) }
}

/// The first look of a driver's that is not taken, from one on that the label decides.
fn free(info: &DriverInfo, taken: &[Look]) -> Look {
    let colours = colours(&info.driver);
    let pairs = colours.len() * MARKERS.len();
    let begin = hash(&info.label);
    let looks = || {
        (0..pairs * DASHES.len()).map(|step| {
            // Tints before plain colours: those are the drivers' own.
            let at = (begin + step) % pairs;
            Look {
                colour: colours[(at + 1) % colours.len()],
                dash: DASHES[(begin + step / pairs) % DASHES.len()],
                marker: Some(MARKERS[at / colours.len()]),
            }
        })
    };
    let alike = |a: &Look, b: &Look| a.colour == b.colour && a.marker == b.marker;
    let apart = |look: &Look| taken.iter().all(|other| !alike(look, other));
    let other = |look: &Look| !taken.contains(look);
    let found = looks().find(apart).or_else(|| looks().find(other)).or_else(|| looks().next());
    found.unwrap_or(Look { colour: colours[0], dash: DASHES[0], marker: None })
}

/// The look of one of several things that are no drivers, such as stores, by its place among them: other colours than the drivers' (of viridis).
pub(super) fn nth(index: usize) -> Look {
    const COLOURS: [RGBColor; 5] = [
        RGBColor(68, 1, 84),
        RGBColor(33, 145, 140),
        RGBColor(153, 136, 20),
        RGBColor(59, 82, 139),
        RGBColor(94, 180, 60),
    ];
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
    use crate::record::Feature;

    #[test]
    fn a_dashed_line_keeps_its_pattern_around_corners() {
        // 10 on, 5 off, along 20 to the right and 20 down: on 0-10, off 10-15, on 15-20 and 0-5 down, off 5-10, on 10-20.
        let strokes = dashed(&[(0, 0), (20, 0), (20, 20)], &[10.0, 5.0]);
        assert_eq!(strokes, vec![vec![(0, 0), (10, 0)], vec![(15, 0), (20, 0), (20, 5)], vec![(20, 10), (20, 20)]]);
        assert_eq!(dashed(&[(0, 0), (9, 9)], &[]), vec![vec![(0, 0), (9, 9)]]);
        assert!(dashed(&[], &[10.0, 5.0]).is_empty());
    }

    fn info(driver: &str, label: &str, options: &[&str]) -> DriverInfo {
        DriverInfo {
            label: label.to_owned(),
            driver: driver.to_owned(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            twin_of: None,
            availability: Feature::available(""),
        }
    }

    fn variants(driver: &str, n: usize) -> Vec<DriverInfo> {
        (0..n).map(|i| info(driver, &format!("{driver} variant {i}"), &[&format!("variant={i}")])).collect()
    }

    #[test]
    fn a_driver_looks_the_same_whoever_stands_beside_it() {
        let union = info("fuse-union", "fuse-union", &[]);
        let volatile = info("overlay2", "overlay2 volatile", &["volatile"]);
        let odd = info("overlay2", "overlay2 xino=off", &["xino=off"]);
        let bind = info("bind", "bind", &[]);
        let alone: Vec<Look> =
            [&union, &volatile, &odd].map(|driver| look(std::slice::from_ref(driver), &driver.label)).to_vec();
        let all = [bind, odd.clone(), info("aufs", "aufs", &[]), volatile.clone(), union.clone()];
        let reversed: Vec<DriverInfo> = all.iter().rev().cloned().collect();
        for run in [&all[..], &reversed] {
            assert_eq!([&union, &volatile, &odd].map(|driver| look(run, &driver.label)).to_vec(), alone);
        }
        // Under a name of its own too.
        let named = info("overlay2", "quick", &["volatile"]);
        assert_eq!(look(&[named], "quick"), alone[1]);
        // A variant has one of its driver's colours.
        assert!(colours("overlay2").contains(&alone[1].colour) && colours("overlay2").contains(&alone[2].colour));
    }

    #[test]
    fn no_two_drivers_of_a_run_look_the_same() {
        for driver in ["overlay2", "fuse-union", "nobody knows"] {
            let mut run = variants(driver, 40);
            run.extend(["bind", "overlay2", "aufs", "fuse-union", "fuse-overlayfs"].map(|name| info(name, name, &[])));
            // Two labels of one variant.
            run.push(info("overlay2", "again", &["volatile"]));
            run.push(info("overlay2", "and again", &["volatile"]));
            let looks: Vec<Look> = run.iter().map(|info| look(&run, &info.label)).collect();
            for a in 0..looks.len() {
                for b in 0..a {
                    assert_ne!(looks[a], looks[b], "{} and {}", run[a].label, run[b].label);
                }
            }
        }
        // Few need no dashes to be told apart.
        let few = variants("fuse-overlayfs", 10);
        let mut pairs: Vec<_> =
            few.iter().map(|info| look(&few, &info.label)).map(|l| (l.colour.0, l.colour.1, l.marker)).collect();
        pairs.dedup();
        for a in 0..pairs.len() {
            assert!(!pairs[..a].contains(&pairs[a]));
        }
    }

    #[test]
    fn what_is_known_differs_from_all_else_that_is() {
        for (at, a) in KNOWN.iter().enumerate() {
            let drawn = |row: &(&str, &str, usize, usize, Marker)| (colours(row.0)[row.2], row.3, row.4);
            assert!(KNOWN[..at].iter().all(|b| drawn(a) != drawn(b)), "{a:?}");
            assert!(FAMILIES.iter().any(|(name, _)| *name == a.0));
        }
    }
}
