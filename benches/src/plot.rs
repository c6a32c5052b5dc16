//! Plots: one SVG file a section.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use crate::{
    format,
    measure::{Figure, Series},
    ops::growth,
    report::Report,
};

const WIDTH: u32 = 860;
const ROW: i32 = 20;
const TITLE: i32 = 30;
/// Left of the axis: the contenders' names; right of it: their figures.
const LEFT: i32 = 220;
const RIGHT: i32 = WIDTH as i32 - 200;

const OURS: RGBColor = RGBColor(0, 106, 176);
const PEER: RGBColor = RGBColor(150, 150, 150);
const GRID: RGBColor = RGBColor(225, 225, 225);
const INK: RGBColor = RGBColor(40, 40, 40);

/// Plots all sections, and gives the name of each one's file.
///
/// # Errors
///
/// If the folder or a file cannot be written.
pub(crate) fn write(report: &Report, folder: &Path) -> io::Result<BTreeMap<String, PathBuf>> {
    fs::create_dir_all(folder)?;
    let mut files = BTreeMap::new();
    for (section, series) in report.sections() {
        let path = folder.join(format!("{}.svg", slug(section)));
        let drawn = if section == growth::SECTION {
            line(section, &series)
        } else {
            dots(&series)
        };
        // The backend's own trailing line ends are kept out of the repository.
        fs::write(
            &path,
            drawn.map_err(io::Error::other)?.trim_end().to_owned() + "\n",
        )?;
        files.insert(section.to_owned(), path);
    }
    Ok(files)
}

fn slug(section: &str) -> String {
    let words = section.split(|letter: char| !letter.is_ascii_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join("-").to_lowercase()
}

type Drawn = Result<(), String>;

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A panel a series: a dot a contender at its median, with a line from the lower to
/// the upper quartile, on a logarithmic axis.
fn dots(series: &[&Series]) -> Result<String, String> {
    let height = |series: &Series| TITLE + ROW * series.figures.len() as i32 + ROW;
    let total: i32 = series.iter().map(|series| height(series)).sum();
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, total as u32)).into_drawing_area();
        root.fill(&WHITE).map_err(text)?;
        let mut top = 0;
        for series in series {
            panel(&root, series, top)?;
            top += height(series);
        }
        root.present().map_err(text)?;
    }
    Ok(svg)
}

fn panel(root: &DrawingArea<SVGBackend<'_>, Shift>, series: &Series, top: i32) -> Drawn {
    let style = |size: i32, colour: &RGBColor, horizontal| {
        ("sans-serif", size)
            .into_font()
            .color(colour)
            .pos(Pos::new(horizontal, VPos::Center))
    };
    root.draw(&Text::new(
        format!("{} (less is better)", series.title()),
        (10, top + TITLE / 2),
        style(15, &INK, HPos::Left),
    ))
    .map_err(text)?;
    let axis = Axis::over(series);
    let bottom = top + TITLE + ROW * series.figures.len() as i32;
    for tick in axis.ticks() {
        let x = axis.place(tick);
        root.draw(&PathElement::new(vec![(x, top + TITLE), (x, bottom)], GRID))
            .map_err(text)?;
        root.draw(&Text::new(
            format::figure(tick, series.unit),
            (x, bottom + ROW / 3),
            style(11, &PEER, HPos::Center),
        ))
        .map_err(text)?;
    }
    for (number, figure) in series.figures.iter().enumerate() {
        let y = top + TITLE + ROW * number as i32 + ROW / 2;
        let colour = if figure.ours { &OURS } else { &PEER };
        root.draw(&Text::new(
            figure.contender.clone(),
            (LEFT - 10, y),
            style(13, if figure.ours { &OURS } else { &INK }, HPos::Right),
        ))
        .map_err(text)?;
        let (lower, upper) = (axis.place(figure.lower), axis.place(figure.upper));
        root.draw(&PathElement::new(
            vec![(lower, y), (upper, y)],
            colour.stroke_width(2),
        ))
        .map_err(text)?;
        root.draw(&Circle::new(
            (axis.place(figure.median), y),
            5,
            colour.filled(),
        ))
        .map_err(text)?;
        root.draw(&Text::new(
            format::figure(figure.median, series.unit),
            (RIGHT + 20, y),
            style(13, &INK, HPos::Left),
        ))
        .map_err(text)?;
    }
    Ok(())
}

