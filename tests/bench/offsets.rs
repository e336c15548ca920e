//! The same random blocks of a file for every competitor.

/// The offsets of `reads` blocks of a file of `size` bytes: in random order, none repeated before all were
/// read.
pub fn offsets(size: u64, block: u64, reads: usize) -> Vec<u64> {
    let mut blocks: Vec<u64> = (0..(size / block).max(1)).collect();
    let mut state = 62;
    for last in (1..blocks.len()).rev() {
        blocks.swap(last, (random(&mut state) % (last as u64 + 1)) as usize);
    }
    blocks.iter().cycle().take(reads).map(|number| number * block).collect()
}

/// splitmix64, by Sebastiano Vigna (public domain).
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
