//! Prints a file with `#[calls]` expanded in each block and trait, and without the import of the
//! attribute. For `benches/compile-time`, which compiles both forms, or to look at:
//!
//! ```text
//! cargo run -p fourway-macros --example expand -- examples/skillkit/src/lib.rs | rustfmt --edition 2024
//! ```

#[path = "../src/arguments.rs"]
mod arguments;
#[path = "../src/attributes.rs"]
mod attributes;
#[path = "../src/calls.rs"]
mod calls;
#[path = "../src/errors.rs"]
mod errors;
#[path = "../src/item.rs"]
mod item;
#[path = "../src/mirror.rs"]
mod mirror;
#[path = "../src/mirror_methods.rs"]
mod mirror_methods;
#[path = "../src/options.rs"]
mod options;
#[path = "../src/parse.rs"]
mod parse;
#[path = "../src/recursion.rs"]
mod recursion;
#[path = "../src/signature.rs"]
mod signature;
#[path = "../src/unconstrained.rs"]
mod unconstrained;
#[path = "../src/words.rs"]
mod words;

use std::error::Error;

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{Attribute, Item, Meta};

use options::{Home, is_named};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1);
    let path = path.ok_or("usage: expand FILE")?;
    let file = syn::parse_file(&std::fs::read_to_string(path)?)?;
    for attribute in &file.attrs {
        println!("{}", attribute.to_token_stream());
    }
    for item in file.items {
        println!("{}", expanded(item));
    }
    Ok(())
}

fn expanded(mut item: Item) -> TokenStream {
    let attributes = match &mut item {
        Item::Impl(block) => &mut block.attrs,
        Item::Trait(definition) => &mut definition.attrs,
        Item::Use(import)
            if import
                .to_token_stream()
                .to_string()
                .contains("fourway_macros") =>
        {
            return TokenStream::new();
        }
        _ => return item.into_token_stream(),
    };
    let is_ours = |attribute: &Attribute| is_named(attribute, "calls");
    let Some(at) = attributes.iter().position(is_ours) else {
        return item.into_token_stream();
    };
    let attribute = attributes.remove(at);
    let first = attribute.path().segments.first();
    let home = match first.is_some_and(|first| first.ident == "fourway") {
        true => Home::Facade,
        false => Home::Core,
    };
    let arguments = match attribute.meta {
        Meta::List(list) => list.tokens,
        _ => TokenStream::new(),
    };
    calls::expand(arguments, item.into_token_stream(), home)
}
