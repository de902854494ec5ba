//! Lays out a figure: title, what was held fixed, panels of lines in a grid, a legend. Drawn with plotters on a canvas of twice the
//! size at which it is shown, because plotters places everything on whole units.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::ChartError;
use super::panel::{Panel, draw_panel};
use super::style::{Look, Marker, dashed, marker};

/// Canvas units per unit shown.
pub(super) const SCALE: i32 = 2;
/// Width of every figure as shown.
pub(super) const WIDTH: i32 = 960;
pub(super) const INK: RGBColor = RGBColor(34, 34, 34);
pub(super) const GREY: RGBColor = RGBColor(105, 105, 105);
pub(super) const MESH: RGBColor = RGBColor(214, 214, 214);
pub(super) const FINE: RGBColor = RGBColor(238, 238, 238);
const WARNING: RGBColor = RGBColor(176, 32, 0);
const LEGEND_ROW: i32 = 24;
/// Longest label drawn; the CSV has the whole.
const LABEL_MAX: usize = 44;

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A figure of panels with lines.
pub(super) struct Sheet {
    pub title: String,
    /// What was held fixed, and what the marks mean.
    pub subtitle: Vec<String>,
    /// Whether the run proves nothing.
    pub marks: Vec<&'static str>,
    /// Panels by row.
    pub rows: Vec<Vec<Panel>>,
    /// Least number of columns: a row with fewer panels leaves the rest of its width empty.
    pub columns: usize,
    /// Height of a row as shown.
    pub row_height: i32,
    pub legend: Vec<(String, Look)>,
}

/// Panels in rows of so many.
pub(super) fn rows(panels: Vec<Panel>, columns: usize) -> Vec<Vec<Panel>> {
    let mut panels = panels.into_iter();
    let mut rows: Vec<Vec<Panel>> = Vec::new();
    loop {
        let row: Vec<Panel> = panels.by_ref().take(columns).collect();
        if row.is_empty() {
            return rows;
        }
        rows.push(row);
    }
}

/// Canvas units of a length as shown.
pub(super) fn at(n: i32) -> i32 {
    n * SCALE
}

/// A text style `size` units high as shown. plotters divides by 1.24 for SVG.
pub(super) fn text(size: i32, colour: RGBColor, h: HPos, v: VPos) -> TextStyle<'static> {
    let size = f64::from(size * SCALE) * 1.24;
    let mut style = TextStyle::from(("sans-serif", size).into_font()).pos(Pos::new(h, v));
    style.color = colour.to_backend_color();
    style
}

/// How wide a text will be shown, roughly: the viewer's font is not known.
pub(super) fn width(text: &str, size: i32) -> i32 {
    (text.chars().count() as f64 * f64::from(size) * 0.58).ceil() as i32
}

/// A label short enough to be drawn: its beginning and its end, since labels of variants often differ in their last words only.
pub(super) fn short(label: &str, max: usize) -> String {
    let n = label.chars().count();
    if n <= max {
        return label.to_owned();
    }
    let end = max.saturating_sub(1) / 3;
    let begin = max.saturating_sub(1) - end;
    label.chars().take(begin).chain(['…']).chain(label.chars().skip(n - end)).collect()
}

/// Breaks a text into lines of at most `max` characters where it has spaces.
fn wrap(text: &str, max: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= max => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Draws on an empty canvas of a height as shown, and returns the SVG document with a title for readers that cannot see it.
pub(super) fn canvas(
    title: &str,
    height: i32,
    draw: impl FnOnce(&Area) -> Result<(), String>,
) -> Result<String, ChartError> {
    let error = |reason: String| ChartError { figure: title.to_owned(), reason };
    let mut svg = String::new();
    {
        let size = (at(WIDTH).unsigned_abs(), at(height).unsigned_abs());
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&WHITE).map_err(|e| error(e.to_string()))?;
        draw(&root).map_err(error)?;
        root.present().map_err(|e| error(e.to_string()))?;
    }
    // plotters writes the size of its canvas; half of that is what is shown. `role` and <title> are for screen readers.
    let old = format!("<svg width=\"{}\" height=\"{}\" ", at(WIDTH), at(height));
    let Some(rest) = svg.strip_prefix(old.as_str()) else {
        return Err(error(format!("the SVG does not begin with {old:?}")));
    };
    let Some((attributes, body)) = rest.split_once('>') else {
        return Err(error("the SVG has no first tag".to_owned()));
    };
    let title = title.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    Ok(format!("<svg role=\"img\" width=\"{WIDTH}\" height=\"{height}\" {attributes}>\n<title>{title}</title>{body}"))
}

/// Draws title, subtitle and the marks of the run; returns the height used, as shown.
pub(super) fn head(root: &Area, title: &str, subtitle: &[String], marks: &[&str]) -> Result<i32, String> {
    let mut y = 14;
    put(root, title, (16, y), text(18, INK, HPos::Left, VPos::Top))?;
    y += 28;
    for words in marks {
        put(root, words, (16, y), text(13, WARNING, HPos::Left, VPos::Top))?;
        y += 19;
    }
    for line in lines(subtitle) {
        put(root, &line, (16, y), text(13, GREY, HPos::Left, VPos::Top))?;
        y += 19;
    }
    Ok(y + 6)
}

