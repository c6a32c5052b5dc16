//! `#[calls]` costs nothing at run time: a call by the attribute allocates as much as one by hand.
//! (Its instructions are counted by `benches/instructions`.)

mod libraries;

use fourway_testing::Counting;
use libraries::{COLUMNS, WAYS, run};

#[global_allocator]
static COUNTING: Counting = Counting;

/// The only test here, as allocations of other tests would count, too.
#[test]
fn the_attribute_allocates_what_one_allocates_by_hand() {
    for column in COLUMNS {
        // If a task is not done when its wait begins, there is one more allocation. So the minimum
        // of many calls is compared, which is the same in every run.
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
