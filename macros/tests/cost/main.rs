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
        let [hand, attribute, closures] =
            WAYS.map(|way| run(way, column, 100, Counting::of_this_thread));
        // Whether a task is there before it is waited for differs from run to run, by a few of
        // these hundred calls; one allocation more a call would be a hundred.
        assert!(
            hand.abs_diff(attribute) < 50,
            "{column}: {hand} by hand, {attribute} by the attribute"
        );
        assert!(
            closures.abs_diff(attribute) < 50,
            "{column}: {closures} in closures, {attribute} by the attribute"
        );
        assert!(hand >= 100, "{column}: something is counted");
    }
}
