//! One case of the suite: [`Case`].

use crate::scene::Scene;

/// One case of the suite.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Case {
    /// The rule that the case checks, and an ordinal that never changes: `NE-2.1`.
    pub id: &'static str,
    /// What must hold, in a few words.
    pub title: &'static str,
    /// It needs child processes, or signals: [`Network::processes`](crate::Network::processes).
    pub processes: bool,
    /// It needs datagram sockets: [`Network::datagrams`](crate::Network::datagrams).
    pub datagrams: bool,
    /// It concerns the whole process, and no other case runs meanwhile. What else the process does
    /// may fail then: it may have no free descriptors.
    pub alone: bool,
    pub(crate) body: fn(&Scene<'_>),
}

/// All cases, in the contract's order.
#[must_use]
pub fn cases() -> Vec<Case> {
    crate::cases::all()
}

/// The cases of a file.
macro_rules! table {
    ($($id:literal, $title:literal, $body:path $(, processes $processes:literal)? $(, datagrams $datagrams:literal)? $(, alone $alone:literal)?;)*) => {
        vec![$(crate::case::Case {
            id: $id,
            title: $title,
            processes: false $(|| $processes)?,
            datagrams: false $(|| $datagrams)?,
            alone: false $(|| $alone)?,
            body: $body,
        }),*]
    };
}
pub(crate) use table;
