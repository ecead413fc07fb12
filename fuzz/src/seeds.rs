//! Writes the first inputs of each target, made of the files that the tests read, into the directory that it is given.

use std::fs;
use std::path::Path;

// for the symbols that its own coverage asks for
use libfuzzer_sys as _;
use tidelake_fuzz::{SERVERS, events_of_file, input};

/// Events of one input behind the statements before them; QUERY is a statement's type.
const PIECE: usize = 8;
const QUERY: u8 = 2;

fn main() {
    let out = std::env::args().nth(1).expect("usage: seeds DIRECTORY");
    let out = Path::new(&out);
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/binlog");
    for target in ["events", "file", "ddl"] {
        fs::create_dir_all(out.join(target)).expect("a directory");
    }
    for (server, (folder, _)) in SERVERS.iter().enumerate() {
        let mut files = listed(&tests.join("tests/data").join(folder));
        files.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("binlog.0")));
        for path in files.iter().filter(|path| path.extension().is_some_and(|digits| digits != "txt")) {
            let bytes = fs::read(path).expect("a file");
            let name = format!("{folder}-{}", path.file_name().expect("a name").to_string_lossy());
            binlog(out, &name, server as u8, &bytes);
        }
    }
    for path in listed(&tests.join("tests/data/recorded")) {
        let packed = fs::read(&path).expect("a file");
        let bytes = zstd::decode_all(&packed[..]).expect("a recorded file");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        write(out, "file", &name, &[&[0], &bytes[..]].concat());
        write(out, "file", &format!("{name}-packed"), &[&[1], &packed[..]].concat());
    }
    for (dialect, name) in [(0, "mysql"), (1, "mariadb")] {
        let corpus = fs::read_to_string(tests.join(format!("src/ddl/tests/corpus-{name}.txt"))).expect("a corpus");
        let lines: Vec<&str> = corpus.lines().collect();
        for (number, lines) in lines.chunks(PIECE).enumerate() {
            let text = lines.join("\n");
            write(out, "ddl", &format!("{name}-{number}"), &[&[dialect, 4], text.as_bytes()].concat());
        }
    }
}

fn listed(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut paths: Vec<_> =
        fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

fn write(out: &Path, target: &str, name: &str, bytes: &[u8]) {
    fs::write(out.join(target).join(name), bytes).expect("a written seed");
}

/// The whole file, and each few events behind all statements before them.
fn binlog(out: &Path, name: &str, server: u8, bytes: &[u8]) {
    write(out, "file", name, &[&[0], bytes].concat());
    let events = events_of_file(bytes);
    write(out, "events", name, &input(server, &events));
    let mut statements: Vec<(u8, &[u8])> = Vec::new();
    for (number, piece) in events.chunks(PIECE).enumerate() {
        let mut all = statements.clone();
        all.extend_from_slice(piece);
        write(out, "events", &format!("{name}-{number}"), &input(server, &all));
        statements.extend(piece.iter().filter(|(kind, body)| *kind == QUERY && !body.ends_with(b"BEGIN")));
    }
}
