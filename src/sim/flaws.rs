//! Bugs that are put in to see that they are found: in the code under test by their names ([`tidelake_core::env::is_flawed`]), or in what is around it.

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The latch shows what the foremost engine has.
    MostCounts,
    /// The horizon goes beyond live leases.
    HorizonPassesLeases,
    /// What is shown is not noted first.
    ShownIsNotNoted,
    /// A lease that has lapsed can be renewed.
    LapsedComesBack,
    /// A new buffer begins where the foremost engine is.
    TakeoverAtForemost,
    /// A latch that begins to lead does not find what was shown.
    ShownIsForgotten,
    /// After a takeover one transaction is not read.
    TakeoverSkips,
    /// The upstream's head is told as it was.
    HeadIsOld,
    /// One table is read at another seq.
    TablesDiffer,
    /// What was durable is not, after a crash.
    FlushLies,
    /// An engine takes writers of any epoch.
    AnyEpoch,
}

impl Flaw {
    pub const ALL: [Flaw; 11] = [
        Flaw::MostCounts,
        Flaw::HorizonPassesLeases,
        Flaw::ShownIsNotNoted,
        Flaw::LapsedComesBack,
        Flaw::TakeoverAtForemost,
        Flaw::ShownIsForgotten,
        Flaw::TakeoverSkips,
        Flaw::HeadIsOld,
        Flaw::TablesDiffer,
        Flaw::FlushLies,
        Flaw::AnyEpoch,
    ];

    /// Its name in the code under test, if it is there.
    pub fn name(self) -> &'static str {
        match self {
            Flaw::MostCounts => "the most counts",
            Flaw::HorizonPassesLeases => "the horizon passes leases",
            Flaw::ShownIsNotNoted => "shown is not noted",
            Flaw::LapsedComesBack => "lapsed leases come back",
            Flaw::TakeoverAtForemost => "a takeover begins at the foremost",
            _ => "",
        }
    }
}
