//! Damaged input: an error or some events, never a panic, never memory out of proportion.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use tidelake_binlog::filter::TableFilter;
use tidelake_binlog::ticdc::csv::{self, CsvOptions, Record};
use tidelake_binlog::ticdc::record::{Event, Image};
use tidelake_binlog::ticdc::{canal, open, simple};

fn mutated(rng: &mut StdRng, bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..rng.random_range(1..6) {
        if out.is_empty() {
            break;
        }
        let at = rng.random_range(0..out.len());
        match rng.random_range(0..4) {
            0 => out[at] = rng.random(),
            1 => drop(out.remove(at)),
            2 => out.insert(at, *b"\"\\{}[],:0\xff\n".get(rng.random_range(0..11)).unwrap_or(&b'x')),
            _ => out.truncate(at),
        }
    }
    out
}

fn look(events: &[Event]) {
    for event in events {
        if let Event::Image { image, .. } = event {
            Image::parse(image).and_then(|i| i.cells(|_, _| Ok(()))).expect("what was written can be read");
        }
    }
}

#[test]
fn damaged_messages_are_errors_or_events() {
    let mut rng = StdRng::seed_from_u64(1);
    let all = TableFilter::default();
    let canal_samples = include_str!("../../data/ticdc/real_storage_CDC.json");
    let simple_samples = include_str!("../../data/ticdc/simple.jsonl");
    let csv_sample = include_bytes!("../../data/ticdc/docs_employee.csv");
    let (key, value) = (
        include_bytes!("../../data/ticdc/rows_batch.key.bin"),
        include_bytes!("../../data/ticdc/rows_batch.value.bin"),
    );
    let columns: Vec<String> = ["a", "b", "c", "d", "e"].map(String::from).to_vec();
    let escaped = CsvOptions { quote: None, ..CsvOptions::default() };
    for _ in 0..20_000 {
        let mut events = Vec::new();
        let line = canal_samples.lines().nth(rng.random_range(0..3)).unwrap_or_default();
        let _ = canal::parse(&mutated(&mut rng, line.as_bytes()), &all, &mut events);
        let line = simple_samples.lines().nth(rng.random_range(0..5)).unwrap_or_default();
        let _ = simple::parse(&mutated(&mut rng, line.as_bytes()), &all, &mut events);
        let _ = open::parse(&mutated(&mut rng, key), value, &all, &mut events);
        let _ = open::parse(key, &mutated(&mut rng, value), &all, &mut events);
        let bytes = mutated(&mut rng, csv_sample);
        for options in [&CsvOptions::default(), &escaped] {
            let mut rest = &bytes[..];
            while let Ok(Record::Whole(fields, taken)) = csv::record(rest, options) {
                assert!(taken > 0);
                let _ = csv::event(&fields, &columns, options, &all, &mut events);
                rest = &rest[taken..];
            }
        }
        look(&events);
    }
}

#[test]
fn damaged_images_are_errors_or_rows() {
    let mut rng = StdRng::seed_from_u64(2);
    let mut events = Vec::new();
    let samples = include_str!("../../data/ticdc/real_storage_CDC.json");
    let line = samples.lines().next().unwrap_or_default();
    canal::parse(line.as_bytes(), &TableFilter::default(), &mut events).expect("parses");
    let Some(Event::Image { image, .. }) = events.first() else { panic!("a row") };
    for _ in 0..50_000 {
        let _ = Image::parse(&mutated(&mut rng, image)).and_then(|i| i.cells(|_, _| Ok(())));
    }
}
