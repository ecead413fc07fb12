//! Each message as it stands in docs/magic-api.md: a change of the wire is a change here.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tidelake_api::errors::{WireError, of_status, to_status};
use tidelake_api::wire::{
    About, Acquire, Answer, Asked, Before, BeginWriter, Catalogs, Forget, GrantWriter, Known, Leased, Lineages,
    Nothing, OfCatalog, OfEpoch, OfLease, OfSeq, OfTable, Plan, Planned, Progresses, Publish, Question, Renew,
    Reported, Split, Stage, StageSchema, TakeOver, Tell, WireBounds, WireCell, WireFreshness, WirePredicate,
    WireReport, decode, encode, from_ticket, ticket,
};
use tidelake_core::ports::PredicateOp;
use tidelake_core::ports::store::Progress;
use tidelake_core::testing::tables::accounts;
use tidelake_core::{
    Catalog, CellValue, ColumnId, CommitSeq, Error, SchemaChange, SourcePosition, TableId, TableState,
};

fn is<T: Serialize + DeserializeOwned + PartialEq + Debug + Clone>(message: T, json: &str) {
    let bytes = encode(message.clone()).expect("encodes");
    assert_eq!(String::from_utf8(bytes).expect("utf-8"), json);
    assert_eq!(decode::<T>(json.as_bytes()).expect("decodes"), message);
}

fn position() -> SourcePosition {
    SourcePosition { major: 3, minor: 4096, token: "{}".into(), commit_time_us: 5 }
}

const POSITION: &str = r#"{"major":3,"minor":4096,"token":"{}","commit_time_us":5}"#;

