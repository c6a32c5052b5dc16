//! Public reports of real bugs like the planted ones. Not each has one.

/// The name of a planted bug, a project with the number of its report, and the address.
pub(crate) const REAL: &[(&str, &str, &str)] = &[
    (
        "lost wake",
        "datafusion-ballista 2356",
        "https://github.com/apache/datafusion-ballista/issues/2356",
    ),
    (
        "read that is not cancel safe",
        "mdk 712",
        "https://github.com/marmot-protocol/mdk/issues/712",
    ),
    (
        "ABBA, between a closure and a task",
        "sonic 213",
        "https://github.com/valeriansaliou/sonic/pull/213",
    ),
    (
        "limit exceeded after a cancelled waiter",
        "paimon 9508",
        "https://github.com/apache/paimon/issues/9508",
    ),
    (
        "starvation",
        "trio 54",
        "https://github.com/python-trio/trio/issues/54",
    ),
    (
        "shutdown race",
        "netty 9858",
        "https://github.com/netty/netty/pull/9858",
    ),
    (
        "left behind",
        "sygma-relayer 159",
        "https://github.com/sprintertech/sygma-relayer/issues/159",
    ),
    (
        "made twice",
        "ashpd 186",
        "https://github.com/bilelmoussaoui/ashpd/pull/186",
    ),
    (
        "notice lost with its waiter",
        "shuttle 167",
        "https://github.com/awslabs/shuttle/pull/167",
    ),
    (
        "two readers that become writers",
        "osquery 4721",
        "https://github.com/osquery/osquery/pull/4721",
    ),
    (
        "full channels both ways",
        "ockam 1947",
        "https://github.com/build-trust/ockam/issues/1947",
    ),
    (
        "block_on in a callback",
        "dashpay/platform 3497",
        "https://github.com/dashpay/platform/pull/3497",
    ),
    (
        "permits for those who wait for permits",
        "aiopg 127",
        "https://github.com/aio-libs/aiopg/issues/127",
    ),
    (
        "stale value in a cache",
        "lakekeeper 1843",
        "https://github.com/lakekeeper/lakekeeper/pull/1843",
    ),
    (
        "order of equal timers",
        "tokio 1775",
        "https://github.com/tokio-rs/tokio/issues/1775",
    ),
    (
        "answer before the question",
        "rpyc 136",
        "https://github.com/tomerfiliba-org/rpyc/pull/136",
    ),
    (
        "permit lost in a panic",
        "agave 10478",
        "https://github.com/anza-xyz/agave/pull/10478",
    ),
    (
        "barrier used twice",
        "osv 857",
        "https://github.com/cloudius-systems/osv/issues/857",
    ),
    (
        "tried again while it runs",
        "conjure-java-runtime 897",
        "https://github.com/palantir/conjure-java-runtime/issues/897",
    ),
];
