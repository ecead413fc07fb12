use super::*;

fn rows(d: &FileDeaths, seq: u64) -> Vec<u32> {
    d.mask_at(CommitSeq(seq)).iter().collect()
}

#[test]
fn masks_by_seq_with_undo_and_fold() {
    let mut d = FileDeaths::default();
    for (seq, row) in [(3, 7), (5, 1), (5, 2), (9, 0)] {
        d.push(CommitSeq(seq), row);
    }
    assert_eq!([rows(&d, 2), rows(&d, 3), rows(&d, 8)], [vec![], vec![7], vec![1, 2, 7]]);
    d.fold(CommitSeq(4));
    assert_eq!([rows(&d, 4), rows(&d, 5), rows(&d, 9)], [vec![7], vec![1, 2, 7], vec![0, 1, 2, 7]]);
    let all = d.all_upto(CommitSeq(5));
    assert_eq!((all.pairs, all.runs), (vec![(5, 1), (5, 2)], vec![(4, RoaringBitmap::from([7]))]));
    d.undo_above(CommitSeq(5));
    assert!(!d.is_dead(0) && d.is_dead(7));
    assert_eq!(rows(&d, 100), [1, 2, 7]);
    assert_eq!(d.count_at(CommitSeq(5)), 3);
}

/// Deaths of one seq are the same whether they are many (a run) or few, at every seq, and after undo and fold.
#[test]
fn runs_are_what_pairs_are() {
    let many = RUN as u32 + 3;
    let deaths: Vec<(u64, u32)> = (0..many).map(|r| (4, 2 * r)).chain([(2, 1), (6, 3), (6, 5)]).collect();
    let mut pushed = FileDeaths::default();
    let mut ordered = deaths.clone();
    ordered.sort_unstable();
    ordered.iter().for_each(|d| pushed.push(CommitSeq(d.0), d.1));
    let made = FileDeaths::from_parts([Deaths::from_pairs(deaths.clone())]);
    for d in [&pushed, &made] {
        assert_eq!((d.runs.len(), d.log.len()), (1, 3));
        for seq in 0..8 {
            let mut want: Vec<u32> = deaths.iter().filter(|d| d.0 <= seq).map(|d| d.1).collect();
            want.sort_unstable();
            assert_eq!(d.count_at(CommitSeq(seq)), want.len() as u64);
            assert_eq!(rows(d, seq), want, "at {seq}");
        }
        assert_eq!(d.between(CommitSeq(2), CommitSeq(4)).pairs, []);
        assert_eq!(d.between(CommitSeq(2), CommitSeq(4)).runs[0].1.len(), u64::from(many));
    }
    let known = pushed.mask_at(CommitSeq(4));
    assert_eq!(pushed.except(&known), Deaths { pairs: vec![(6, 3), (6, 5)], runs: vec![] });
    pushed.fold(CommitSeq(5));
    assert_eq!(pushed.except(&known), Deaths { pairs: vec![(6, 3), (6, 5)], runs: vec![] });
    assert_eq!(rows(&pushed, 5), rows(&made, 5));
    let mut undone = made;
    undone.undo_above(CommitSeq(3));
    assert_eq!(rows(&undone, 9), [1]);
}

/// A transaction that kills a million rows of a file costs bits, not entries.
#[test]
fn inv6_a_run_is_small() {
    let mut d = FileDeaths::default();
    (0..1_000_000).for_each(|row| d.push(CommitSeq(7), row));
    assert!(d.memory() < 500_000, "{} bytes", d.memory());
}

#[test]
fn of_several_deaths_the_first_counts() {
    let parts = [vec![(9, 1), (3, 2)], vec![(4, 1)]].map(Deaths::from_pairs);
    let d = FileDeaths::from_parts(parts);
    assert_eq!([rows(&d, 3), rows(&d, 4), rows(&d, 9)], [vec![2], vec![1, 2], vec![1, 2]]);
}

#[test]
fn bytes_round_trip_and_damage_is_found() {
    let run = Deaths { pairs: vec![(3, 4)], runs: vec![(9, (0..700).collect())] };
    let deaths = vec![(4, Deaths::from_pairs(vec![(1, 2), (3, 4)])), (9, Deaths::default()), (10, run)];
    let bytes = encode_deaths(&deaths).unwrap();
    assert_eq!(decode_deaths("x", &bytes).unwrap(), deaths);
    for i in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[i] ^= 1;
        assert!(decode_deaths("x", &bad).is_err(), "byte {i}");
        assert!(decode_deaths("x", &bytes[..i]).is_err(), "cut at {i}");
    }
}

/// Logs of the version before are read.
#[test]
fn version_1_is_read() {
    let mut bytes = b"TLDEATH1".to_vec();
    for number in [1u64, 4, 1, 77] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(&5u32.to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&bytes.clone()).to_le_bytes());
    assert_eq!(decode_deaths("x", &bytes).unwrap(), [(4, Deaths::from_pairs(vec![(77, 5)]))]);
}