#[test]
fn calls_of_leases() {
    for (freshness, json) in [
        (WireFreshness::Any, r#""any""#.to_owned()),
        (WireFreshness::Latest, r#""latest""#.to_owned()),
        (WireFreshness::AtLeast(position()), format!(r#"{{"at_least":{POSITION}}}"#)),
        (WireFreshness::AtSeq(CommitSeq(9)), r#"{"at_seq":9}"#.to_owned()),
        (WireFreshness::AtTime(1_577_872_800_000_000), r#"{"at_time":1577872800000000}"#.to_owned()),
        (WireFreshness::AtPosition(position()), format!(r#"{{"at_position":{POSITION}}}"#)),
    ] {
        let message = Acquire { freshness, ttl_ms: 30_000, wait_ms: 1000 };
        is(message, &format!(r#"{{"v":1,"freshness":{json},"ttl_ms":30000,"wait_ms":1000}}"#));
    }
    let leased = Leased { lease: "a1".into(), seq: CommitSeq(9), ttl_ms: 30_000, lineage: None, term: None };
    is(leased.clone(), r#"{"v":1,"lease":"a1","seq":9,"ttl_ms":30000}"#);
    let leased = Leased { lineage: Some("b1".into()), term: Some(2), ..leased };
    is(leased, r#"{"v":1,"lease":"a1","seq":9,"ttl_ms":30000,"lineage":"b1","term":2}"#);
    is(Renew { lease: "a1".into(), ttl_ms: 5 }, r#"{"v":1,"lease":"a1","ttl_ms":5}"#);
    is(OfLease { lease: "a1".into() }, r#"{"v":1,"lease":"a1"}"#);
    is(OfSeq { seq: CommitSeq(u64::MAX) }, r#"{"v":1,"seq":18446744073709551615}"#);
    is(OfCatalog { seq: CommitSeq(9), known: None }, r#"{"v":1,"seq":9}"#);
    is(OfCatalog { seq: CommitSeq(9), known: Some(CommitSeq(8)) }, r#"{"v":1,"seq":9,"known":8}"#);
    is(Catalogs { catalog: None }, r#"{"v":1}"#);
    let mut catalog = Catalog::default();
    let change = SchemaChange::CreateTable { def: Box::new(accounts(1, "a")), state: TableState::Live };
    catalog.apply(CommitSeq(4), &change).expect("applies");
    let json = serde_json::to_string(&catalog).expect("encodes");
    is(Catalogs { catalog: Some(catalog.into()) }, &format!(r#"{{"v":1,"catalog":{json}}}"#));
    is(OfTable { table: TableId(7) }, r#"{"v":1,"table":7}"#);
    is(Nothing {}, r#"{"v":1}"#);
}

#[test]
fn plans_and_splits() {
    let values = vec![
        WireCell::Null,
        WireCell::Int(-1),
        WireCell::Uint(u64::MAX),
        WireCell::Float("0.1".into()),
        WireCell::Decimal("-123".into()),
        WireCell::Str("é\"".into()),
        WireCell::Bytes("00ff".into()),
    ];
    let predicates = vec![WirePredicate { column: ColumnId(2), op: PredicateOp::In, values }];
    let predicates_json = r#"[{"column":2,"op":"in","values":["null",{"int":-1},{"uint":18446744073709551615},{"float":"0.1"},{"decimal":"-123"},{"str":"é\""},{"bytes":"00ff"}]}]"#;
    let plan = Plan {
        lease: Some("a1".into()),
        lineage: None,
        seq: CommitSeq(9),
        table: TableId(7),
        columns: Some(vec![ColumnId(2), ColumnId(1)]),
        predicates: predicates.clone(),
        limit: Some(10),
        splits: 4,
    };
    let at_latch = Plan { lease: None, lineage: Some("b1".into()), predicates: Vec::new(), ..plan.clone() };
    is(at_latch, r#"{"v":1,"lineage":"b1","seq":9,"table":7,"columns":[2,1],"predicates":[],"limit":10,"splits":4}"#);
    is(
        plan,
        &format!(
            r#"{{"v":1,"lease":"a1","seq":9,"table":7,"columns":[2,1],"predicates":{predicates_json},"limit":10,"splits":4}}"#
        ),
    );
    let plan: Plan = decode(br#"{"v":1,"seq":9,"table":7,"splits":0}"#).expect("the rest is optional");
    assert_eq!(plan.request().expect("a request").target_splits, 1);
    let split = Split {
        lease: None,
        lineage: None,
        seq: CommitSeq(9),
        table: TableId(7),
        columns: vec![ColumnId(2)],
        predicates,
        part: "opaque".into(),
        rows: 100,
        bytes: 4000,
    };
    let split_json = format!(
        r#"{{"seq":9,"table":7,"columns":[2],"predicates":{predicates_json},"part":"opaque","rows":100,"bytes":4000}}"#
    );
    is(split.clone(), &split_json.replacen('{', r#"{"v":1,"#, 1));
    assert_eq!(from_ticket::<Split>(&ticket(split.clone()).expect("a ticket")).expect("ours").expect("a split"), split);
    let bounds = WireBounds { least: WireCell::Int(1), greatest: WireCell::Int(5), exact: true };
    let planned = Planned { splits: vec![split], exact_rows: Some(100), bounds: vec![None, Some(bounds)] };
    is(
        planned,
        &format!(
            r#"{{"v":1,"splits":[{split_json}],"exact_rows":100,"bounds":[null,{{"least":{{"int":1}},"greatest":{{"int":5}},"exact":true}}]}}"#
        ),
    );
}

#[test]
fn calls_of_a_writer() {
    is(OfEpoch { epoch: 3 }, r#"{"v":1,"epoch":3}"#);
    is(Stage { epoch: 3, table: TableId(7), version: 2 }, r#"{"v":1,"epoch":3,"table":7,"version":2}"#);
    let change = SchemaChange::DropTable(TableId(7));
    is(StageSchema { epoch: 3, seq: CommitSeq(9), change }, r#"{"v":1,"epoch":3,"seq":9,"change":{"DropTable":7}}"#);
    let publish = Publish { epoch: 3, upto: CommitSeq(9), position: position() };
    is(publish, &format!(r#"{{"v":1,"epoch":3,"upto":9,"position":{POSITION}}}"#));
    let progress = Progress { seq: CommitSeq(9), position: position() };
    let engine = "a1".to_owned();
    let all = Progresses {
        engine,
        published: progress.clone(),
        durable: progress,
        horizon: CommitSeq(4),
        unflushed_bytes: 5,
        lineage: None,
        term: None,
    };
    let one = format!(r#"{{"seq":9,"position":{POSITION}}}"#);
    is(all, &format!(r#"{{"v":1,"engine":"a1","published":{one},"durable":{one},"horizon":4,"unflushed_bytes":5}}"#));
}

#[test]
fn calls_at_the_desk() {
    let begin = BeginWriter { epoch: 3, lineage: "b1".into(), anew: true, ancestors: Vec::new() };
    is(begin, r#"{"v":1,"epoch":3,"lineage":"b1","anew":true}"#);
    let upstream = Some(serde_json::json!({"flavor": "MySql"}));
    let tell = Tell { epoch: 3, copies: true, upstream: upstream.clone(), ready: Some(CommitSeq(9)) };
    is(tell, r#"{"v":1,"epoch":3,"copies":true,"upstream":{"flavor":"MySql"},"ready":9}"#);
    let waiting = Some("why".into());
    is(About { upstream, waiting }, r#"{"v":1,"upstream":{"flavor":"MySql"},"waiting":"why"}"#);
    is(About::default(), r#"{"v":1}"#);
    for (question, json) in [
        (Question::Latest, r#""latest""#.to_owned()),
        (Question::SeqOf(position()), format!(r#"{{"seq_of":{POSITION}}}"#)),
        (Question::SeqAtTime(-5), r#"{"seq_at_time":-5}"#.to_owned()),
        (Question::SeqAtPosition(position()), format!(r#"{{"seq_at_position":{POSITION}}}"#)),
    ] {
        is(Asked { id: 7, question }, &format!(r#"{{"v":1,"id":7,"question":{json}}}"#));
    }
    let answer = Answer { epoch: 3, id: 7, seq: Some(CommitSeq(9)), error: None };
    is(answer, r#"{"v":1,"epoch":3,"id":7,"seq":9}"#);
    let error = Some(WireError::Timeout { reason: "why".into() });
    let answer = Answer { epoch: 3, id: 7, seq: None, error };
    is(answer, r#"{"v":1,"epoch":3,"id":7,"error":{"kind":"timeout","reason":"why"}}"#);
}

#[test]
fn calls_at_a_latch() {
    let before = Before { lineage: "a1".into(), upto: CommitSeq(9) };
    let begin = BeginWriter { epoch: 3, lineage: "b1".into(), anew: false, ancestors: vec![before.clone()] };
    is(begin, r#"{"v":1,"epoch":3,"lineage":"b1","anew":false,"ancestors":[{"lineage":"a1","upto":9}]}"#);
    let report = WireReport {
        engine: "e1".into(),
        instance: "i1".into(),
        address: "127.0.0.1:8816".into(),
        lineage: Some("b1".into()),
        published: Progress { seq: CommitSeq(9), position: position() },
        durable: CommitSeq(8),
        horizon: CommitSeq(4),
        awaiting: Some(tidelake_core::TableName { database: "d".into(), table: "t".into() }),
    };
    let name = serde_json::to_string(&report.awaiting).expect("encodes");
    is(
        report,
        &format!(
            r#"{{"v":1,"engine":"e1","instance":"i1","address":"127.0.0.1:8816","lineage":"b1","published":{{"seq":9,"position":{POSITION}}},"durable":8,"horizon":4,"awaiting":{name}}}"#
        ),
    );
    is(Reported { term: 2, horizon: CommitSeq(4) }, r#"{"v":1,"term":2,"horizon":4}"#);
    is(Lineages::default(), r#"{"v":1}"#);
    let lineages = Lineages { lineage: Some("b1".into()), ancestors: vec![before] };
    is(lineages, r#"{"v":1,"lineage":"b1","ancestors":[{"lineage":"a1","upto":9}]}"#);
    let (known, before) = (Some("a1".into()), Some("a1".into()));
    let take_over = TakeOver { epoch: 3, lineage: "b1".into(), known, before, at: CommitSeq(9) };
    is(take_over, r#"{"v":1,"epoch":3,"lineage":"b1","known":"a1","before":"a1","at":9}"#);
    is(GrantWriter { lineage: Some("b1".into()) }, r#"{"v":1,"lineage":"b1"}"#);
    is(GrantWriter::default(), r#"{"v":1}"#);
    is(Forget { engine: "one".into() }, r#"{"v":1,"engine":"one"}"#);
    is(Known { engines: vec!["two".into()] }, r#"{"v":1,"engines":["two"]}"#);
}

#[test]
fn what_is_not_understood_is_refused() {
    for json in [
        r#"{"seq":9}"#,
        r#"{"v":2,"seq":9}"#,
        r#"{"v":1,"seq":9,"more":1}"#,
        r#"{"v":1,"seq":-9}"#,
        r#"{"v":1,"seq":9.5}"#,
        r#"{"v":1}"#,
        r#"[1]"#,
        "",
        "\u{0}",
    ] {
        assert!(matches!(decode::<OfSeq>(json.as_bytes()), Err(Error::Invalid(_))), "{json}");
    }
    assert!(decode::<OfSeq>(&vec![b' '; 5 << 20]).is_err_and(|e| e.to_string().contains("at most")));
    assert!(from_ticket::<Split>(b"something else").is_none());
    for cell in [WireCell::Float("x".into()), WireCell::Decimal("1.5".into()), WireCell::Bytes("0g".into())] {
        assert!(cell.cell().is_err(), "{cell:?}");
    }
    let two =
        WirePredicate { column: ColumnId(1), op: PredicateOp::Eq, values: vec![WireCell::Int(1), WireCell::Int(2)] };
    assert!(two.predicate().is_err());
}

/// Values come back exactly: JSON numbers would lose the last bit of some.
#[test]
fn values_come_back() {
    let cells = [
        CellValue::Null,
        CellValue::Int(i64::MIN),
        CellValue::UInt(u64::MAX),
        CellValue::Float(0.1 + 0.2),
        CellValue::Float(f64::MIN_POSITIVE / 8.0),
        CellValue::Float(-0.0),
        CellValue::Decimal("-9".to_owned() + &"9".repeat(64)),
        CellValue::Str("\u{0}\u{1F600}".into()),
        CellValue::Bytes((0..=255).collect()),
    ];
    for cell in cells {
        let wire = WireCell::from(&cell);
        let json = serde_json::to_string(&wire).expect("encodes");
        let back = serde_json::from_str::<WireCell>(&json).expect("decodes").cell().expect("a value");
        assert_eq!(format!("{back:?}"), format!("{cell:?}"));
    }
}

#[test]
fn errors_come_back() {
    let text = || "why".to_owned();
    let position = Box::new(position());
    for error in [
        Error::Invalid(text()),
        Error::Corrupt { place: "file".into(), reason: text() },
        Error::Unsupported { position, reason: text() },
        Error::Diverged { table: "d.t".into(), reason: text() },
        Error::NotFound(text()),
        Error::SnapshotExpired(text()),
        Error::Fenced { mine: 1, newest: 2 },
        Error::Limit(text()),
        Error::Timeout(text()),
        Error::Unavailable(text()),
        Error::Closed(text()),
        Error::Internal(text()),
    ] {
        let status = to_status(&error);
        assert_eq!(status.message(), error.to_string());
        assert_eq!(WireError::from(&of_status(&status)), WireError::from(&error));
    }
    let foreign = tonic::Status::not_found("nothing here");
    assert!(matches!(of_status(&foreign), Error::NotFound(text)  if text.contains("nothing here")));
}
