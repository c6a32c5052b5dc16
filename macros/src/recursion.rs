//! Recursive calls: their types would contain themselves.

use std::collections::BTreeSet;

use crate::{
    errors::at,
    item::{ImplItem, ImplItemFn, ItemImpl},
    options::Options,
    signature::tokens,
    words,
};
use proc_macro2::Ident;

/// An error for async methods that use themselves without a box, directly or through others. Each
/// cycle gives one error, in its first method.
pub(crate) fn refuse(block: &ItemImpl, options: &Options) -> syn::Result<()> {
    // The calls of a trait are boxed.
    if options.boxed || block.trait_.is_some() {
        return Ok(());
    }
    let functions = block.items.iter().filter_map(|item| match item {
        ImplItem::Fn(function) => Some(function),
        _ => None,
    });
    let methods: Vec<Unboxed> = functions.filter_map(Unboxed::of).collect();
    let (mut told, mut errors) = (BTreeSet::new(), None::<syn::Error>);
    for (number, method) in methods.iter().enumerate() {
        for used in &method.uses {
            let circle = reached(&methods, used);
            if !circle.contains(&number) || told.contains(&number) {
                continue;
            }
            told.extend(circle);
            let error = at(
                used,
                "a call that is part of itself has a type that contains itself: mark the method `#[boxed]`",
            );
            match &mut errors {
                Some(errors) => errors.combine(error),
                None => errors = Some(error),
            }
        }
    }
    errors.map_or(Ok(()), Err)
}

/// An async method whose call is not boxed, and the methods that it uses.
struct Unboxed {
    name: Ident,
    uses: Vec<Ident>,
}

impl Unboxed {
    fn of(function: &ImplItemFn) -> Option<Self> {
        let is_marked = |name: &str| {
            let mut attributes = function.attrs.iter();
            attributes.any(|attribute| attribute.path().is_ident(name))
        };
        let is_async = function.sig.asyncness.is_some();
        (is_async && !is_marked("boxed") && !is_marked("only")).then(|| Self {
            name: function.sig.ident.clone(),
            uses: words::uses(tokens(&function.block)),
        })
    }
}

/// The numbers of the methods whose calls are part of this method's call, with its own.
fn reached(methods: &[Unboxed], name: &Ident) -> BTreeSet<usize> {
    let numbers = |name: &Ident| -> Vec<usize> {
        let of_name = |number: &usize| methods[*number].name == *name;
        (0..methods.len()).filter(of_name).collect()
    };
    let (mut found, mut next) = (BTreeSet::new(), numbers(name));
    while let Some(number) = next.pop() {
        if found.insert(number) {
            next.extend(methods[number].uses.iter().flat_map(numbers));
        }
    }
    found
}
