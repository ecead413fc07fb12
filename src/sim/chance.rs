//! Chance of the operating system, by a seed: hash tables and tokio's wake-ups take theirs from it.
//!
//! The standard library looks for `getrandom` by name, so that it can be replaced; the simulation's thread gets the numbers of its seed, all
//! others the kernel's.

use std::cell::Cell;
use std::ffi::{c_long, c_uint, c_void};

thread_local! {
    static STATE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// From now on this thread's chance is that of the seed. To be called first thing in a new thread.
pub fn seed_this_thread(seed: u64) {
    STATE.set(Some(seed));
}

/// The next number of `splitmix64` (Steele, Lea, Flood 2014).
fn next(state: u64) -> (u64, u64) {
    let state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (state, z ^ (z >> 31))
}

#[cfg(target_arch = "x86_64")]
const SYS_GETRANDOM: c_long = 318;
#[cfg(not(target_arch = "x86_64"))]
const SYS_GETRANDOM: c_long = 278;

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
}

/// Replaces the C library's function of this name.
///
/// # Safety
/// As `getrandom(2)`: `length` bytes at `buffer` can be written.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize {
    let Some(mut state) = STATE.get() else {
        // SAFETY: the caller's promise is the kernel's condition.
        return unsafe { syscall(SYS_GETRANDOM, buffer, length, flags) } as isize;
    };
    // SAFETY: the caller promises that these bytes are its own to be written.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
    for chunk in bytes.chunks_mut(8) {
        let number;
        (state, number) = next(state);
        chunk.copy_from_slice(&number.to_le_bytes()[..chunk.len()]);
    }
    STATE.set(Some(state));
    length as isize
}
