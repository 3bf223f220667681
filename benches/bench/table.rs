//! What a run prints: a line for each measurement, with its target and whether it was met.
//!
//! ```text
//!  what │ measured │ compared with │ ratio or value │ target │ verdict
//! ```

use comfy_table::{Cell, CellAlignment, Table};

/// One measurement.
pub(crate) struct Row {
    what: String,
    measured: String,
    against: String,
    value: Option<Value>,
}

struct Value {
    shown: String,
    target: String,
    /// By what factor the target was missed; below one it was met.
    miss: Option<f64>,
}

impl Row {
    pub(crate) fn new(what: impl Into<String>, measured: impl Into<String>) -> Self {
        Self { what: what.into(), measured: measured.into(), against: String::new(), value: None }
    }

    /// What it is compared with, in words and numbers.
    pub(crate) fn against(mut self, against: impl Into<String>) -> Self {
        self.against = against.into();
        self
    }

    /// A number without a target.
    pub(crate) fn shows(mut self, shown: impl Into<String>) -> Self {
        self.value = Some(Value { shown: shown.into(), target: String::new(), miss: None });
        self
    }

    /// The value has to be at least this.
    pub(crate) fn at_least(mut self, value: f64, target: f64, unit: &str) -> Self {
        self.value = Some(Value {
            shown: number(value, unit),
            target: format!("≥ {}", number(target, unit)),
            miss: Some(target / value.max(1e-9)),
        });
        self
    }

    /// The value has to be at most this.
    pub(crate) fn at_most(mut self, value: f64, target: f64, unit: &str) -> Self {
        self.value = Some(Value {
            shown: number(value, unit),
            target: format!("≤ {}", number(target, unit)),
            miss: Some(value / target),
        });
        self
    }

    fn is_missed(&self) -> bool {
        self.value.as_ref().and_then(|value| value.miss).is_some_and(|miss| miss > 1.0)
    }
}

/// `1.4×`, `12 ms`, `860/s`: as many digits as a reader can use.
pub(crate) fn number(value: f64, unit: &str) -> String {
    let digits = match value.abs() {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        value if value >= 0.1 => 2,
        _ => 3,
    };
    let gap = if unit.starts_with(['×', '/']) { "" } else { " " };
    format!("{value:.digits$}{gap}{unit}")
}

/// Prints the rows to stdout; whether every target was met.
pub(crate) fn print(rows: &[Row]) -> bool {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::ASCII_MARKDOWN);
    table.set_header(["what", "measured", "compared with", "value", "target", ""]);
    for row in rows {
        let (shown, target, verdict) = match &row.value {
            None => (String::new(), String::new(), String::new()),
            Some(Value { shown, target, miss }) => {
                let verdict = match miss {
                    None => String::new(),
                    Some(miss) if *miss > 1.0 => format!("missed by {:.0} %", (miss - 1.0) * 100.0),
                    Some(_) => "ok".to_owned(),
                };
                (shown.clone(), target.clone(), verdict)
            }
        };
        let mut cells: Vec<Cell> = [&row.what, &row.measured, &row.against].into_iter().map(Cell::new).collect();
        cells.extend([shown, target].into_iter().map(|text| Cell::new(text).set_alignment(CellAlignment::Right)));
        cells.push(Cell::new(verdict));
        table.add_row(cells);
    }
    println!("{table}");
    !rows.iter().any(Row::is_missed)
}
