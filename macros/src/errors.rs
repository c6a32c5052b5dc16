//! Several mistakes reported together, each at its line.

use proc_macro2::TokenStream;
use quote::ToTokens;

/// Mistakes that have been found.
#[derive(Default)]
pub(crate) struct Errors(Option<syn::Error>);

impl Errors {
    pub(crate) fn push(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            None => self.0 = Some(error),
        }
    }

    /// The value, if there is one.
    pub(crate) fn take<T>(&mut self, result: syn::Result<T>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }

    /// `compile_error!`s, or nothing.
    pub(crate) fn into_tokens(self) -> TokenStream {
        self.0
            .map(|error| error.into_compile_error())
            .unwrap_or_default()
    }
}

/// An error that points at some tokens.
pub(crate) fn at(tokens: impl ToTokens, text: impl std::fmt::Display) -> syn::Error {
    syn::Error::new_spanned(tokens, text)
}

/// An error of parsing, for users of the attributes. Without its feature `full`, `syn` refuses some
/// expressions in types, with a text for its own users.
pub(crate) fn of_parsing(error: syn::Error) -> syn::Error {
    if error.to_string().contains("syn's features") {
        return syn::Error::new(
            error.span(),
            "an attribute cannot read this expression in a type: give it a name, \
             `const LEN: usize = ..;`, and write the name here",
        );
    }
    error
}
