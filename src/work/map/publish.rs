//! Publishes the new version: every row of the input with its answer, or those of the last version
//! that stay.

use dcfs_core::answer::{self, Held};
use dcfs_core::cell::Cell;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::id::RowId;
use dcfs_core::json;
use dcfs_core::render::numbers::counted;
use dcfs_core::schema::{Layout, Signal, SignalKind};
use dcfs_data::catalog::{
    JobCounts, JobDone, Piece, Publication, Saved, Stage, VersionInfo, Writer,
};
use dcfs_data::runs::{self, Answer, Answers, RunFile};
use serde_json::json;

use super::delta::Step;
use super::identity::{self, Recipe};
use super::plan::{Plan, Rows};
use super::silent;
use super::{Input, Request, Shape, Watch, printed};

/// Rows written to the catalog at a time.
const BATCH: usize = 1024;

/// The versions that rows are copied from, by index.
const INPUT: usize = 0;
const LAST: usize = 1;

/// The input for a version.
pub struct Publishing<'p> {
    pub input: &'p Input<'p>,
    pub request: &'p Request,
    pub plan: &'p Plan,
    pub rows: &'p Rows,
    pub last: Option<&'p VersionInfo>,
    /// The recipe of that version.
    pub made: Option<&'p Recipe>,
    /// The digest of the program now.
    pub digest: &'p str,
    pub run: &'p RunFile,
    /// The program's name.
    pub program: String,
    /// The command, followed by the text of the program if it is a script.
    pub query: &'p str,
    /// The number of rows computed, of rows that existed, and the seconds of the run.
    pub done: (u64, u64, f64),
    pub watch: &'p (dyn Watch + Sync),
}

/// Makes the version.
///
/// # Errors
/// Errors of the catalog; a row without an answer. The run's file stays.
pub fn publish(publishing: &Publishing<'_>) -> Result<Saved> {
    let Publishing { input, request, plan, rows, last, run, watch, .. } = *publishing;
    let mut writer = Writer::open(input.catalog.path())?;
    writer.in_order()?;
    let mut stage = writer.stage(plan.layout.clone())?;
    stage.watch(|rows| watch.wrote(rows));
    let mut of = vec![input.of.clone()];
    of.extend(last.cloned());
    let added = Layout::of_signals(&plan.signals);
    let names: Vec<&str> = added.columns.iter().map(|column| column.name.as_str()).collect();
    let mut joining = Joining {
        plan,
        answers: run.answers(),
        ready: Vec::new(),
        wanted: 0,
        kept: 0,
        many: plan.types.is_many,
        silent: Vec::new(),
    };
    match rows {
        Rows::All | Rows::Groups(_) => {
            let done = run.done(false)?;
            let missing = rows.count(input.rows).saturating_sub(done.len());
            if missing > 0 {
                let message =
                    format!("{} of `{}` have no answer", counted(missing, "row"), input.of);
                return Err(Error::new(Kind::Stale, message));
            }
            for range in rows.ranges(&input.chosen)? {
                if range == RowId::ALL {
                    for number in &done {
                        joining.computed(runs::row(number))?;
                        joining.write(&mut stage, &of, &names, BATCH)?;
                    }
                    continue;
                }
                for row in range.start().key()..=range.end().key() {
                    joining.computed(RowId::new(row))?;
                    joining.write(&mut stage, &of, &names, BATCH)?;
                }
            }
        }
        Rows::Delta(delta) => {
            delta.compared.each(|step| {
                match step {
                    Step::Keep(row) => joining.keep(row),
                    Step::Compute(row) => joining.computed(row)?,
                    Step::Nothing(_) => {}
                }
                joining.write(&mut stage, &of, &names, BATCH)
            })?;
        }
    }
    joining.write(&mut stage, &of, &names, 0)?;
    if stage.rows()? != joining.wanted {
        let message = format!("rows of `{}` were removed while they were computed", input.of);
        return Err(Error::new(Kind::Stale, message));
    }
    let silent = match request.shape {
        Shape::Gen => silent(publishing, &mut joining.silent)?,
        Shape::Map | Shape::Agg => None,
    };
    let made = publishing.made.filter(|_| matches!(rows, Rows::Delta(_)));
    let programs = identity::programs(made, joining.kept, run.programs()?, publishing.digest);
    // Rows that failed before and were not tried again still count.
    let old =
        made.filter(|_| !request.retry_errors).map_or(0, |made| made.errors.min(joining.kept));
    let errors = run.done(true)?.len() + old;
    let (computed, reused, seconds) = publishing.done;
    let about = run.about()?;
    let recipe = Recipe {
        kind: request.shape.text().to_owned(),
        identity: plan.identity.hash(),
        parts: plan.identity.0.clone(),
        input: input.of.dataset.whole(),
        input_version: input.of.version.to_string(),
        input_uuid: input.of.uuid.clone(),
        filter: request.filter.clone(),
        out: printed(&plan.signals),
        program: publishing.program.clone(),
        programs: programs.clone(),
        errors,
        computed,
        seconds: (seconds * 1000.0).round() / 1000.0,
        words: request.provenance.command.clone(),
        folder: request.provenance.folder.clone(),
        silent,
    };
    let mut provenance = request.provenance.clone();
    provenance.recipe = serde_json::to_value(&recipe).ok();
    let details = json!({ "dcfs": 1, "errors": errors, "digests": programs });
    let identity = plan.identity.hash();
    let job = JobDone {
        id: &about.id,
        hash: &identity,
        // DataChain records its `agg` under this name, too.
        step: if request.shape == Shape::Map { "UDF_MAP" } else { "UDF_GEN" },
        program: &publishing.program,
        counts: JobCounts {
            input: rows.count(input.rows),
            processed: computed,
            output: joining.wanted,
            reused,
        },
        details: &details,
    };
    let upon = match rows {
        Rows::Delta(_) => last.map(|last| last.id),
        Rows::All | Rows::Groups(_) => None,
    };
    stage.publish(&Publication {
        name: &request.name,
        number: request.number,
        upon,
        parents: &[input.of.id],
        script: publishing.query,
        description: request.description.as_deref(),
        attrs: request.attrs.as_deref(),
        provenance: &provenance,
        job: Some(&job),
    })
}

