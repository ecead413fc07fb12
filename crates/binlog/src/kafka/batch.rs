//! Record batches (format 2): checked, decompressed, without what was rolled back.

use std::collections::BTreeSet;
use std::io::Read;

use bytes::Bytes;

use super::wire::In;
use crate::mysql::reader::{Malformed, Parsed};
use crate::tidb_binlog::segment::crc32c;

/// Most bytes that one batch may become.
const MAX_BATCH: u64 = 1 << 30;
/// What to change where records are missing.
const COMPACTED: &str =
    "the topic was compacted before it was read; set cleanup.policy=delete and begin a new changefeed and replica";
/// Bytes before the checksummed part.
const HEAD: usize = 21;

/// A record: offset, key, value.
pub type Record = (i64, Bytes, Bytes);

/// A transaction that was rolled back: its producer, and the offset where it began.
pub type Aborted = (i64, i64);

/// Reads the batches of one answer. Records before `from` are left out. Returns the offset behind the last batch; a batch that is cut short at the end is
/// left for the next answer.
///
/// A broker numbers records without a gap, and sends what was rolled back and the marks of transactions too. So where a number is missing, a record was
/// taken out: by compaction, which keeps the newest of each key.
///
/// # Errors
/// For damage, for formats of brokers before 0.11, and where records are missing.
pub fn read(mut bytes: &[u8], from: i64, aborted: &[Aborted], out: &mut Vec<Record>) -> Parsed<i64> {
    let mut aborted: Vec<Aborted> = aborted.to_vec();
    aborted.sort_by_key(|(_, first)| std::cmp::Reverse(*first));
    let mut rolled_back = BTreeSet::new();
    let mut next = from;
    while bytes.len() >= HEAD {
        let mut head = In::new(bytes);
        let base = head.i64()?;
        let length = usize::try_from(head.i32()?).map_err(|_| Malformed::because("a batch of negative length"))?;
        let Some((batch, rest)) = bytes.split_at_checked(12 + length) else { break };
        bytes = rest;
        head.i32()?;
        if head.u8()? != 2 {
            return Err(Malformed::because("messages in a format from before Kafka 0.11"));
        }
        let checksum = head.i32()? as u32;
        let content = batch.get(HEAD..).ok_or(Malformed::because("a batch shorter than its head"))?;
        if crc32c(content) != checksum {
            return Err(Malformed::because("a batch whose checksum is wrong"));
        }
        let mut r = In::new(content);
        let attributes = r.i16()?;
        let last = base.saturating_add(i64::from(r.i32()?));
        let (_, _, producer, _, _, count) = (r.i64()?, r.i64()?, r.i64()?, r.i16()?, r.i32()?, r.i32()?);
        if base > next {
            return Err(Malformed::new(format!("no records from offset {next} to {}: {COMPACTED}", base - 1)));
        }
        if base.saturating_add(i64::from(count)) != last.saturating_add(1) {
            return Err(Malformed::new(format!("{count} records from offset {base} to {last}: {COMPACTED}")));
        }
        while let Some((producer, _)) = aborted.pop_if(|(_, first)| *first <= last) {
            rolled_back.insert(producer);
        }
        let (transactional, control) = (attributes & 16 != 0, attributes & 32 != 0);
        if control {
            rolled_back.remove(&producer);
        } else if !(transactional && rolled_back.contains(&producer)) {
            let records = decompressed(attributes & 7, r.0.rest())?;
            records_of(&records, base, count, from, out)?;
        }
        next = next.max(last.saturating_add(1));
    }
    Ok(next)
}

