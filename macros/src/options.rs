//! The options of `#[calls(..)]`, and the marks on methods.

use proc_macro2::Span;
use syn::{
    Attribute, Expr, Ident, Path, Token, Visibility, parenthesized,
    parse::{Parse, ParseStream, Parser},
    parse_quote,
};

use crate::{
    attributes::{name_of, one_each},
    errors::at,
};

/// The crate of the macro.
#[derive(Clone, Copy)]
pub(crate) enum Home {
    Core,
    Facade,
}

/// The options of `#[calls]`.
pub(crate) struct Options {
    /// The crate with `call` and `Runtime`.
    pub(crate) home: Path,
    /// The crate with `Items`.
    pub(crate) streams: Path,
    /// Where the runtime is, in terms of `self`.
    pub(crate) runtime: Option<Expr>,
    pub(crate) boxed: bool,
    pub(crate) mirror: Option<Modules>,
}

/// The modules of the mirrors.
pub(crate) struct Modules {
    pub(crate) blocking: Module,
    pub(crate) asynchronous: Module,
    /// Another block of the type has made them.
    pub(crate) more: bool,
}

/// The module of a mirror.
pub(crate) struct Module {
    pub(crate) visibility: Visibility,
    pub(crate) name: Ident,
}

const KNOWN: &str = "the options are `runtime = self.field`, `boxed`, `mirror`, \
     `mirror(blocking = name, asynchronous = name)`, `mirror(more)`, `crate = path` and `streams = path`";

impl Options {
    pub(crate) fn parse(tokens: proc_macro2::TokenStream, home: Home) -> syn::Result<Self> {
        let parse = |input: ParseStream<'_>| Self::parse_in(input, home);
        parse.parse2(tokens)
    }

    fn parse_in(input: ParseStream<'_>, home: Home) -> syn::Result<Self> {
        let mut options = Self::new(home);
        let mut streams = None;
        while !input.is_empty() {
            if input.peek(Token![crate]) {
                input.parse::<Token![crate]>()?;
                input.parse::<Token![=]>()?;
                options.home = input.call(Path::parse_mod_style)?;
            } else {
                let name: Ident = input
                    .parse()
                    .map_err(|error| syn::Error::new(error.span(), KNOWN))?;
                match name.to_string().as_str() {
                    "runtime" => {
                        input.parse::<Token![=]>()?;
                        options.runtime = Some(input.parse()?);
                    }
                    "streams" => {
                        input.parse::<Token![=]>()?;
                        streams = Some(input.call(Path::parse_mod_style)?);
                    }
                    "boxed" => options.boxed = true,
                    "mirror" => options.mirror = Some(input.parse()?),
                    other => {
                        let text = format!("there is no option `{other}`; {KNOWN}");
                        return Err(syn::Error::new(name.span(), text));
                    }
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        if let Some(streams) = streams {
            options.streams = streams;
        }
        Ok(options)
    }

    pub(crate) fn new(home: Home) -> Self {
        let (home, streams) = match home {
            Home::Core => (
                parse_quote!(::fourway_core),
                parse_quote!(::fourway_streams),
            ),
            Home::Facade => (parse_quote!(::fourway), parse_quote!(::fourway::streams)),
        };
        Self {
            home,
            streams,
            runtime: None,
            boxed: false,
            mirror: None,
        }
    }
}

impl Parse for Modules {
    /// The options after the word `mirror`.
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let named = |name| Module {
            visibility: parse_quote!(pub),
            name: Ident::new(name, Span::call_site()),
        };
        let mut modules = Self {
            blocking: named("blocking"),
            asynchronous: named("asynchronous"),
            more: false,
        };
        if !input.peek(syn::token::Paren) {
            return Ok(modules);
        }
        let inside;
        parenthesized!(inside in input);
        while !inside.is_empty() {
            let word: Ident = inside.parse()?;
            if word == "more" {
                modules.more = true;
            } else {
                let side = Side::named(&word)?;
                inside.parse::<Token![=]>()?;
                let module = inside.parse()?;
                match side {
                    Side::Blocking => modules.blocking = module,
                    Side::Asynchronous => modules.asynchronous = module,
                }
            }
            if !inside.is_empty() {
                inside.parse::<Token![,]>()?;
            }
        }
        if modules.blocking.name == modules.asynchronous.name {
            return Err(at(
                &modules.asynchronous.name,
                "the two mirrors are two modules: give them two names",
            ));
        }
        Ok(modules)
    }
}

impl Parse for Module {
    /// A name, with a visibility if it is not `pub`.
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let visibility = match input.parse()? {
            Visibility::Inherited => parse_quote!(pub),
            visibility => visibility,
        };
        let name = input.parse()?;
        Ok(Self { visibility, name })
    }
}

/// One of the two mirrors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Blocking,
    Asynchronous,
}

impl Side {
    fn named(name: &Ident) -> syn::Result<Self> {
        match name.to_string().as_str() {
            "blocking" => Ok(Self::Blocking),
            "asynchronous" => Ok(Self::Asynchronous),
            _ => Err(at(name, "the mirrors are `blocking` and `asynchronous`")),
        }
    }
}

/// The marks of a method.
#[derive(Default)]
pub(crate) struct Marks {
    pub(crate) blocking: Option<Attribute>,
    pub(crate) boxed: bool,
    pub(crate) only: Option<(Side, Attribute)>,
}

impl Marks {
    /// Takes the marks out of a method's attributes.
    pub(crate) fn take(attributes: &mut Vec<Attribute>) -> syn::Result<Self> {
        let mut marks = Self::default();
        let mut rest = Vec::with_capacity(attributes.len());
        for attribute in attributes.drain(..) {
            let path = attribute.path();
            if path.is_ident("blocking") {
                attribute.meta.require_path_only()?;
                marks.blocking = Some(attribute);
            } else if path.is_ident("boxed") {
                attribute.meta.require_path_only()?;
                marks.boxed = true;
            } else if path.is_ident("only") {
                let side = Side::named(&attribute.parse_args()?)?;
                marks.only = Some((side, attribute));
            } else {
                refuse_conditional(&attribute)?;
                rest.push(attribute);
            }
        }
        *attributes = rest;
        Ok(marks)
    }
}

/// Refuses a mark in a `cfg_attr`: the macro cannot evaluate the condition.
fn refuse_conditional(attribute: &Attribute) -> syn::Result<()> {
    if !attribute.path().is_ident("cfg_attr") {
        return Ok(());
    }
    for given in one_each(attribute.clone()) {
        if let Some("blocking" | "boxed" | "only") = name_of(&given).as_deref() {
            return Err(at(
                attribute,
                "a mark is there or not: write the method twice, each under a `#[cfg(..)]`, and so the \
                 blocking methods of this block that call it",
            ));
        }
    }
    Ok(())
}

/// Is it this attribute, written with any path?
pub(crate) fn is_named(attribute: &Attribute, name: &str) -> bool {
    let last = attribute.path().segments.last();
    last.is_some_and(|segment| segment.ident == name)
}
