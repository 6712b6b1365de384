//! A pager of your own, to copy: memory in which each 64-bit word holds its own offset. Nobody ever wrote it down; it is computed as it
//! is touched. `bootstrap::look_up("example")` finds it, `Mapping::map` maps it.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use abi::Code;
use abi::vm::Protection;
use pager::{Control, Pager, Returned, Run, Server};
use runtime::{Args, Pages};

runtime::main!(run);

struct Offsets;

impl Pager for Offsets {
    /// Somebody touched pages that the kernel doesn't have: make them, and give them away.
    fn data_request(&mut self, object: &Control, run: Run, access: Protection) {
        if access.contains(Protection::WRITE) {
            return object.error(run, Code::PROTECTION_FAILURE);
        }
        match Pages::allocate(run.length()) {
            Ok(mut pages) => {
                for (offset, word) in (run.offset()..).step_by(8).zip(pages.chunks_exact_mut(8)) {
                    word.copy_from_slice(&offset.to_le_bytes());
                }
                object.supply(run.offset(), pages);
            }
            Err(code) => object.error(run, code),
        }
    }

    /// Nobody can write to them, so there is nothing to take back.
    fn data_return(&mut self, _: &Control, _: Run, _: Pages, _: Returned) {}
}

fn run(args: Args) -> Result<(), Code> {
    let server = Server::new(Offsets)?;
    server.register(args.program())?;
    server.run()
}

#[cfg(test)]
mod tests {
    use super::{Offsets, Run};
    use pager::testing::{Answer, Harness};

    #[test]
    fn each_word_is_its_offset() {
        let mut harness = Harness::new(|_| Offsets);
        let object = harness.map_service();
        harness.answers(&object);
        harness.request(&object, Run::of_pages(1 << 30, 2).unwrap());
        let words = (0..1024).flat_map(|word| ((1_u64 << 42) + word * 8).to_le_bytes()).collect();
        assert_eq!(harness.answers(&object), [Answer::Supply { offset: 1 << 42, bytes: words }]);
    }

    #[test]
    fn the_readme_shows_this_program() {
        let program = include_str!("main.rs");
        let (from, to) = (program.find("#![cfg_attr").unwrap(), program.find("\n#[cfg(test)]").unwrap());
        assert!(include_str!("../../../README.md").contains(program[from..to].trim_end()));
    }
}