/// The digests of input rows that gave no row: those of this run, and those known before.
fn silent(publishing: &Publishing<'_>, rows: &mut [RowId]) -> Result<Option<String>> {
    let Publishing { input, plan, .. } = *publishing;
    let kept = plan.kept();
    if kept.is_empty() {
        return Ok(None);
    }
    rows.sort_unstable();
    let mut digests = silent::of_rows((&input.catalog, &input.of), &kept, rows)?;
    if let Rows::Delta(delta) = publishing.rows {
        digests.extend_from_slice(&delta.silent);
    }
    Ok(silent::written(digests))
}

/// A row of the new version before its cells are made.
enum Ready {
    /// Unchanged from a version.
    Copied(Piece<Vec<u8>>),
    /// A row of the input, with an answer: JSON, or the reason why there is none.
    Answered(RowId, Answer),
}

/// Joins rows and answers.
struct Joining<'j> {
    plan: &'j Plan,
    answers: Answers<'j>,
    ready: Vec<Ready>,
    /// The number of rows that the version should have, and of those from the last version.
    wanted: u64,
    kept: u64,
    many: bool,
    /// Rows of the input that gave no row.
    silent: Vec<RowId>,
}

impl Joining<'_> {
    fn keep(&mut self, row: RowId) {
        self.wanted += 1;
        self.kept += 1;
        self.ready.push(Ready::Copied(Piece::Rows(LAST, row..=row)));
    }

    fn computed(&mut self, row: RowId) -> Result<()> {
        let answer = self.answers.of(row)?.ok_or_else(|| {
            Error::new(
                Kind::Stale,
                format!(
                    "row {row} has no answer: it is gone, or was computed by a run that was removed"
                ),
            )
        })?;
        match answer {
            Answer::Value(values) if self.many => {
                let before = self.wanted;
                for value in json::items(&values).into_iter().flatten() {
                    self.wanted += 1;
                    self.ready.push(Ready::Answered(row, Answer::Value(value.to_vec())));
                }
                if self.wanted == before {
                    self.silent.push(row);
                }
            }
            answer => {
                self.wanted += 1;
                self.ready.push(Ready::Answered(row, answer));
            }
        }
        Ok(())
    }

    /// Writes the pending rows, if there are more than `most`.
    fn write(
        &mut self,
        stage: &mut Stage<'_>,
        of: &[VersionInfo],
        names: &[&str],
        most: usize,
    ) -> Result<()> {
        if self.ready.len() <= most {
            return Ok(());
        }
        let ready = std::mem::take(&mut self.ready);
        let mut pieces: Vec<Piece<Cells<'_>>> = Vec::with_capacity(ready.len());
        for row in &ready {
            match row {
                Ready::Copied(Piece::Rows(of, range)) => {
                    Piece::copied(&mut pieces, *of, *range.start());
                }
                Ready::Copied(_) => {}
                Ready::Answered(row, answer) => {
                    pieces.push(Piece::Row(INPUT, *row, self.cells(answer)?));
                }
            }
        }
        let pieces: Vec<Piece<Vec<Cell<'_>>>> = pieces.iter().map(borrowed).collect();
        stage.mix(of, names, pieces)
    }

    /// The cells of the added columns.
    fn cells<'a>(&self, answer: &'a Answer) -> Result<Cells<'a>> {
        let has_error = self.plan.error.is_some();
        let signals = &self.plan.signals[..self.plan.types.signals.len()];
        let (mut cells, error) = match answer {
            Answer::Error(why) => (answer::nothing(signals), Held::Text(why.as_bytes().into())),
            Answer::Value(value) => {
                let cells = answer::cells(&self.plan.types.signals, value)
                    .map_err(|wrong| Error::new(Kind::Broken, wrong))?;
                (tagged(signals, &self.plan.types.signals, cells), Held::Null)
            }
        };
        if has_error {
            cells.push(error);
        }
        Ok(cells)
    }
}

type Cells<'a> = Vec<Held<'a>>;

/// If rows may fail, every model has a tag that says whether it is present.
fn tagged<'a>(signals: &[Signal], declared: &[Signal], cells: Cells<'a>) -> Cells<'a> {
    let mut cells = cells.into_iter();
    let mut all = Vec::new();
    for (signal, was) in signals.iter().zip(declared) {
        let count = answer::nothing(std::slice::from_ref(was)).len();
        let is_model =
            matches!(signal.kind, SignalKind::Model(_) | SignalKind::File | SignalKind::Image);
        if is_model && signal.optional && !was.optional {
            all.push(Held::Integer(0));
        }
        all.extend(cells.by_ref().take(count));
    }
    all
}

fn borrowed<'p>(piece: &'p Piece<Cells<'_>>) -> Piece<Vec<Cell<'p>>> {
    let cells = |held: &'p Cells<'_>| held.iter().map(Held::cell).collect();
    match piece {
        Piece::Rows(of, range) => Piece::Rows(*of, range.clone()),
        Piece::Row(of, row, held) => Piece::Row(*of, *row, cells(held)),
        Piece::New(held) => Piece::New(cells(held)),
    }
}