/// The lines of a subtitle.
fn lines(subtitle: &[String]) -> Vec<String> {
    subtitle.iter().flat_map(|text| wrap(text, 132)).collect()
}

/// Height of [`head`], as shown.
pub(super) fn head_height(subtitle: &[String], marks: &[&str]) -> i32 {
    48 + 19 * (lines(subtitle).len() as i32 + marks.len() as i32)
}

/// Draws a text at a place as shown.
pub(super) fn put(root: &Area, words: &str, (x, y): (i32, i32), style: TextStyle) -> Result<(), String> {
    root.draw(&Text::new(words.to_owned(), (at(x), at(y)), style)).map_err(|e| e.to_string())
}

/// Draws the sheet.
pub(super) fn draw(sheet: &Sheet) -> Result<String, ChartError> {
    let head_height = head_height(&sheet.subtitle, &sheet.marks);
    let height = head_height + sheet.row_height * sheet.rows.len() as i32 + legend_height(&sheet.legend);
    canvas(&sheet.title, height, |root| {
        let mut y = head(root, &sheet.title, &sheet.subtitle, &sheet.marks)?;
        for row in &sheet.rows {
            let panel_width = WIDTH / row.len().max(sheet.columns) as i32;
            for (i, panel) in row.iter().enumerate() {
                let corner = (at(panel_width * i as i32), at(y));
                let size = (at(panel_width).unsigned_abs(), at(sheet.row_height).unsigned_abs());
                draw_panel(root, &root.clone().shrink(corner, size), panel)?;
            }
            y += sheet.row_height;
        }
        draw_legend(root, &sheet.legend, y)
    })
}

/// Height of [`draw_legend`], as shown.
pub(super) fn legend_height(legend: &[(String, Look)]) -> i32 {
    legend_places(legend).iter().map(|(_, y)| y + LEGEND_ROW).max().unwrap_or(0) + 24
}

/// Draws a legend whose top is at `top`, as shown.
pub(super) fn draw_legend(root: &Area, legend: &[(String, Look)], top: i32) -> Result<(), String> {
    for ((label, look), (x, y)) in legend.iter().zip(legend_places(legend)) {
        let y = top + 10 + y + LEGEND_ROW / 2;
        stroke(root, &[(at(x + 16), at(y)), (at(x + 60), at(y))], look)?;
        point(root, (at(x + 38), at(y)), look)?;
        put(root, &short(label, LABEL_MAX), (x + 68, y), text(13, INK, HPos::Left, VPos::Center))?;
    }
    Ok(())
}

/// Where the entries of a legend stand, as shown, from its top left corner.
fn legend_places(legend: &[(String, Look)]) -> Vec<(i32, i32)> {
    let (mut x, mut y) = (0, 0);
    let mut places = Vec::new();
    for (label, _) in legend {
        let needed = 84 + width(&short(label, LABEL_MAX), 13);
        if x > 0 && x + needed > WIDTH - 16 {
            x = 0;
            y += LEGEND_ROW;
        }
        places.push((x, y));
        x += needed;
    }
    places
}

/// Draws a line in its dash pattern, in canvas units.
pub(super) fn stroke(root: &Area, line: &[(i32, i32)], look: &Look) -> Result<(), String> {
    for stroke in dashed(line, look.dash).into_iter().filter(|stroke| stroke.len() > 1) {
        root.draw(&PathElement::new(stroke, look.colour.stroke_width(4))).map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// Draws a marker, in canvas units.
pub(super) fn point(root: &Area, place: (i32, i32), look: &Look) -> Result<(), String> {
    let Some(shape) = look.marker else { return Ok(()) };
    let draw = |result: Result<(), DrawingAreaErrorKind<_>>| {
        result.map_err(|e: DrawingAreaErrorKind<std::io::Error>| e.to_string())
    };
    if shape == Marker::Circle {
        return draw(root.draw(&Circle::new(place, 10, look.colour.filled())));
    }
    let (filled, lines) = marker(shape, place, 10);
    if !filled.is_empty() {
        draw(root.draw(&Polygon::new(filled, look.colour)))?;
    }
    for line in lines {
        draw(root.draw(&PathElement::new(line.to_vec(), look.colour.stroke_width(5))))?;
    }
    Ok(())
}

/// A ring, larger than any filled marker: what is not found, or rests on little, is told apart at a glance, in print too.
pub(super) fn ring(root: &Area, place: (i32, i32), look: &Look) -> Result<(), String> {
    for (radius, colour) in [(15, look.colour), (10, WHITE)] {
        root.draw(&Circle::new(place, radius, colour.filled()))
            .map_err(|e: DrawingAreaErrorKind<std::io::Error>| e.to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_shortened_and_wrapped() {
        assert_eq!(short("overlay2", 8), "overlay2");
        assert_eq!(short("überlang", 5), "übe…g");
        assert_eq!(short("überlang", 0), "…");
        assert_eq!(wrap("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrap("unbreakable", 3), ["unbreakable"]);
    }

    #[test]
    fn a_legend_breaks_before_the_edge() {
        let look = super::super::style::nth(0);
        let legend: Vec<_> = (0..10).map(|_| ("x".repeat(200), look)).collect();
        let places = legend_places(&legend);
        assert!(places.iter().all(|(x, _)| x + 84 + width(&"x".repeat(LABEL_MAX), 13) <= WIDTH));
        assert!(places.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
