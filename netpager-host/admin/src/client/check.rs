//! `check` of a running service: it verifies what an export keeps, we show how far it is.

use std::time::Duration;

use clap::Args;

use super::words::name;
use super::{ClientArgs, ClientError};
use crate::observed::{JobState, Progression};
use crate::progress::Progress;

/// How often the service is asked how far it is.
const POLL: Duration = Duration::from_millis(250);

/// Have a running service read and verify everything an export keeps.
///
/// The exit code is 0 if all is well. Interrupting this command leaves the check running: `status` shows it.
#[derive(Args, Debug)]
pub struct CheckArgs {
    #[command(flatten)]
    service: ClientArgs,

    /// The export's name.
    export: String,

    /// Show no progress.
    #[arg(long, short)]
    quiet: bool,
}

impl CheckArgs {
    /// Does it.
    ///
    /// # Errors
    /// The service is not there or says no, or the export is damaged.
    pub fn run(&self) -> Result<(), ClientError> {
        let client = self.service.client()?;
        let started: JobState = client.post("/export/check", &[("name", &self.export)], &())?;
        let id = started.id.to_string();
        let mut progress = Progress::bytes("checking", Some(started.total_bytes), self.quiet);
        let mut told = 0;
        let ended = loop {
            let job: JobState = client.get("/job", &[("id", &id)])?;
            progress.set_total(job.total_bytes);
            progress.set(job.done_bytes);
            for fault in job.faults.iter().skip(told) {
                progress.say(&name(fault));
            }
            told = told.max(job.faults.len());
            if job.state != Progression::Running {
                break job;
            }
            std::thread::sleep(POLL);
        };
        let summary = progress.finish();
        match ended.state {
            Progression::Faulty => Err(ClientError::Faulty { export: self.export.clone(), count: ended.fault_count }),
            Progression::Cancelled => Err(ClientError::Cancelled(self.export.clone())),
            Progression::Done | Progression::Running => {
                if !self.quiet {
                    eprintln!("{summary}; no fault was found");
                }
                Ok(())
            }
        }
    }
}
