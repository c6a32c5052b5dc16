// A trait has no mirrors.
//~ a trait has no mirrors
//~ line 9

use fourway_macros::calls;

#[calls]
pub trait Library {
    #[only(blocking)]
    fn one(&self) -> u32;

    async fn two(&self);
}

fn main() {}
