//! The attribute [`macro@test`], which `fourway-sim` re-exports.
//!
//! It works on the compiler's own tokens: it only has to find a function's name, parameters and
//! body. A whole parser would take longer to compile than the rest of `fourway-sim`.

#![forbid(unsafe_code)]

use std::iter::Peekable;

use proc_macro::{
    Delimiter, Group, Ident, Punct, Spacing, Span, TokenStream, TokenTree, token_stream::IntoIter,
};

/// A test that is simulated under many seeds: a function, sync or async, of the runtime.
///
/// It may give `()` or a `Result`. Other attributes (`#[should_panic]`, `#[ignore]`) keep their
/// meaning.
///
/// Options are methods of `fourway_sim::Check`, as `name = argument`.
///
/// # Examples
///
/// ```ignore
/// use fourway_sim::{Faults, Sim};
///
/// #[fourway_sim::test]
/// fn waits(rt: Sim) {
///     assert_eq!(rt.spawn(async { 1 }).wait().unwrap(), 1);
/// }
///
/// #[fourway_sim::test(seeds = 500, with = Sim::builder().workers(2))]
/// async fn awaits(rt: Sim) -> Result<(), fourway_core::JoinError> {
///     rt.spawn(async {}).await
/// }
/// ```
#[proc_macro_attribute]
pub fn test(options: TokenStream, item: TokenStream) -> TokenStream {
    match Function::parse(item).and_then(|function| Ok((calls(options)?, function))) {
        Ok((calls, function)) => function.into_test(&calls),
        Err(error) => error.into_tokens(),
    }
}

struct Error {
    at: Span,
    text: &'static str,
}

impl Error {
    fn into_tokens(self) -> TokenStream {
        let text = TokenTree::Literal(proc_macro::Literal::string(self.text));
        let mut tokens: TokenStream = "::core::compile_error!".parse().unwrap_or_default();
        tokens.extend([group(Delimiter::Parenthesis, text.into()), punct(';')]);
        tokens
            .into_iter()
            .map(|mut token| {
                token.set_span(self.at);
                token
            })
            .collect()
    }
}

/// The parts of a function that the attribute needs.
struct Function {
    attributes: TokenStream,
    is_async: bool,
    name: Ident,
    parameters: Group,
    /// From the parameters to the body.
    output: TokenStream,
    body: Group,
}

impl Function {
    fn parse(item: TokenStream) -> Result<Self, Error> {
        let not_a_function = |at| Error {
            at,
            text: "`#[fourway_sim::test]` is for functions: `fn name(rt: Sim) { .. }`, or async ones",
        };
        let mut tokens = item.into_iter().peekable();
        let attributes = attributes(&mut tokens);
        let mut is_async = false;
        let mut last = Span::call_site();
        // Visibility and qualifiers.
        loop {
            let token = tokens.next().ok_or_else(|| not_a_function(last))?;
            last = token.span();
            match token {
                TokenTree::Ident(word) if word.to_string() == "fn" => break,
                TokenTree::Ident(word) if word.to_string() == "async" => is_async = true,
                TokenTree::Ident(word) if word.to_string() == "pub" => {}
                TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis => {}
                _ => return Err(not_a_function(last)),
            }
        }
        let Some(TokenTree::Ident(name)) = tokens.next() else {
            return Err(not_a_function(last));
        };
        let parameters = match tokens.next() {
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis => group,
            _ => {
                return Err(Error {
                    at: name.span(),
                    text: "a simulated test has no type parameters: nobody would choose them",
                });
            }
        };
        if parameters.stream().is_empty() {
            return Err(Error {
                at: parameters.span(),
                text: "a simulated test takes the runtime: `fn name(rt: Sim)`",
            });
        }
        let mut rest: Vec<TokenTree> = tokens.collect();
        match rest.pop() {
            Some(TokenTree::Group(body)) if body.delimiter() == Delimiter::Brace => Ok(Self {
                attributes,
                is_async,
                name,
                parameters,
                output: rest.into_iter().collect(),
                body,
            }),
            _ => Err(not_a_function(name.span())),
        }
    }

    /// `#[test] fn name() { async fn name(rt: Sim) { .. } Check::default()..run(..) }`
    fn into_test(self, calls: &TokenStream) -> TokenStream {
        let mut inside = TokenStream::new();
        if self.is_async {
            inside.extend([word("async", self.name.span())]);
        }
        inside.extend([
            word("fn", self.name.span()),
            TokenTree::Ident(self.name.clone()),
            TokenTree::Group(self.parameters),
        ]);
        inside.extend(self.output);
        inside.extend([TokenTree::Group(self.body)]);
        inside.extend(parsed("let check = ::fourway_sim::Check::default()"));
        inside.extend(calls.clone());
        inside.extend(parsed(if self.is_async {
            "; ::fourway_sim::__private::run_async"
        } else {
            "; ::fourway_sim::__private::run"
        }));
        let mut arguments = parsed("check,");
        arguments.extend([TokenTree::Ident(self.name.clone())]);
        inside.extend([group(Delimiter::Parenthesis, arguments), punct(';')]);

        let mut test = self.attributes;
        test.extend(parsed("#[::core::prelude::v1::test]"));
        test.extend([
            word("fn", self.name.span()),
            TokenTree::Ident(self.name),
            group(Delimiter::Parenthesis, TokenStream::new()),
            group(Delimiter::Brace, inside),
        ]);
        test
    }
}

/// `#[..] #[..]`, documentation included.
fn attributes(tokens: &mut Peekable<IntoIter>) -> TokenStream {
    let mut attributes = TokenStream::new();
    while matches!(tokens.peek(), Some(TokenTree::Punct(hash)) if hash.as_char() == '#') {
        attributes.extend(tokens.by_ref().take(2));
    }
    attributes
}

/// `seeds = 5, twice = true`: `.seeds(5).twice(true)`.
fn calls(options: TokenStream) -> Result<TokenStream, Error> {
    let mut calls = TokenStream::new();
    let mut tokens = options.into_iter();
    while let Some(token) = tokens.next() {
        let at = token.span();
        let malformed = || Error {
            at,
            text: "options are methods of `fourway_sim::Check`, as `seeds = 500`",
        };
        let TokenTree::Ident(name) = token else {
            return Err(malformed());
        };
        if !is(tokens.next().as_ref(), '=') {
            return Err(malformed());
        }
        let mut argument = TokenStream::new();
        for token in tokens.by_ref() {
            if is(Some(&token), ',') {
                break;
            }
            argument.extend([token]);
        }
        if argument.is_empty() {
            return Err(malformed());
        }
        calls.extend([
            punct('.'),
            TokenTree::Ident(name),
            group(Delimiter::Parenthesis, argument),
        ]);
    }
    Ok(calls)
}

fn is(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

fn word(text: &str, at: Span) -> TokenTree {
    TokenTree::Ident(Ident::new(text, at))
}

fn punct(text: char) -> TokenTree {
    TokenTree::Punct(Punct::new(text, Spacing::Alone))
}

fn group(delimiter: Delimiter, inside: TokenStream) -> TokenTree {
    TokenTree::Group(Group::new(delimiter, inside))
}

fn parsed(text: &str) -> TokenStream {
    text.parse().expect("it is written here, and correct")
}