fn records_of(bytes: &[u8], base: i64, count: i32, from: i64, out: &mut Vec<Record>) -> Parsed<()> {
    let mut r = In::new(bytes);
    for _ in 0..count {
        let body = r.var_bytes()?;
        let mut record = In::new(body);
        record.u8()?;
        record.varint()?;
        let offset = base.saturating_add(record.varint()?);
        let (key, value) = (record.var_bytes()?, record.var_bytes()?);
        if offset >= from {
            out.push((offset, Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
        }
    }
    Ok(())
}

fn decompressed(codec: i16, bytes: &[u8]) -> Parsed<Vec<u8>> {
    let wrong = |what: &str| Malformed::new(format!("a batch that is no {what}"));
    match codec {
        0 => Ok(bytes.to_vec()),
        1 => read_all(flate2::read::GzDecoder::new(bytes)).ok_or_else(|| wrong("gzip")),
        2 => snappy(bytes).ok_or_else(|| wrong("snappy")),
        3 => read_all(lz4_flex::frame::FrameDecoder::new(bytes)).ok_or_else(|| wrong("lz4")),
        4 => zstd::stream::read::Decoder::new(bytes).ok().and_then(read_all).ok_or_else(|| wrong("zstd")),
        other => Err(Malformed::new(format!("a batch with unknown compression {other}"))),
    }
}

/// `None`: damaged, or larger than a batch may be.
fn read_all(from: impl Read) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    from.take(MAX_BATCH + 1).read_to_end(&mut out).ok()?;
    (out.len() as u64 <= MAX_BATCH).then_some(out)
}

/// Plain, or in the blocks of the Java library `xerial`.
fn snappy(bytes: &[u8]) -> Option<Vec<u8>> {
    const XERIAL: &[u8] = b"\x82SNAPPY\0";
    let mut decoder = snap::raw::Decoder::new();
    let mut plain = |bytes: &[u8]| {
        let claimed = snap::raw::decompress_len(bytes).ok()?;
        // snappy reaches a factor of about 20 at most
        (claimed as u64 <= MAX_BATCH && claimed / 100 <= bytes.len())
            .then(|| decoder.decompress_vec(bytes).ok())
            .flatten()
    };
    let Some(blocks) = bytes.strip_prefix(XERIAL) else { return plain(bytes) };
    let mut rest = blocks.get(8..)?;
    let mut out = Vec::new();
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (block, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        out.extend(plain(block)?);
        rest = after;
        if out.len() as u64 > MAX_BATCH {
            return None;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn varint(v: i64, out: &mut Vec<u8>) {
        let mut v = ((v << 1) ^ (v >> 63)) as u64;
        while v >= 0x80 {
            out.push(v as u8 | 0x80);
            v >>= 7;
        }
        out.push(v as u8);
    }

    fn batch(
        base: i64,
        values: &[&str],
        attributes: i16,
        producer: i64,
        compress: impl Fn(&[u8]) -> Vec<u8>,
    ) -> Vec<u8> {
        let mut records = Vec::new();
        for (i, value) in values.iter().enumerate() {
            let mut body = vec![0];
            varint(0, &mut body);
            varint(i as i64, &mut body);
            varint(-1, &mut body);
            varint(value.len() as i64, &mut body);
            body.extend_from_slice(value.as_bytes());
            varint(0, &mut body);
            varint(body.len() as i64, &mut records);
            records.extend(body);
        }
        let mut content = attributes.to_be_bytes().to_vec();
        content.extend((values.len() as i32 - 1).to_be_bytes());
        content.extend([0; 16]);
        content.extend(producer.to_be_bytes());
        content.extend([0; 6]);
        content.extend((values.len() as i32).to_be_bytes());
        content.extend(compress(&records));
        let mut out = base.to_be_bytes().to_vec();
        out.extend((content.len() as i32 + 9).to_be_bytes());
        out.extend([0, 0, 0, 0, 2]);
        out.extend(crc32c(&content).to_be_bytes());
        out.extend(content);
        out
    }

    fn values(bytes: &[u8], from: i64, aborted: &[Aborted]) -> (Vec<String>, i64) {
        let mut out = Vec::new();
        let next = read(bytes, from, aborted, &mut out).expect("reads");
        (out.into_iter().map(|(o, _, v)| format!("{o}:{}", String::from_utf8_lossy(&v))).collect(), next)
    }

    #[test]
    fn batches_with_every_compression() {
        use std::io::Write;
        let gzip = |b: &[u8]| {
            let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            e.write_all(b).and_then(|()| e.finish()).expect("gzip")
        };
        let snappy = |b: &[u8]| snap::raw::Encoder::new().compress_vec(b).expect("snappy");
        let xerial = |b: &[u8]| {
            let block = snappy(b);
            [b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01", &(block.len() as u32).to_be_bytes()[..], &block].concat()
        };
        let lz4 = |b: &[u8]| {
            let mut e = lz4_flex::frame::FrameEncoder::new(Vec::new());
            e.write_all(b).expect("lz4");
            e.finish().expect("lz4")
        };
        let zstd = |b: &[u8]| zstd::encode_all(b, 1).expect("zstd");
        type Compress<'c> = &'c dyn Fn(&[u8]) -> Vec<u8>;
        let all: [(i16, Compress<'_>); 6] =
            [(0, &|b| b.to_vec()), (1, &gzip), (2, &snappy), (2, &xerial), (3, &lz4), (4, &zstd)];
        for (codec, compress) in all {
            let bytes = [batch(5, &["a", "b"], codec, -1, compress), batch(7, &["c"], codec, -1, compress)].concat();
            assert_eq!(values(&bytes, 6, &[]), (vec!["6:b".into(), "7:c".into()], 8), "codec {codec}");
            assert_eq!(values(&bytes[..bytes.len() - 1], 5, &[]).1, 7, "the last batch is cut short");
        }
    }

    #[test]
    fn what_was_rolled_back_is_left_out() {
        let plain = |b: &[u8]| b.to_vec();
        let bytes = [
            batch(0, &["a"], 16, 7, plain),
            batch(1, &["b"], 16, 8, plain),
            batch(2, &["\0\0"], 48, 7, plain),
            batch(3, &["c"], 16, 7, plain),
        ]
        .concat();
        assert_eq!(values(&bytes, 0, &[(7, 0)]), (vec!["1:b".into(), "3:c".into()], 4));
    }

    #[test]
    fn what_compaction_took_out_is_missed() {
        let plain = |b: &[u8]| b.to_vec();
        let error = |bytes: &[u8]| read(bytes, 0, &[], &mut Vec::new()).expect_err("records are missing").0;
        let without_a_batch = [batch(0, &["a"], 0, -1, plain), batch(2, &["c"], 0, -1, plain)].concat();
        assert!(error(&without_a_batch).contains("no records from offset 1 to 1"), "{}", error(&without_a_batch));
        // compaction leaves a batch its first and last offset
        let mut without_a_record = batch(0, &["a", "b"], 0, -1, plain);
        without_a_record[23..27].copy_from_slice(&2i32.to_be_bytes());
        let checksum = crc32c(&without_a_record[HEAD..]);
        without_a_record[17..HEAD].copy_from_slice(&checksum.to_be_bytes());
        assert!(error(&without_a_record).contains("2 records from offset 0 to 2"), "{}", error(&without_a_record));
    }

    #[test]
    fn damage_is_an_error() {
        let whole = batch(0, &["abc", "def"], 0, -1, <[u8]>::to_vec);
        for at in 16..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            assert!(read(&bytes, 0, &[], &mut Vec::new()).is_err(), "byte {at}");
        }
    }
}
