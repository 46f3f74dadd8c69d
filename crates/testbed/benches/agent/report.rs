//! The figures of all programs side by side, as a table or as JSON.

use crate::case::{Case, Figure, Measured};
use crate::figures::{Table, grouped, median};
use crate::machine::{Machine, Strain};
use crate::options::Options;
use anyhow::Result;
use serde_json::{Value, json};

/// The values of all figures.
pub(crate) struct Report {
    programs: Vec<String>,
    command: String,
    is_json: bool,
    rows: Vec<Row>,
}

/// The values of one figure, of each program.
struct Row {
    case: &'static Case,
    figure: &'static Figure,
    values: Vec<Vec<Result<f64, String>>>,
}

impl Report {
    /// A report without values.
    pub(crate) fn new(options: &Options) -> Self {
        let programs: Vec<String> = options.programs.iter().map(|path| path.display().to_string()).collect();
        let named: String = programs.iter().map(|program| format!(" --nexin {program}")).collect();
        let cases: String = options.cases.iter().map(|case| format!(" --case {case}")).collect();
        let command = format!(
            "cargo bench -p nexin-testbed --bench agent --{named}{cases} --scale {} --rounds {}",
            options.scale, options.rounds
        );
        Self { programs, command, is_json: options.is_json, rows: Vec::new() }
    }

    /// Adds the values of one run of a case.
    pub(crate) fn add(&mut self, case: &'static Case, program: usize, measured: Vec<Measured>) {
        for figure in case.figures {
            let is_this = |row: &Row| std::ptr::eq(row.figure, figure);
            if !self.rows.iter().any(is_this) {
                self.rows.push(Row { case, figure, values: vec![Vec::new(); self.programs.len()] });
            }
            let row = self.rows.iter_mut().find(|row| is_this(row)).expect("it was added");
            let values = measured.iter().filter(|measured| measured.name == figure.name);
            row.values[program].extend(values.map(|measured| measured.value.clone()));
        }
    }

    /// Prints the machine, what else it did, the command, and the values.
    pub(crate) fn print(&self, machine: &Machine, (before, after): (Strain, Strain)) -> Result<()> {
        let stolen = after.stolen - before.stolen;
        if self.is_json {
            let value = json!({
                "machine": machine.to_string(),
                "load": [before.ready, after.ready],
                "stolen_seconds": stolen,
                "command": self.command,
                "figures": self.rows.iter().map(|row| row.json(&self.programs)).collect::<Vec<_>>(),
            });
            println!("{}", serde_json::to_string_pretty(&value)?);
            return Ok(());
        }
        println!("{machine}\n{}", self.command);
        println!(
            "Tasks ready to run, on average of a minute: {:.1} before, {:.1} after. CPU time that the hypervisor gave \
             to others meanwhile: {stolen:.1} s.\n",
            before.ready, after.ready
        );
        for (index, program) in self.programs.iter().enumerate() {
            println!("[{}] {program}", index + 1);
        }
        let columns: Vec<String> = (1..=self.programs.len()).map(|number| format!("[{number}]")).collect();
        let mut header = vec!["figure", "unit", "target"];
        header.extend(columns.iter().map(String::as_str));
        let mut case = "";
        let mut table = Table::new(&header);
        for row in &self.rows {
            if std::mem::replace(&mut case, row.case.name) != row.case.name {
                table.push([format!("{}: {}", row.case.name, row.case.about)]);
            }
            table.push(row.cells());
        }
        println!();
        table.lines().iter().for_each(|line| println!("{line}"));
        Ok(())
    }
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let target = self.figure.target.map_or(String::new(), |target| format!("<= {}", number(target)));
        let mut cells = vec![format!("  {}", self.figure.name), self.figure.unit.into(), target];
        cells.extend(self.values.iter().map(|values| self.cell(values)));
        cells
    }

    /// The median of the rounds, a mark where the target is missed, and the extremes of several rounds.
    fn cell(&self, values: &[Result<f64, String>]) -> String {
        let numbers: Vec<f64> = values.iter().filter_map(|value| value.clone().ok()).collect();
        if let Some(why) = values.iter().find_map(|value| value.as_ref().err()) {
            return why.chars().take(60).collect();
        }
        if numbers.is_empty() {
            return "-".into();
        }
        let middle = median(&numbers);
        let mark = if self.figure.target.is_some_and(|target| middle > target) { "!" } else { "" };
        let (low, high) =
            numbers.iter().fold((f64::MAX, f64::MIN), |(low, high), &one| (low.min(one), high.max(one)));
        match numbers.len() {
            1 => format!("{mark}{}", number(middle)),
            _ => format!("{mark}{} ({}-{})", number(middle), number(low), number(high)),
        }
    }

    fn json(&self, programs: &[String]) -> Value {
        let values: serde_json::Map<String, Value> = programs
            .iter()
            .zip(&self.values)
            .map(|(program, values)| {
                let values = values.iter().map(|value| match value {
                    Ok(number) => json!(number),
                    Err(why) => json!(why),
                });
                (program.clone(), values.collect())
            })
            .collect();
        json!({
            "case": self.case.name,
            "figure": self.figure.name,
            "unit": self.figure.unit,
            "target": self.figure.target,
            "values": values,
        })
    }
}

/// A number with as many digits as matter.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        value if value >= 100.0 => grouped(value),
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
