use super::*;
use crate::hash::key_hash;

fn build(dir: &Path, keys: &[(Vec<u8>, u32)]) -> Pki {
    let mut builder = PkiBuilder::create(&dir.join("x.pki"), "key 1:Int32", Some(keys.len() as u64)).unwrap();
    for (key, row) in keys {
        builder.push(key, *row).unwrap();
    }
    builder.finish().unwrap()
}

fn rows_of(pki: &Pki, key: &[u8], cursor: &mut BlockCursor) -> Vec<u32> {
    let mut rows = Vec::new();
    pki.find(key, key_hash(key), cursor, |row| {
        rows.push(row);
        true
    })
    .unwrap();
    rows
}

#[test]
fn finds_every_key_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let keys: Vec<_> = (0..5000u32).map(|i| (format!("{:06}", i * 2).into_bytes(), (i * 7919) % 5000)).collect();
    let pki = build(dir.path(), &keys);
    let mut cursor = BlockCursor::default();
    for (key, row) in &keys {
        assert_eq!(rows_of(&pki, key, &mut cursor), [*row]);
    }
    for i in 0..5000u32 {
        assert!(rows_of(&pki, format!("{:06}", i * 2 + 1).as_bytes(), &mut cursor).is_empty());
    }
    assert!(rows_of(&pki, b"", &mut cursor).is_empty());
    assert!(rows_of(&pki, b"zzz", &mut cursor).is_empty());
    assert_eq!((pki.keys(), pki.signature()), (5000, "key 1:Int32"));
}

/// Equal keys (rows without a key) run over block borders.
#[test]
fn runs_of_equal_keys_are_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut keys: Vec<(Vec<u8>, u32)> = Vec::new();
    for (key, count) in [(b"a", 100), (b"b", 300), (b"c", 128), (b"d", 1)] {
        (0..count).for_each(|_| keys.push((key.to_vec(), keys.len() as u32)));
    }
    let pki = build(dir.path(), &keys);
    let mut cursor = BlockCursor::default();
    for (key, from, to) in [(b"a", 0, 100), (b"b", 100, 400), (b"c", 400, 528), (b"d", 528, 529)] {
        assert_eq!(rows_of(&pki, key, &mut cursor), (from..to).collect::<Vec<u32>>());
    }
}

#[test]
fn empty_index_finds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let pki = build(dir.path(), &[]);
    assert!(rows_of(&pki, b"x", &mut BlockCursor::default()).is_empty());
}

/// Any damaged byte is either found or harmless, never a panic or a wrong row.
#[test]
fn damage_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let keys: Vec<_> = (0..150u32).map(|i| (i.to_be_bytes().to_vec(), i)).collect();
    drop(build(dir.path(), &keys));
    let path = dir.path().join("x.pki");
    let good = std::fs::read(&path).unwrap();
    for i in 0..good.len() {
        let mut bad = good.clone();
        bad[i] ^= 0x41;
        std::fs::write(&path, &bad).unwrap();
        let Ok(pki) = Pki::open(&path) else { continue };
        for (key, row) in &keys {
            let mut rows = Vec::new();
            let found = pki.find(key, key_hash(key), &mut BlockCursor::default(), |r| {
                rows.push(r);
                true
            });
            assert!(found.is_err() || rows == [*row], "byte {i}, key {row}: {rows:?}");
        }
    }
    for cut in 0..good.len() {
        std::fs::write(&path, &good[..cut]).unwrap();
        assert!(Pki::open(&path).is_err(), "cut at {cut}");
    }
}

/// Keys sorted on disk give the same index as keys sorted in memory, and leave no run behind.
#[test]
fn a_sort_in_runs_is_a_sort() {
    let dir = tempfile::tempdir().unwrap();
    let mut keys = crate::keys::Keys::default();
    for i in 0..5000u32 {
        keys.push(&(i.wrapping_mul(2_654_435_761) % 4000).to_be_bytes()).unwrap();
    }
    let sorted = |run_bytes: usize| {
        let path = dir.path().join("7-ab.pki");
        let mut sorter = PkiSorter::with_run_bytes(&path, "key", run_bytes);
        sorter.push(&keys, 0).unwrap();
        assert_eq!(sorter.finish().unwrap().keys(), 5000);
        std::fs::read(path).unwrap()
    };
    assert_eq!(sorted(10_000), sorted(1 << 20));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}
