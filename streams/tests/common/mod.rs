//! What the tests of several files need.

use fourway_streams::Items;

/// Awaits the items that are left, after which there are none.
pub(crate) async fn rest(items: &mut Items<u32>) -> Vec<u32> {
    let mut all = Vec::new();
    while let Some(item) = items.next().await {
        all.push(item);
    }
    assert_eq!(items.next().await, None);
    all
}
