// The caller may spawn it.
//~ future cannot be sent between threads safely
//~ `Rc<&str>`

use fourway_core::{Runtime, yield_now};
use std::rc::Rc;

pub fn library(rt: &impl Runtime) {
    let _ = rt.call(async {
        let text = Rc::new("text");
        yield_now().await;
        text.len()
    });
}

fn main() {}
