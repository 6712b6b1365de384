//! Thread states as messages carry them.

use alloc::vec::Vec;

use abi::Code;
use abi::thread_state::{
    AARCH64_FLOAT_STATE, AARCH64_THREAD_STATE, CPSR_USER, FLOAT_STATE_COUNT, FloatState, THREAD_STATE_COUNT, ThreadState,
};

use crate::machine::Machine;
use crate::thread::Body;

/// thread_get_state.
pub(super) fn get_state<M: Machine>(body: &Body<M>, flavor: i32, count: u32) -> Result<Vec<u32>, Code> {
    let mut words = Vec::new();
    let mut push = |value: u64| words.extend([value as u32, (value >> 32) as u32]);
    match flavor {
        AARCH64_THREAD_STATE if count >= THREAD_STATE_COUNT => {
            let ThreadState { x, sp, pc, tpidr_el0, cpsr } = body.registers;
            x.into_iter().chain([sp, pc, tpidr_el0, cpsr]).for_each(push);
        }
        AARCH64_FLOAT_STATE if count >= FLOAT_STATE_COUNT => {
            let FloatState { v, fpsr, fpcr, fpmr, reserved } = *body.float;
            v.into_iter().for_each(|register| {
                push(register as u64);
                push((register >> 64) as u64);
            });
            [fpsr, fpcr, fpmr, reserved].into_iter().for_each(push);
        }
        _ => return Err(Code::INVALID_ARGUMENT),
    }
    Ok(words)
}

/// thread_set_state.
pub(crate) fn set_state<M: Machine>(body: &mut Body<M>, flavor: i32, words: &[u32]) -> Result<(), Code> {
    let mut values = words.chunks_exact(2).map(|pair| u64::from(pair[0]) | u64::from(pair[1]) << 32);
    let mut next = || values.next().unwrap_or(0);
    match flavor {
        AARCH64_THREAD_STATE if words.len() == THREAD_STATE_COUNT as usize => {
            let mut state = ThreadState::default();
            state.x.fill_with(&mut next);
            (state.sp, state.pc, state.tpidr_el0, state.cpsr) = (next(), next(), next(), next());
            if state.cpsr & !CPSR_USER != 0 {
                return Err(Code::INVALID_ARGUMENT);
            }
            body.registers = state;
        }
        AARCH64_FLOAT_STATE if words.len() == FLOAT_STATE_COUNT as usize => {
            let mut state = FloatState::default();
            state.v.fill_with(|| u128::from(next()) | u128::from(next()) << 64);
            (state.fpsr, state.fpcr, state.fpmr, state.reserved) = (next(), next(), next(), next());
            *body.float = state;
        }
        _ => return Err(Code::INVALID_ARGUMENT),
    }
    Ok(())
}
