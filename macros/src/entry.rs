//! `#[fourway::main]` and `#[fourway::test]`.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{
    Attribute, Expr, ExprLit, Ident, Lit, LitInt, LitStr, Path, Token, Type, parenthesized,
    parse::{Parse, ParseStream},
    parse_quote,
    punctuated::Punctuated,
};

use crate::{
    attributes::{cfgs, name_of, one_each},
    errors::{Errors, at, of_parsing},
    item::{FnArg, ImplItemFn as ItemFn},
    options::is_named,
    words,
};

pub(crate) fn main(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let function: ItemFn = match syn::parse2(item.clone()) {
        Ok(function) => function,
        Err(error) => return with_error(item, &of_parsing(error)),
    };
    let options = errors.take(syn::parse2(arguments)).unwrap_or_default();
    errors.take(options_of_main(&options));
    if function.sig.asyncness.is_none() {
        errors.push(at(function.sig.fn_token, "`#[fourway::main]` is for an `async fn`: sync code needs no entry, and has `fourway::default_runtime()`"));
    }
    let Options { home, runtime, .. } = &options;
    let body = body(&function);
    let (attributes, visibility, name) = (&function.attrs, &function.vis, &function.sig.ident);
    let output = &function.sig.output;
    let settings = options.settings();
    let (need, chosen) = match runtime {
        None => (quote!(#home::__need_any!();), None),
        Some(literal) => match errors.take(Known::of(literal)) {
            Some(known) => {
                let need = known.need(home, literal.span());
                let feature = known.feature;
                (need, Some(quote!(.runtime(#feature))))
            }
            None => Default::default(),
        },
    };
    let shutdown = options
        .shutdown
        .as_ref()
        .and_then(|wait| errors.take(duration(wait)));
    let shutdown = shutdown.map(|wait| quote!(.shutdown_timeout(#wait)));
    let takes: Option<Vec<_>> = function.sig.inputs.iter().map(type_of).collect();
    let run = match takes.as_deref() {
        Some([]) => quote!(run(body())),
        // Named, so that an error is at the argument's place.
        Some([one]) => quote!(run_given::<#one, _>(body)),
        Some([one, two]) => quote! {
            run_given::<(#one, #two), _>(|(one, two)| body(one, two))
        },
        _ => {
            errors.push(at(
                &function.sig.inputs,
                "`main` takes nothing, the runtime (`rt: fourway::AnyRuntime`), a token that Ctrl-C cancels \
                 (`stop: fourway::CancellationToken`), or both",
            ));
            quote!(run(async { ::std::unreachable!() }))
        }
    };
    let errors = errors.into_tokens();
    quote! {
        #errors
        #(#attributes)*
        #visibility fn #name() #output {
            #body
            #need
            #home::entry::Main::new() #chosen #settings #shutdown .#run
        }
    }
}

fn type_of(input: &FnArg) -> Option<&Type> {
    match input {
        FnArg::Typed(argument) => Some(&argument.ty),
        FnArg::Receiver(_) => None,
    }
}

/// The function with its body, under the name `body`.
fn body(function: &ItemFn) -> TokenStream {
    let mut body = function.clone();
    body.attrs.clear();
    body.vis = syn::Visibility::Inherited;
    body.sig.ident = Ident::new("body", Span::mixed_site());
    body.sig.asyncness.get_or_insert_with(Default::default);
    body.into_token_stream()
}

fn options_of_main(options: &Options) -> syn::Result<()> {
    if let Some(name) = options.only.first().or(options.except.first()) {
        return Err(at(name, "a program has one runtime: `runtime = \"tokio\"`"));
    }
    match &options.timeout {
        Some(timeout) => Err(at(
            timeout,
            "`timeout` is for tests; the time for the shutdown is `shutdown`",
        )),
        None => Ok(()),
    }
}

pub(crate) fn test(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let mut function: ItemFn = match syn::parse2(item.clone()) {
        Ok(function) => function,
        Err(error) => return with_error(item, &of_parsing(error)),
    };
    if let Some(moved) = behind_a_generator(&arguments, &mut function) {
        return moved;
    }
    let mut errors = Errors::default();
    let options: Options = errors.take(syn::parse2(arguments)).unwrap_or_default();
    errors.take(options_of_test(&options, &function));
    errors.take(run_once(&function.attrs, &options.home));
    let runtimes = errors.take(runtimes(&options)).unwrap_or_default();
    // Attributes of the function, and of the test; some may be in a `cfg_attr`.
    let each = function.attrs.drain(..).flat_map(one_each);
    let (of_test, of_body): (Vec<_>, Vec<_>) = each.partition(|attribute| {
        matches!(
            name_of(attribute).as_deref(),
            Some("should_panic" | "ignore")
        )
    });
    function.attrs = of_body;
    let cfgs: Vec<_> = cfgs(&function.attrs).into_iter().cloned().collect();
    let (name, output) = (&function.sig.ident, &function.sig.output);
    // The tests are in a module below the function.
    let output = words::further_in(output.to_token_stream());
    let home = &words::further_in(options.home.to_token_stream());
    let settings = options.settings();
    let timeout = options
        .timeout
        .as_ref()
        .and_then(|time| errors.take(duration(time)));
    let timeout = timeout.map(|time| words::further_in(quote!(.timeout(#time))));
    let called = match (&function.sig.asyncness, function.sig.inputs.len()) {
        (Some(_), 0) => quote!(run(|_| super::#name())),
        (Some(_), 1) => quote!(run(|runtime| super::#name(runtime))),
        (None, 1) => quote!(run_blocking(|runtime| super::#name(runtime))),
        (None, _) => {
            errors.push(at(
                &function.sig,
                "a test that is sync code gets its runtime as an argument: `fn name(rt: fourway::AnyRuntime)`; or \
                 make it an `async fn`",
            ));
            quote!(run_blocking(|_| ::std::unreachable!()))
        }
        (Some(_), _) => {
            errors.push(at(
                &function.sig.inputs,
                "a test takes nothing, or the runtime (`rt: fourway::AnyRuntime`); other arguments are given by \
                 `#[rstest]` or `#[test_case(..)]`",
            ));
            quote!(run(|_| async { ::std::unreachable!() }))
        }
    };
    let tests = runtimes.iter().map(|(known, asked)| {
        let feature = known.feature;
        let name = Ident::new(known.name, function.sig.ident.span());
        let test = quote! {
            #[::core::prelude::v1::test]
            #(#of_test)*
            fn #name() #output {
                #home::entry::Test::new(#feature) #settings #timeout .#called
            }
        };
        match asked {
            Some(span) => {
                let need = known.need(home, *span);
                quote!(#need #test)
            }
            None => {
                let when = format_ident!("__if_{}", known.name);
                quote!(#home::#when! { #test })
            }
        }
    });
    let tests: Vec<_> = tests.collect();
    let errors = errors.into_tokens();
    let hint = "the test on each runtime";
    quote! {
        #errors
        #[cfg(test)]
        #function

        #(#cfgs)*
        #[cfg(test)]
        #[doc = #hint]
        mod #name {
            #[allow(unused_imports, reason = "the output may name anything")]
            use super::*;

            #home::__need_any!();
            #(#tests)*
        }
    }
}

/// Handles attributes below ours that make several tests of one: each of their tests gets ours, so
/// that the order of the attributes does not matter.
fn behind_a_generator(arguments: &TokenStream, function: &mut ItemFn) -> Option<TokenStream> {
    let makes_tests = |attribute: &Attribute| {
        ["rstest", "test_case", "test_matrix"]
            .iter()
            .any(|name| is_named(attribute, name))
    };
    let home = home_in(arguments);
    let is_ours = |attribute: &Attribute| is_ours(attribute, &home);
    if !function.attrs.iter().any(makes_tests) || function.attrs.iter().any(is_ours) {
        return None;
    }
    // By a path that ends in `test`: they recognise test attributes by that.
    function
        .attrs
        .push(parse_quote!(#[#home::test(#arguments)]));
    Some(function.to_token_stream())
}

/// The crate that the options name, or the facade.
fn home_in(arguments: &TokenStream) -> Path {
    let options = syn::parse2::<Options>(arguments.clone());
    options.unwrap_or_default().home
}

/// Is it `#[fourway::test]`, by the name that the facade has here?
fn is_ours(attribute: &Attribute, home: &Path) -> bool {
    let first = |path: &Path| path.segments.first().map(|first| first.ident.clone());
    is_named(attribute, "test") && first(attribute.path()) == first(home)
}

fn run_once(attributes: &[Attribute], home: &Path) -> syn::Result<()> {
    match attributes
        .iter()
        .find(|attribute| is_named(attribute, "test"))
    {
        Some(again) if is_ours(again, home) => Err(at(
            again,
            "`#[fourway::test]` is here twice, and each test would run twice: remove one, and put the options together",
        )),
        Some(other) => Err(at(
            other,
            "`#[fourway::test]` makes the tests, and with this attribute each would run twice: remove it",
        )),
        None => Ok(()),
    }
}

fn options_of_test(options: &Options, function: &ItemFn) -> syn::Result<()> {
    if let Some(name) = &options.runtime {
        return Err(at(
            name,
            "a test runs on each runtime; for one alone, write `only(tokio)`",
        ));
    }
    if let Some(wait) = &options.shutdown {
        return Err(at(wait, "`shutdown` is for `main`"));
    }
    match &options.timeout {
        Some(timeout) if function.sig.asyncness.is_none() => Err(at(
            timeout,
            "a `timeout` ends what waits in async code: make the test an `async fn`, or wait with a deadline of \
             your own",
        )),
        _ => Ok(()),
    }
}

/// The runtimes of a test, each with the place of its name.
fn runtimes(options: &Options) -> syn::Result<Vec<(&'static Known, Option<Span>)>> {
    if let (Some(_), Some(except)) = (options.only.first(), options.except.first()) {
        return Err(at(except, "write either `only(..)` or `except(..)`"));
    }
    if !options.only.is_empty() {
        let mut only = Vec::new();
        for name in &options.only {
            let known = Known::named(name)?;
            if only.iter().any(|(other, _)| *other == known) {
                return Err(at(name, "this runtime is named already"));
            }
            only.push((known, Some(name.span())));
        }
        return Ok(only);
    }
    let except = options.except.iter().map(Known::named);
    let except = except.collect::<syn::Result<Vec<_>>>()?;
    let left = KNOWN.iter().filter(|known| !except.contains(known));
    let left: Vec<_> = left.map(|known| (known, None)).collect();
    match options.except.first() {
        Some(name) if left.is_empty() => Err(at(
            name,
            "a test that leaves out all runtimes never runs: leave one, or mark it `#[ignore]`",
        )),
        _ => Ok(left),
    }
}

/// A runtime that the facade may have.
#[derive(Debug, PartialEq, Eq)]
struct Known {
    /// In Rust.
    name: &'static str,
    /// In a manifest.
    feature: &'static str,
}

const KNOWN: &[Known] = &[
    Known {
        name: "tokio",
        feature: "tokio",
    },
    Known {
        name: "smol",
        feature: "smol",
    },
    Known {
        name: "std_thread",
        feature: "std-thread",
    },
];

impl Known {
    fn of(literal: &LitStr) -> syn::Result<&'static Self> {
        let found = KNOWN.iter().find(|known| known.feature == literal.value());
        found.ok_or_else(|| {
            at(
                literal,
                "the runtimes are \"tokio\", \"smol\" and \"std-thread\"",
            )
        })
    }

    fn named(name: &Ident) -> syn::Result<&'static Self> {
        let found = KNOWN.iter().find(|known| name == known.name);
        found.ok_or_else(|| at(name, "the runtimes are `tokio`, `smol` and `std_thread`"))
    }

    /// An error, at this place, if it is not compiled in.
    fn need(&self, home: &impl ToTokens, span: Span) -> TokenStream {
        let need = Ident::new(&format!("__need_{}", self.name), span);
        quote_spanned!(span=> #home::#need!();)
    }
}

struct Options {
    home: Path,
    runtime: Option<LitStr>,
    workers: Option<LitInt>,
    current_thread: bool,
    thread_name: Option<LitStr>,
    shutdown: Option<Expr>,
    timeout: Option<Expr>,
    only: Vec<Ident>,
    except: Vec<Ident>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            home: parse_quote!(::fourway),
            runtime: None,
            workers: None,
            current_thread: false,
            thread_name: None,
            shutdown: None,
            timeout: None,
            only: Vec::new(),
            except: Vec::new(),
        }
    }
}

impl Options {
    /// The settings of the entry.
    fn settings(&self) -> TokenStream {
        let workers = self
            .workers
            .as_ref()
            .map(|workers| quote!(.worker_threads(#workers)));
        let current = self.current_thread.then(|| quote!(.current_thread()));
        let name = self
            .thread_name
            .as_ref()
            .map(|name| quote!(.thread_name(#name)));
        quote!(#workers #current #name)
    }
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut options = Self::default();
        while !input.is_empty() {
            if input.peek(Token![crate]) {
                input.parse::<Token![crate]>()?;
                input.parse::<Token![=]>()?;
                options.home = input.call(Path::parse_mod_style)?;
            } else {
                let name: Ident = input.parse()?;
                let text = name.to_string();
                if text == "only" || text == "except" {
                    let inside;
                    parenthesized!(inside in input);
                    let names = Punctuated::<Ident, Token![,]>::parse_terminated(&inside)?;
                    if names.is_empty() {
                        return Err(at(name, "name a runtime: `tokio`, `smol` or `std_thread`"));
                    }
                    match text.as_str() {
                        "only" => options.only.extend(names),
                        _ => options.except.extend(names),
                    }
                } else {
                    input.parse::<Token![=]>()?;
                    match text.as_str() {
                        "runtime" => options.runtime = Some(input.parse()?),
                        "workers" => {
                            let workers: LitInt = input.parse()?;
                            if workers.base10_digits() == "0" {
                                return Err(at(workers, "a runtime has at least one worker"));
                            }
                            options.workers = Some(workers);
                        }
                        "thread_name" => options.thread_name = Some(input.parse()?),
                        "shutdown" => options.shutdown = Some(input.parse()?),
                        "timeout" => options.timeout = Some(input.parse()?),
                        "flavour" | "flavor" => {
                            let flavour: LitStr = input.parse()?;
                            options.current_thread = match flavour.value().as_str() {
                                "current_thread" => true,
                                "multi_thread" => false,
                                _ => {
                                    return Err(at(
                                        flavour,
                                        "the flavours are \"current_thread\" and \"multi_thread\"",
                                    ));
                                }
                            };
                        }
                        _ => {
                            return Err(at(
                                name,
                                "the options are `runtime`, `workers`, `flavour`, `thread_name`, `shutdown` and \
                                 `crate` of a program; `only(..)`, `except(..)`, `workers`, `flavour`, `timeout` and \
                                 `crate` of a test",
                            ));
                        }
                    }
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(options)
    }
}

/// A text such as `"500ms"`, `"10s"` or `"2min"`, or an expression that is a `Duration`.
fn duration(expression: &Expr) -> syn::Result<TokenStream> {
    let Expr::Lit(ExprLit {
        lit: Lit::Str(text),
        ..
    }) = expression
    else {
        return Ok(expression.to_token_stream());
    };
    let value = text.value();
    let digits = value.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let number: Option<u64> = digits.trim().parse().ok();
    let milliseconds = match &value[digits.len()..] {
        "ms" => number,
        "s" => number.and_then(|number| number.checked_mul(1000)),
        "min" => number.and_then(|number| number.checked_mul(60_000)),
        _ => None,
    };
    match milliseconds {
        Some(milliseconds) => Ok(quote!(::std::time::Duration::from_millis(#milliseconds))),
        None => Err(at(
            text,
            "a time is a number with `ms`, `s` or `min`, such as \"500ms\", or an expression that is a `Duration`",
        )),
    }
}

fn with_error(item: TokenStream, error: &syn::Error) -> TokenStream {
    let error = error.to_compile_error();
    quote!(#item #error)
}
