//! `#[calls]` costs nothing at run time: what a call allocates by the attribute is what it
//! allocates by hand. (Its instructions are counted by `benches/instructions`.)

mod libraries;

use fourway_testing::Counting;
use libraries::{COLUMNS, WAYS, run};

#[global_allocator]
static COUNTING: Counting = Counting;

/// The only test here, as others would count too.
#[test]
fn the_attribute_allocates_what_one_allocates_by_hand() {
    for column in COLUMNS {
        // A task may be there before it is waited for, or not, which allocates one more: the
        // fewest of many calls are the same in every run.
        let [hand, attribute, closures] = WAYS.map(|way| {
            let counts = (0..50).map(|_| run(way, column, 1, Counting::of_this_thread));
            counts.min().expect("there are some")
        });
        assert_eq!(hand, attribute, "{column}: by hand, and by the attribute");
        assert_eq!(
            closures, attribute,
            "{column}: in closures, and by the attribute"
        );
        assert!(hand > 0, "{column}: something is counted");
    }
}
