//! What the commands' options are, whatever groups they are said in.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use clap::{Arg, Command, CommandFactory, Parser};

use super::{Cli, Command as Asked};
use crate::config::{FileConfig, Settings};
use crate::processes::args::{LatchCommand, LatchCommandArgs};
use crate::processes::settings;

const EVERYWHERE: &str = "http-listen insecure-listen tls-cert tls-key tls-client-ca ports-file log-format log";
const SQL: &str = "mysql-listen flight-listen mysql-tls-cert mysql-tls-key query-memory freshness time-zone";
const SOURCE: &str = "source copy-from tables follow copy-chunk-rows copy-threads server-id";
const MOVING: &str = "interval buffer-limit memtable-limit flush-interval retention";
const FILES: &str = "engine-storage engine-cache engine-compression";
const LATCH: &str = "latch latch-token-file latch-ca latch-cert latch-key";
const ENGINE: &str = "engine engine-token-file engine-ca engine-cert engine-key";
const ETCD: &str = "etcd-ca etcd-cert etcd-key etcd-user etcd-password-file";

/// The commands that keep running, and the names of their options.
fn running() -> Vec<(&'static str, BTreeSet<String>)> {
    let named = |groups: &[&str]| groups.iter().flat_map(|names| names.split(' ')).map(str::to_owned).collect();
    vec![
        ("run", named(&["config data-dir", EVERYWHERE, SQL, SOURCE, MOVING, FILES])),
        ("demo", named(&["exit data-dir", EVERYWHERE, SQL, MOVING, FILES])),
        ("engine", named(&["config data-dir magic-listen memtable-limit retention", EVERYWHERE, FILES, LATCH])),
        ("writer", named(&["config data-dir", EVERYWHERE, SOURCE, MOVING, ENGINE, LATCH])),
        ("query", named(&["config", EVERYWHERE, SQL, ENGINE, LATCH])),
        ("latch", named(&["config data-dir latch-backend latch-listen engine-patience retention", EVERYWHERE, ETCD])),
    ]
}

fn built() -> Command {
    let mut cli = Cli::command();
    cli.build();
    cli
}

fn options<'a>(cli: &'a Command, command: &str) -> Vec<&'a Arg> {
    let found = cli.find_subcommand(command).unwrap_or_else(|| panic!("no command {command}"));
    let own = |arg: &&Arg| !matches!(arg.get_long(), None | Some("help" | "version"));
    found.get_arguments().filter(own).collect()
}

fn name(arg: &Arg) -> String {
    arg.get_long().unwrap_or_default().to_owned()
}

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_has_its_options() {
    let cli = built();
    for (command, wanted) in running() {
        let had: BTreeSet<String> = options(&cli, command).into_iter().map(name).collect();
        assert_eq!(had, wanted, "{command}");
    }
}

/// Every command's `--help`, those of commands within commands too.
#[test]
fn help_tells_every_option_with_words() {
    fn look(command: &mut Command, path: &str) {
        let help = command.render_long_help().to_string();
        for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
            let words = arg.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(!words.is_empty(), "{path}: {} has no words", arg.get_id());
            assert!(arg.is_positional() || help.contains(&format!("--{}", name(arg))), "{path}: {}\n{help}", name(arg));
        }
        for inner in command.get_subcommands_mut() {
            let path = format!("{path} {}", inner.get_name());
            look(inner, &path);
        }
    }
    look(&mut built(), "tidelake");
}

#[test]
fn an_option_is_the_same_in_every_command_that_has_it() {
    let cli = built();
    let shape = |arg: &Arg| {
        let values: Vec<String> = arg.get_value_names().unwrap_or_default().iter().map(ToString::to_string).collect();
        (arg.get_env().map(ToOwned::to_owned), values, arg.is_hide_env_values_set(), format!("{:?}", arg.get_action()))
    };
    let all = running();
    let of_all = all.iter().flat_map(|(command, _)| options(&cli, command).into_iter().map(move |arg| (command, arg)));
    let mut seen = std::collections::HashMap::new();
    for (command, arg) in of_all {
        let (first, wanted) = seen.entry(name(arg)).or_insert_with(|| (command, shape(arg)));
        assert_eq!(shape(arg), *wanted, "--{} of {command} and of {first}", name(arg));
        let env = format!("TIDELAKE_{}", name(arg).replace('-', "_").to_uppercase());
        assert!(name(arg) == "exit" || wanted.0.as_deref() == Some(env.as_ref()), "--{} of {command}", name(arg));
    }
}

/// The commands of the guide start one of each on one machine.
#[test]
fn each_process_has_an_http_port_of_its_own() {
    let cli = built();
    let said = |command: &str| {
        let listen = options(&cli, command).into_iter().find(|arg| name(arg) == "http-listen").expect("it listens");
        let help = listen.get_help().map(ToString::to_string).unwrap_or_default();
        let (_, address) = help.rsplit_once("[default: ").expect("a default");
        address.trim_end_matches(']').parse().expect("an address")
    };
    let parsed = |line: &str| Cli::try_parse_from(line.split(' ')).expect("well formed").command;
    let settled = |line: &str| match parsed(line) {
        Asked::Run(args) => Settings::from_run(args).expect("run").common,
        Asked::Writer(args) => settings::of_writer(args).expect("writer").0.common,
        Asked::Engine(args) => settings::of_engine(args.serve).expect("engine").common,
        Asked::Latch(args) => settings::of_latch(args.serve).expect("latch").common,
        Asked::Query(args) => settings::of_query(args).expect("query").common,
        _ => unreachable!("none of these lines"),
    };
    let lines = [
        "tidelake run --source file:. --data-dir d",
        "tidelake writer --source file:. --data-dir d --engine localhost:1",
        "tidelake engine --data-dir d",
        "tidelake latch --data-dir d",
        "tidelake query --engine localhost:1",
    ];
    let mut ports = BTreeSet::new();
    for line in lines {
        let command = line.split(' ').nth(1).expect("a command");
        let listens: SocketAddr = settled(line).http_listen;
        assert_eq!(listens, said(command), "{line}");
        ports.insert(listens.port());
    }
    assert_eq!(ports.len(), lines.len() - 1, "the writer's is that of `run`: {ports:?}");
    let Asked::Latch(LatchCommandArgs { command: Some(LatchCommand::Forget(args)), .. }) =
        parsed("tidelake latch forget --engine e")
    else {
        unreachable!("it forgets");
    };
    assert_eq!(args.http.http.parse(), Ok::<SocketAddr, _>(said("latch")), "the one that is asked");
}

#[test]
fn every_option_is_a_key_of_the_file() {
    for name in running().into_iter().filter(|(command, _)| *command != "demo").flat_map(|(_, names)| names) {
        // Of another type it is refused with other words.
        let refused = toml::from_str::<FileConfig>(&format!("{name} = [[[]]]")).expect_err("no value is of this type");
        let unknown = refused.to_string().contains("unknown field");
        assert_eq!(unknown, name == "config", "{name}: {refused}");
    }
}
