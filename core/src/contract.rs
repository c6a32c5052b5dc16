//! The rules of the contract, by the codes that these docs name them with.
//!
//! This is documentation and no code. A rule has a code for good, and a short name for reading;
//! what it says, and the exceptions, is in the [contract].
//!
//! [contract]: https://docs.rs/fourway/latest/fourway/contract/
//!
//! | rule | in short |
//! |---|---|
//! | <a id="SP-1"></a>SP-1 | runs without polling the handle |
//! | <a id="SP-2"></a>SP-2 | spawn from anywhere |
//! | <a id="SP-3"></a>SP-3 | spawn after the shutdown |
//! | <a id="SP-4"></a>SP-4 | futures and outputs of any size |
//! | <a id="JO-1"></a>JO-1 | a task is awaited anywhere |
//! | <a id="JO-2"></a>JO-2 | destroyed before the join |
//! | <a id="JO-3"></a>JO-3 | a panic reaches the joiner |
//! | <a id="JO-4"></a>JO-4 | reasons are told apart |
//! | <a id="JO-5"></a>JO-5 | every join resolves |
//! | <a id="JO-6"></a>JO-6 | a handle says which task |
//! | <a id="CA-1"></a>CA-1 | drop cancels, detach does not |
//! | <a id="CA-2"></a>CA-2 | cancelled promptly |
//! | <a id="CA-3"></a>CA-3 | cancel waits for the end |
//! | <a id="CA-4"></a>CA-4 | destructors that panic or block |
//! | <a id="WA-1"></a>WA-1 | a poll for each wake |
//! | <a id="WA-2"></a>WA-2 | wakers work anywhere |
//! | <a id="WA-3"></a>WA-3 | lost tasks are destroyed |
//! | <a id="BL-1"></a>BL-1 | block_on polls on the calling thread |
//! | <a id="BL-2"></a>BL-2 | no blocking in async code |
//! | <a id="BL-3"></a>BL-3 | blocking where it is allowed |
//! | <a id="BL-4"></a>BL-4 | many threads block at once |
//! | <a id="BL-5"></a>BL-5 | park tokens and stale wakes |
//! | <a id="BL-6"></a>BL-6 | block_in_place |
//! | <a id="BL-7"></a>BL-7 | hooks around waits |
//! | <a id="OF-1"></a>OF-1 | closures block no tasks |
//! | <a id="OF-2"></a>OF-2 | results and panics of closures |
//! | <a id="OF-3"></a>OF-3 | cancelled closures |
//! | <a id="OF-4"></a>OF-4 | nested offload never starves |
//! | <a id="OF-5"></a>OF-5 | limits are exact |
//! | <a id="OF-6"></a>OF-6 | threads come and go |
//! | <a id="OF-7"></a>OF-7 | a burst starts few threads |
//! | <a id="WT-1"></a>WT-1 | waiting from sync code |
//! | <a id="TI-1"></a>TI-1 | never early |
//! | <a id="TI-2"></a>TI-2 | timers work anywhere |
//! | <a id="TI-3"></a>TI-3 | timeout and interval |
//! | <a id="TI-4"></a>TI-4 | timers are not starved |
//! | <a id="TI-5"></a>TI-5 | timers can be moved |
//! | <a id="CX-1"></a>CX-1 | the current context is exact |
//! | <a id="CX-2"></a>CX-2 | nothing is cached across calls |
//! | <a id="CX-3"></a>CX-3 | values travel with the work |
//! | <a id="LO-1"></a>LO-1 | local futures stay on their thread |
//! | <a id="LO-2"></a>LO-2 | local spawn from anywhere |
//! | <a id="FA-1"></a>FA-1 | no task starves |
//! | <a id="SH-1"></a>SH-1 | orderly shutdown |
//! | <a id="SH-2"></a>SH-2 | dropping a handle never blocks |
//! | <a id="SH-3"></a>SH-3 | use during the shutdown |
//! | <a id="SH-4"></a>SH-4 | the state can be seen |
//! | <a id="SH-5"></a>SH-5 | calls after the shutdown |
//! | <a id="FK-1"></a>FK-1 | forked children |
//! | <a id="NU-1"></a>NU-1 | no child outlives its nursery |
//! | <a id="NU-2"></a>NU-2 | failures, and the policy |
//! | <a id="NU-3"></a>NU-3 | children until it is over |
//! | <a id="NU-4"></a>NU-4 | a panic cancels when it happens |
//! | <a id="NU-5"></a>NU-5 | limits, and places in line |
//! | <a id="NU-6"></a>NU-6 | deadlines and shields |
//! | <a id="NU-7"></a>NU-7 | sync nurseries |
//! | <a id="NU-8"></a>NU-8 | dropped half-way |
//! | <a id="EX-1"></a>EX-1 | one door for work of any kind |
//! | <a id="ST-1"></a>ST-1 | each item once, at its place |
//! | <a id="JB-1"></a>JB-1 | submit now, ask later |
//! | <a id="JB-2"></a>JB-2 | states and snapshots |
//! | <a id="JB-3"></a>JB-3 | cancelling |
//! | <a id="JB-4"></a>JB-4 | failures and retries |
//! | <a id="JB-5"></a>JB-5 | draining |
//! | <a id="JB-6"></a>JB-6 | unique keys |
//! | <a id="JB-7"></a>JB-7 | schedules |
//! | <a id="EN-1"></a>EN-1 | what was accepted survives |
//! | <a id="EN-2"></a>EN-2 | run at least once, recorded once |
//! | <a id="EN-3"></a>EN-3 | poison ends |
//! | <a id="EN-4"></a>EN-4 | the same everywhere |
//! | <a id="NE-1"></a>NE-1 | nothing is lost by dropping |
//! | <a id="NE-2"></a>NE-2 | ends are told apart |
//! | <a id="NE-3"></a>NE-3 | one socket holds up no other |
//! | <a id="NE-4"></a>NE-4 | sockets and the lives of runtimes |
//! | <a id="NE-5"></a>NE-5 | children and signals are waited for like sockets |
