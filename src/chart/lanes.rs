//! Figures of rows: names at the left, one horizontal scale for all rows, numbers at the right.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::axis::Axis;
use super::sheet::{Area, FINE, INK, MESH, WIDTH, at, put, short, text, width};

/// Height of a name.
const NAME: i32 = 12;
/// Most room for names: the scale needs the rest.
const NAMES_MAX: i32 = 420;
/// Room beside a name: to the edge of the figure, and to the scale.
const BESIDE: [i32; 2] = [16, 12];

/// Where the scale of such a figure lies; widths as shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lanes {
    /// Room for the names.
    pub labels: i32,
    /// Room for the numbers.
    pub numbers: i32,
}

impl Lanes {
    /// Lanes whose names have the room that the longest needs, within reason.
    pub fn for_names<'a>(names: impl Iterator<Item = &'a str>, numbers: i32) -> Lanes {
        let longest = names.map(|name| width(name, NAME)).max().unwrap_or(0);
        Lanes { labels: (longest + BESIDE[0] + BESIDE[1]).min(NAMES_MAX), numbers }
    }

    /// Draws a name beside its row; one that has no room loses its middle.
    pub fn draw_name(self, root: &Area, name: &str, y: i32) -> Result<(), String> {
        let room = self.labels - BESIDE[0] - BESIDE[1];
        let fits = name.chars().count() as i32 * room / width(name, NAME).max(1);
        let style = text(NAME, INK, HPos::Right, VPos::Center);
        put(root, &short(name, fits as usize), (self.labels - BESIDE[1], y), style)
    }

    /// Where a value stands, in canvas units.
    pub fn x(self, axis: &Axis, value: f64) -> i32 {
        self.place(axis.place(value))
    }

    fn place(self, place: f64) -> i32 {
        at(self.labels) + (f64::from(at(WIDTH - self.labels - self.numbers)) * place).round() as i32
    }

    /// Draws mesh, ticks and title between two heights as shown, and a line at the value, if any, that all others are compared with.
    pub fn draw_axis(
        self,
        root: &Area,
        axis: &Axis,
        (top, bottom): (i32, i32),
        reference: Option<f64>,
    ) -> Result<(), String> {
        let error = |e: DrawingAreaErrorKind<std::io::Error>| e.to_string();
        let line = |place: f64, style: ShapeStyle| {
            PathElement::new(vec![(self.place(place), at(top)), (self.place(place), at(bottom))], style)
        };
        for place in &axis.mesh {
            root.draw(&line(*place, FINE.stroke_width(2))).map_err(error)?;
        }
        for (place, label) in &axis.ticks {
            root.draw(&line(*place, MESH.stroke_width(2))).map_err(error)?;
            let style = text(12, INK, HPos::Center, VPos::Top);
            root.draw(&Text::new(label.clone(), (self.place(*place), at(bottom + 6)), style)).map_err(error)?;
        }
        if let Some(value) = reference {
            root.draw(&line(axis.place(value), INK.stroke_width(3))).map_err(error)?;
        }
        let middle = self.labels + (WIDTH - self.labels - self.numbers) / 2;
        put(root, &axis.title, (middle, bottom + 28), text(13, INK, HPos::Center, VPos::Top))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_room_and_leave_room() {
        let labels = |name: &str| Lanes::for_names(["a", name].into_iter(), 84).labels;
        assert!(labels("the same by a second container, 1 MiB, 8 layers") > width(&"x".repeat(47), NAME));
        assert!(labels("short") < 100);
        assert_eq!(labels(&"long".repeat(100)), NAMES_MAX);
    }
}
