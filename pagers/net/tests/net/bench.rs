//! A pager on pipes, and the kernel's half of the protocol played against it.

use abi::vm::PAGE_SIZE;
use net_pager::seal::{SealKey, Sealing};
use net_pager::secure::Secure;
use net_pager::{Net, Settings};
use pager::Run;
use pager::testing::{Answer, Harness, Mapped};
use tls::Credentials;

use crate::pipes::Pipes;
use crate::server::NAME;

pub(crate) const MIB: usize = 1 << 20;

pub(crate) struct Bench {
    pub(crate) harness: Harness<Net<Secure<Pipes>>>,
    pub(crate) pipes: Pipes,
}

pub(crate) fn settings() -> Settings {
    Settings { export: NAME.into(), requires_tls: false, seal: None, boot_id: [7; 16], takes_foreign: false, deadline_ms: 30_000 }
}

pub(crate) fn run(page: u64, pages: u64) -> Run {
    Run::of_pages(page, pages).unwrap()
}

/// What a page holds: something else for each page and version; version 0 is zero.
pub(crate) fn page(number: u64, version: u64) -> Vec<u8> {
    let word = if version == 0 { 0 } else { number * 1_000_003 + version };
    word.to_le_bytes().repeat(PAGE_SIZE as usize / 8)
}

impl Bench {
    pub(crate) fn new(pipes: Pipes) -> Self {
        Self::with(pipes, &settings())
    }

    pub(crate) fn with(pipes: Pipes, settings: &Settings) -> Self {
        Self::secure(pipes, None, settings)
    }

    pub(crate) fn secure(pipes: Pipes, credentials: Option<Credentials>, settings: &Settings) -> Self {
        let streams = Secure::new(pipes.clone(), credentials);
        let harness = Harness::new(|_| Net::new(streams, settings).expect("a short name"));
        Self { harness, pipes }
    }

    /// With sealed pages, attached.
    pub(crate) fn sealed(pipes: Pipes, seed: u64, sealing: Sealing) -> Self {
        let key = (sealing != Sealing::Off).then(|| (SealKey([seed as u8; 32]), sealing == Sealing::Full));
        Self::with(pipes, &Settings { seal: key, ..settings() }).attach()
    }

    /// With an export of so many MiB, attached.
    pub(crate) fn attached(connections: usize, mib: usize, seed: u64) -> Self {
        Self::new(Pipes::with_store(connections, mib * MIB, seed)).attach()
    }

    pub(crate) fn attach(mut self) -> Self {
        self.until(|bench| bench.harness.server.pager().is_attached());
        self
    }

    /// Lets time pass, a little at a time, until something is so.
    pub(crate) fn until(&mut self, is_so: impl Fn(&mut Self) -> bool) {
        for _ in 0..200_000 {
            self.turn();
            if is_so(self) {
                return;
            }
            self.harness.kernel.advance_ms(1);
        }
        panic!("it never became so; {}", self.harness.kernel.console());
    }

    /// Serves all that is there now.
    pub(crate) fn turn(&mut self) {
        // As the ring's news would.
        self.harness.server.pager_mut().turn();
        self.harness.pump();
        #[cfg(debug_assertions)]
        self.harness.server.pager().check();
    }

    pub(crate) fn pass_ms(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds {
            self.turn();
            self.harness.kernel.advance_ms(1);
        }
        self.turn();
    }

    /// Until every job is done.
    pub(crate) fn settle(&mut self) {
        self.until(|bench| bench.harness.server.pager().open_jobs() == 0);
    }

    pub(crate) fn object(&mut self, mib: usize) -> Mapped {
        let mapped = self.harness.create((mib * MIB) as u64).expect("there is room");
        // Ready, and what the pager can do.
        assert_eq!(self.harness.answers(&mapped).len(), 2);
        mapped
    }

    /// Pages of a version come home.
    pub(crate) fn give(&mut self, object: &Mapped, pages: Run, version: u64) {
        let numbers = pages.first_page()..pages.first_page() + pages.pages();
        let bytes = numbers.flat_map(|number| page(number, version)).collect();
        self.harness.data_return(object, pages.offset(), bytes);
    }

    /// Asks for pages and waits for all: what each holds, or none if it can't be had.
    pub(crate) fn fetch(&mut self, object: &Mapped, pages: Run) -> Vec<Option<Vec<u8>>> {
        self.harness.request(object, pages);
        let mut found = vec![None; pages.pages() as usize];
        let mut left = found.len();
        for _ in 0..100_000 {
            for answer in self.harness.answers(object) {
                for (number, content) in contents(&answer) {
                    found[(number - pages.first_page()) as usize] = content;
                    left -= 1;
                }
            }
            if left == 0 {
                return found;
            }
            self.pass_ms(1);
        }
        panic!("{left} pages never came; {}", self.harness.kernel.console());
    }
}

/// The pages of an answer, and what they hold.
pub(crate) fn contents(answer: &Answer) -> Vec<(u64, Option<Vec<u8>>)> {
    let numbers = |run: &Run| run.first_page()..run.first_page() + run.pages();
    match answer {
        Answer::Supply { offset, bytes } => {
            let pages = bytes.chunks(PAGE_SIZE as usize).map(|page| Some(page.to_vec()));
            (offset / PAGE_SIZE..).zip(pages).collect()
        }
        Answer::Unavailable(run) => numbers(run).map(|number| (number, Some(page(number, 0)))).collect(),
        Answer::Error(run, _) => numbers(run).map(|number| (number, None)).collect(),
        other => panic!("{other:?} is no answer to a request"),
    }
}