/// A logarithmic axis.
struct Axis {
    least: f64,
    most: f64,
}

impl Axis {
    fn over(series: &Series) -> Self {
        let all = |figure: &Figure| [figure.lower, figure.upper, figure.median];
        let values = series.figures.iter().flat_map(all);
        let (least, most) = values
            .filter(|value| *value > 0.0)
            .fold((f64::MAX, f64::MIN_POSITIVE), |(least, most), value| {
                (least.min(value), most.max(value))
            });
        Self {
            least: least.min(most) / 1.3,
            most: most * 1.3,
        }
    }

    fn place(&self, value: f64) -> i32 {
        let part = (value.max(self.least) / self.least).ln() / (self.most / self.least).ln();
        LEFT + (part * f64::from(RIGHT - LEFT)).round() as i32
    }

    /// Round numbers: as many as there is room for.
    fn ticks(&self) -> Vec<f64> {
        let decades = (self.most / self.least).log10();
        let steps: &[f64] = if decades > 2.5 {
            &[1.0]
        } else if decades > 0.5 {
            &[1.0, 2.0, 5.0]
        } else {
            &[1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
        };
        let first = self.least.log10().floor() as i32;
        let last = self.most.log10().ceil() as i32;
        let every = 1 + (last - first) as usize / 8;
        let ticks = (first..=last).step_by(every);
        ticks
            .flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)))
            .filter(|tick| (self.least..=self.most).contains(tick))
            .collect()
    }
}

/// A line a contender, over the operations of the section in their order.
fn line(section: &str, series: &[&Series]) -> Result<String, String> {
    const COLOURS: [RGBColor; 6] = [
        PEER,
        RGBColor(214, 118, 26),
        RGBColor(120, 80, 50),
        OURS,
        RGBColor(30, 150, 90),
        RGBColor(150, 60, 160),
    ];
    let axis = |value: fn(&Figure) -> f64, most: bool| {
        let values = series
            .iter()
            .flat_map(|series| series.figures.iter().map(value));
        values.fold(f64::NAN, |a, b| if most { a.max(b) } else { a.min(b) })
    };
    let least = axis(|figure| figure.lower, false).max(1.0) / 1.3;
    let most = axis(|figure| figure.upper, true) * 1.3;
    let Some(first) = series.first() else {
        return Err(format!("there is nothing in {section}"));
    };
    let last = series.len().saturating_sub(1) as f64;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, 420)).into_drawing_area();
        root.fill(&WHITE).map_err(text)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(
                format!("{section}: spawn and join, time a task (less is better)"),
                ("sans-serif", 15),
            )
            .margin(10)
            .margin_right(40)
            .x_label_area_size(30)
            .y_label_area_size(70)
            .build_cartesian_2d(0.0..last.max(1.0), (least..most).log_scale())
            .map_err(text)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_labels(series.len())
            .x_label_formatter(&|place| {
                let series = series.get(place.round() as usize);
                series.map_or_else(String::new, |series| series.operation.clone())
            })
            .y_label_formatter(&|value| format::figure(*value, first.unit))
            .draw()
            .map_err(text)?;
        for (figure, colour) in first.figures.iter().zip(COLOURS.into_iter().cycle()) {
            let points = series.iter().enumerate().filter_map(|(place, series)| {
                let figure = series.figure(&figure.contender)?;
                Some((place as f64, figure.median))
            });
            chart
                .draw_series(LineSeries::new(points, colour.stroke_width(2)).point_size(3))
                .map_err(text)?
                .label(figure.contender.clone())
                .legend(move |(x, y)| {
                    PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2))
                });
        }
        chart
            .configure_series_labels()
            .background_style(WHITE)
            .border_style(GRID)
            .position(SeriesLabelPosition::UpperRight)
            .draw()
            .map_err(text)?;
        root.present().map_err(text)?;
    }
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_after_sections() {
        assert_eq!(
            slug("Round trips, back to back"),
            "round-trips-back-to-back"
        );
    }

    #[test]
    fn a_logarithmic_axis_places_equal_ratios_equally_far_apart() {
        let axis = Axis {
            least: 1.0,
            most: 100.0,
        };
        assert_eq!(axis.place(1.0), LEFT);
        assert_eq!(axis.place(10.0), (LEFT + RIGHT) / 2);
        assert_eq!(axis.place(100.0), RIGHT);
        assert!(axis.ticks().contains(&10.0));
    }
}
