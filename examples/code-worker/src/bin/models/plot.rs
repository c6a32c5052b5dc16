//! Plots of tables: a panel for each row, a dot for each model.

use std::{fs, io, path::Path};

use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use crate::table::{Table, Unit};

const WIDTH: u32 = 860;
const ROW: i32 = 20;
const TITLE: i32 = 30;
/// Left of the axis: the models; right of it: their figures.
const LEFT: i32 = 110;
const RIGHT: i32 = WIDTH as i32 - 240;

const MODELS: [RGBColor; 3] = [
    RGBColor(120, 94, 240),
    RGBColor(0, 106, 176),
    RGBColor(200, 90, 0),
];
const GRID: RGBColor = RGBColor(225, 225, 225);
const FAINT: RGBColor = RGBColor(110, 110, 110);
const INK: RGBColor = RGBColor(40, 40, 40);

/// Writes the table's plot into the folder.
pub(crate) fn write(table: &Table, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let path = folder.join(format!("{}.svg", table.file));
    let drawn = draw(table).map_err(io::Error::other)?;
    // The backend's own trailing line ends are kept out of the repository.
    fs::write(path, drawn.trim_end().to_owned() + "\n")
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn draw(table: &Table) -> Result<String, String> {
    let height = TITLE + ROW * 4;
    let total = height * i32::try_from(table.rows.len()).map_err(text)?;
    let total = u32::try_from(total).map_err(text)?;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, total)).into_drawing_area();
        root.fill(&WHITE).map_err(text)?;
        let mut top = 0;
        for row in &table.rows {
            panel(&root, row, top)?;
            top += height;
        }
        root.present().map_err(text)?;
    }
    Ok(svg)
}

fn panel(
    root: &DrawingArea<SVGBackend<'_>, Shift>,
    row: &crate::table::Row,
    top: i32,
) -> Result<(), String> {
    let label = |text: String, x: i32, y: i32, size: i32, colour: &RGBColor, to: HPos| {
        let style = ("sans-serif", size).into_font().color(colour);
        let style = style.pos(Pos::new(to, VPos::Center));
        root.draw(&Text::new(text, (x, y), style))
    };
    let title = format!("{} (less is better)", row.name.replace('`', ""));
    label(title, 10, top + TITLE / 2, 15, &INK, HPos::Left).map_err(text)?;
    let figures = row.figures.iter().flatten();
    let least = figures.clone().map(|figure| figure.value);
    let most = figures.map(|figure| figure.most.unwrap_or(figure.value));
    let axis = Axis::new(least.fold(f64::MAX, f64::min), most.fold(0.0, f64::max));
    let bottom = top + TITLE + ROW * 3;
    for tick in axis.ticks() {
        let x = axis.place(tick);
        let line = vec![(x, top + TITLE), (x, bottom)];
        root.draw(&PathElement::new(line, GRID)).map_err(text)?;
        let tick = row.unit.of(tick);
        label(tick, x, bottom + ROW / 3, 11, &FAINT, HPos::Center).map_err(text)?;
    }
    for (number, figure) in (0..).zip(&row.figures) {
        let model = crate::table::MODELS[number];
        let colour = MODELS[number];
        let y = top + TITLE + ROW * i32::try_from(number).map_err(text)? + ROW / 2;
        label(model.to_owned(), LEFT - 10, y, 13, &colour, HPos::Right).map_err(text)?;
        let Some(figure) = figure else {
            label("refused".to_owned(), RIGHT + 20, y, 13, &FAINT, HPos::Left).map_err(text)?;
            continue;
        };
        let x = axis.place(figure.value);
        if let Some(most) = figure.most {
            let line = vec![(x, y), (axis.place(most), y)];
            let line = PathElement::new(line, colour.stroke_width(2));
            root.draw(&line).map_err(text)?;
        }
        root.draw(&Circle::new((x, y), 5, colour.filled()))
            .map_err(text)?;
        let figure = figure.text(row.unit);
        label(figure, RIGHT + 20, y, 13, &INK, HPos::Left).map_err(text)?;
    }
    Ok(())
}

/// A logarithmic axis, from a power of ten to another.
struct Axis {
    from: i32,
    to: i32,
}

impl Axis {
    #[allow(clippy::cast_possible_truncation, reason = "a handful of decades")]
    fn new(least: f64, most: f64) -> Self {
        let from = least.max(1e-9).log10().floor() as i32;
        let to = most.max(1e-9).log10().ceil() as i32;
        Self {
            from,
            to: to.max(from + 1),
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "within the picture")]
    fn place(&self, value: f64) -> i32 {
        let part =
            (value.max(1e-9).log10() - f64::from(self.from)) / f64::from(self.to - self.from);
        LEFT + (part * f64::from(RIGHT - LEFT)).round() as i32
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        (self.from..=self.to).map(|power| 10f64.powi(power))
    }
}

impl Unit {
    /// A tick's number.
    fn of(self, value: f64) -> String {
        self.text(value)
    }
}
