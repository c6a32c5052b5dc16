//! Replaces a few tokens of bodies in place, so that each keeps its span.

use proc_macro2::{Delimiter, Group, Ident, Spacing, TokenStream, TokenTree};
use quote::{quote, quote_spanned};
use syn::Path;

/// The body of a blocking method.
pub(crate) struct Body {
    pub(crate) name: Ident,
    /// Has the method no parameters of its own?
    pub(crate) is_plain: bool,
}

/// In a blocking body, calls of other blocking methods, `self.name(..)`, become calls of their
/// bodies, which `body` gives. Not if the `Call` itself is wanted. A body has the parameters of
/// the trait before its own: `first` has their names, each with a comma, for the turbofish.
pub(crate) fn call_in_place(
    tokens: TokenStream,
    body: &dyn Fn(&Ident) -> Option<Body>,
    first: &TokenStream,
) -> TokenStream {
    let mut tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut others = Others::default();
    // It grows by what is put into a turbofish.
    let mut next = 0;
    while next < tokens.len() {
        let at = next;
        next += 1;
        if others.are_of(&tokens[at]) {
            continue;
        }
        if let TokenTree::Group(group) = &tokens[at] {
            let inside = call_in_place(group.stream(), body, first);
            tokens[at] = regrouped(group, inside);
        }
        let [this, dot, name, ..] = &tokens[at..] else {
            continue;
        };
        // A dot before `self`, which is no field, is one of a range or of `..self.name()`.
        let is_method = is_word(this, "self") && is_dot(dot);
        let TokenTree::Ident(name) = name else {
            continue;
        };
        if !is_method || wants_a_call(&tokens[at + 3..]) {
            continue;
        }
        if let Some(body) = body(name) {
            tokens[at + 2] = body.name.into();
            if is_turbofish(&tokens[at + 3..]) {
                tokens.splice(at + 6..at + 6, first.clone());
            } else if body.is_plain && !first.is_empty() {
                // Not all could be inferred.
                tokens.splice(at + 3..at + 3, quote!(::<#first>));
            }
        }
    }
    tokens.into_iter().collect()
}

/// Finds the blocks in which `self` is another value: those of an `impl` or a `trait` in a body.
#[derive(Default)]
struct Others {
    next_brace: bool,
}

impl Others {
    fn are_of(&mut self, token: &TokenTree) -> bool {
        match token {
            TokenTree::Ident(word) if word == "impl" || word == "trait" => self.next_brace = true,
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                return std::mem::take(&mut self.next_brace);
            }
            // The `impl` was in the type of an argument or an output.
            TokenTree::Punct(punct) if punct.as_char() == ';' => self.next_brace = false,
            _ => {}
        }
        false
    }
}

/// What only a call has, besides the methods that spawn it.
const WANTED: &[&str] = &[
    "wait",
    "try_wait",
    "await",
    "into_future",
    "boxed",
    "fallible",
    "timeout",
];

/// After `self.name`: is it not a method call, or is the `Call` itself used?
fn wants_a_call(rest: &[TokenTree]) -> bool {
    match after_arguments(rest) {
        Some([dot, next @ TokenTree::Ident(name), ..]) if is_dot(dot) => {
            is_spawn(next) || WANTED.iter().any(|wanted| name == wanted)
        }
        Some(_) => false,
        None => true,
    }
}

/// After `self.name`: the tokens after the arguments, if it is a method call and not a
/// field.
fn after_arguments(rest: &[TokenTree]) -> Option<&[TokenTree]> {
    match past_turbofish(rest) {
        [TokenTree::Group(group), after @ ..] if group.delimiter() == Delimiter::Parenthesis => {
            Some(after)
        }
        _ => None,
    }
}

fn is_turbofish(rest: &[TokenTree]) -> bool {
    matches!(rest, [one, two, open, ..]
        if is_punct(one, ':') && is_punct(two, ':') && is_punct(open, '<'))
}

fn past_turbofish(rest: &[TokenTree]) -> &[TokenTree] {
    if !is_turbofish(rest) {
        return rest;
    }
    let mut depth = 0;
    for (at, token) in rest.iter().enumerate() {
        // The arrow of `fn() -> T` closes nothing.
        let is_arrow = at > 0 && is_punct(&rest[at - 1], '-');
        if is_punct(token, '<') {
            depth += 1;
        } else if is_punct(token, '>') && !is_arrow {
            depth -= 1;
            if depth == 0 {
                return &rest[at + 1..];
            }
        }
    }
    rest
}

/// The tokens before the arguments of a call, without the `::<..>` of the called function.
fn before_turbofish(before: &[TokenTree]) -> &[TokenTree] {
    if !matches!(before, [.., close] if is_punct(close, '>')) {
        return before;
    }
    let mut starts = (0..before.len()).rev();
    let start = starts.find(|start| past_turbofish(&before[*start..]).is_empty());
    start.map_or(before, |start| &before[..start])
}

/// `Self::Name` becomes `<Self as Trait>::Name` for the types that an `impl` of a trait gives.
pub(crate) fn qualify(tokens: TokenStream, of: &Path, types: &[Ident]) -> TokenStream {
    let mut tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        if let TokenTree::Group(group) = &tokens[at] {
            let inside = qualify(group.stream(), of, types);
            tokens[at] = regrouped(group, inside);
        }
        if let [this, one, two, TokenTree::Ident(name), ..] = &tokens[at..] {
            let is_path = is_word(this, "Self") && is_punct(one, ':') && is_punct(two, ':');
            if is_path && types.contains(name) {
                let qualified = quote!(<#this as #of>);
                tokens.splice(at..=at, qualified);
            }
        }
        at += 1;
    }
    tokens.into_iter().collect()
}

/// `Self` becomes another type.
pub(crate) fn name_self(tokens: TokenStream, ty: &TokenStream) -> TokenStream {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let named = tokens.iter().enumerate().map(|(at, token)| match token {
        TokenTree::Ident(word) if word == "Self" => match begins_path(&tokens[at..]) {
            // In `[u8; Self::LENGTH]`, a type with arguments would be read as a comparison.
            true => quote!(<#ty>),
            false => ty.clone(),
        },
        TokenTree::Group(group) => regrouped(group, name_self(group.stream(), ty)).into(),
        other => other.clone().into(),
    });
    named.collect()
}

/// Rewrites paths that begin at `self` or `super` for use in a child module.
pub(crate) fn further_in(tokens: TokenStream) -> TokenStream {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let moved = tokens.iter().enumerate().map(|(at, token)| {
        // A bound has a single colon.
        let is_inside =
            matches!(&tokens[..at], [.., one, two] if is_punct(one, ':') && is_punct(two, ':'));
        let is_start = begins_path(&tokens[at..]) && !is_inside;
        match token {
            TokenTree::Ident(word) if is_start && word == "self" => {
                quote_spanned!(word.span()=> super)
            }
            TokenTree::Ident(word) if is_start && word == "super" => {
                quote_spanned!(word.span()=> super::#word)
            }
            TokenTree::Group(group) => regrouped(group, further_in(group.stream())).into(),
            token => token.clone().into(),
        }
    });
    moved.collect()
}

/// Do these tokens begin with a word and `::`?
fn begins_path(tokens: &[TokenTree]) -> bool {
    matches!(tokens, [_, one, two, ..] if is_punct(one, ':') && is_punct(two, ':'))
}

/// Is the type `Self` a part of this type? Not in `Self::LENGTH` or `<Self as Trait>::Item`, which
/// are other types and values.
pub(crate) fn has_self(tokens: TokenStream) -> bool {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    tokens.iter().enumerate().any(|(at, token)| match token {
        TokenTree::Ident(word) if word == "Self" => {
            let is_cast = matches!(tokens.get(at + 1), Some(next) if is_word(next, "as"));
            !is_cast && !begins_path(&tokens[at..])
        }
        TokenTree::Group(group) => has_self(group.stream()),
        _ => false,
    })
}

/// Is this word anywhere in it?
pub(crate) fn has_word<W>(tokens: TokenStream, wanted: &W) -> bool
where
    W: ?Sized,
    Ident: PartialEq<W>,
{
    find_word(tokens, wanted).is_some()
}

/// The first occurrence of this word.
pub(crate) fn find_word<W>(tokens: TokenStream, wanted: &W) -> Option<Ident>
where
    W: ?Sized,
    Ident: PartialEq<W>,
{
    tokens.into_iter().find_map(|token| match token {
        TokenTree::Ident(word) => (word == *wanted).then_some(word),
        TokenTree::Group(group) => find_word(group.stream(), wanted),
        _ => None,
    })
}

/// After `self.name`: is it a method call that is neither boxed nor spawned?
fn is_part(rest: &[TokenTree]) -> bool {
    match after_arguments(rest) {
        Some([dot, next, ..]) if is_dot(dot) => !is_spawn(next) && !is_word(next, "boxed"),
        Some(_) => true,
        None => false,
    }
}

/// Do these tokens end with a path or a method to which calls are handed that are no part of the
/// body: `Box::pin`, or `spawn` of a runtime? A method `spawn` of `self` may be a call itself.
fn hands_on(before: &[TokenTree]) -> bool {
    match before_turbofish(before) {
        [.., this, dot, _] if is_word(this, "self") && is_dot(dot) => false,
        [.., of, one, two, name] if is_punct(one, ':') && is_punct(two, ':') => {
            is_word(of, "Box") && is_word(name, "pin") || is_spawn(name)
        }
        [.., name] => is_spawn(name),
        [] => false,
    }
}

/// A method of a call or of a runtime that makes a task of a call.
fn is_spawn(name: &TokenTree) -> bool {
    let names = [
        "spawn",
        "spawn_named",
        "spawn_with",
        "spawn_detached",
        "spawn_detached_with",
    ];
    names.iter().any(|spawn| is_word(name, spawn))
}

/// The methods of `self` whose calls are part of a body, as in `self.name(..)`. Boxed and spawned
/// calls are not part of it, nor are those that are handed to `Box::pin` or to a runtime's `spawn`.
pub(crate) fn uses(tokens: TokenStream) -> Vec<Ident> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let (mut found, mut others) = (Vec::new(), Others::default());
    for at in 0..tokens.len() {
        match &tokens[at..] {
            [token, ..] if others.are_of(token) => {}
            [this, dot, TokenTree::Ident(used), rest @ ..]
                if is_word(this, "self") && is_dot(dot) && is_part(rest) =>
            {
                found.push(used.clone());
            }
            [TokenTree::Group(group), ..]
                if group.delimiter() == Delimiter::Parenthesis && hands_on(&tokens[..at]) => {}
            [TokenTree::Group(group), ..] => found.extend(uses(group.stream())),
            _ => {}
        }
    }
    found
}

fn regrouped(group: &Group, inside: TokenStream) -> TokenTree {
    let mut new = Group::new(group.delimiter(), inside);
    new.set_span(group.span());
    new.into()
}

fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == word)
}

fn is_punct(token: &TokenTree, character: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == character)
}

/// A dot alone: not one of `..`.
fn is_dot(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == '.' && punct.spacing() == Spacing::Alone)
}
