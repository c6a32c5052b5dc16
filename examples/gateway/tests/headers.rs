//! Which headers are passed on, for arbitrary headers.

use gateway::for_next_hop;
use hyper::{HeaderMap, header::HeaderName};
use proptest::prelude::*;

const OF_ONE_HOP: [&str; 6] = [
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn name() -> impl Strategy<Value = HeaderName> {
    let any = "[a-z][a-z0-9-]{0,12}".prop_map(|name| name.parse().unwrap());
    let known = prop::sample::select(&OF_ONE_HOP[..]).prop_map(|name| name.parse().unwrap());
    prop_oneof![any, known]
}

proptest! {
    #[test]
    fn what_is_of_one_hop_goes_and_all_else_stays(
        headers in prop::collection::vec((name(), "[ -~]{0,20}"), 0..12),
        connection in prop::collection::vec("[ -~]{0,12}", 0..3),
        named in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
    ) {
        let mut map = HeaderMap::new();
        for (name, value) in &headers {
            map.append(name, value.parse().unwrap());
        }
        for value in &connection {
            map.append("connection", value.parse().unwrap());
        }
        for index in named {
            if let Some((name, _)) = headers.get(index.index(headers.len().max(1))) {
                map.append("connection", format!(" {name} ,x").parse().unwrap());
            }
        }
        let before = map.clone();
        for_next_hop(&mut map, None);
        let listed: Vec<String> = before
            .get_all("connection")
            .iter()
            .flat_map(|value| value.to_str().unwrap().split(','))
            .map(|name| name.trim().to_ascii_lowercase())
            .collect();
        for (name, value) in &before {
            let is_of_one_hop = OF_ONE_HOP.contains(&name.as_str())
                || name.as_str().starts_with("proxy-")
                || listed.iter().any(|listed| listed == name.as_str());
            let stays = map.get_all(name).iter().any(|it| it == value);
            prop_assert_eq!(stays, !is_of_one_hop, "{}", name);
        }
        prop_assert!(map.len() <= before.len());
    }
}
