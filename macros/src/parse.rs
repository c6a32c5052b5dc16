//! Parses the items of `item.rs`.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{
    Abi, AttrStyle, Attribute, Generics, Ident, Lifetime, Token, Type, Visibility, braced,
    ext::IdentExt,
    parenthesized,
    parse::{Parse, ParseStream},
    punctuated::Punctuated,
    token,
};

use crate::{
    arguments::peeled,
    errors::at,
    item::{
        Block, FnArg, ImplItem, ImplItemConst, ImplItemFn, Item, ItemImpl, ItemTrait, PatType,
        Receiver, ReceiverKind, Signature, TraitItem, TraitItemFn,
    },
};

impl Parse for Item {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let ahead = input.fork();
        Attribute::parse_outer(&ahead)?;
        ahead.parse::<Visibility>()?;
        ahead.parse::<Option<Token![unsafe]>>()?;
        if ahead.peek(Token![impl]) {
            input.parse().map(Self::Impl)
        } else if ahead.peek(Token![trait]) {
            input.parse().map(Self::Trait)
        } else {
            input.parse().map(Self::Other)
        }
    }
}

impl Parse for ItemImpl {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut attrs = Attribute::parse_outer(input)?;
        let unsafety = input.parse()?;
        let impl_token = input.parse()?;
        let mut generics = match has_generics(input) {
            true => input.parse()?,
            false => Generics::default(),
        };
        let polarity = input.parse()?;
        let mut self_ty: Type = input.parse()?;
        let mut trait_ = None;
        if input.peek(Token![for]) {
            let word = input.parse()?;
            let Type::Path(of) = peeled(&self_ty) else {
                return Err(at(self_ty, "expected the path of a trait"));
            };
            trait_ = Some((of.path.clone(), word));
            self_ty = input.parse()?;
        }
        generics.where_clause = input.parse()?;
        let (inner, items) = in_braces(input)?;
        attrs.extend(inner);
        Ok(Self {
            attrs,
            unsafety,
            impl_token,
            generics,
            polarity,
            trait_,
            self_ty: Box::new(self_ty),
            items,
        })
    }
}

/// The braces at the end of a block or a trait: the attributes `#![..]` as outer ones, and the items.
fn in_braces<T: Parse>(input: ParseStream<'_>) -> syn::Result<(Vec<Attribute>, Vec<T>)> {
    let inside;
    braced!(inside in input);
    let mut attributes = Attribute::parse_inner(&inside)?;
    for attribute in &mut attributes {
        attribute.style = AttrStyle::Outer;
    }
    let mut items = Vec::new();
    while !inside.is_empty() {
        items.push(inside.parse()?);
    }
    Ok((attributes, items))
}

/// After `impl`: do generics follow, or a type such as `<T as Trait>::Type`?
fn has_generics(input: ParseStream<'_>) -> bool {
    input.peek(Token![<])
        && (input.peek2(Token![>])
            || input.peek2(Token![#])
            || input.peek2(Token![const])
            || (input.peek2(Ident::peek_any) || input.peek2(Lifetime))
                && (input.peek3(Token![:])
                    || input.peek3(Token![,])
                    || input.peek3(Token![>])
                    || input.peek3(Token![=])))
}

impl Parse for ImplItem {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let ahead = input.fork();
        let attrs = Attribute::parse_outer(&ahead)?;
        let vis = ahead.parse()?;
        if is_function(&ahead) {
            return input.parse().map(Self::Fn);
        }
        if ahead.peek(Token![const]) {
            ahead.parse::<Token![const]>()?;
            let ident = ahead.call(Ident::parse_any)?;
            ahead.parse::<Token![:]>()?;
            return Ok(Self::Const(ImplItemConst {
                attrs,
                vis,
                ident,
                ty: ahead.parse()?,
                tokens: up_to_semicolon(input)?,
            }));
        }
        if ahead.peek(Token![type]) {
            ahead.parse::<Token![type]>()?;
            let ident = ahead.parse()?;
            return Ok(Self::Type(ident, up_to_semicolon(input)?));
        }
        other(input).map(Self::Other)
    }
}

/// Does a function begin here, after its visibility?
fn is_function(input: ParseStream<'_>) -> bool {
    let ahead = input.fork();
    loop {
        if ahead.peek(Token![fn]) {
            return true;
        }
        let is_qualifier = ahead.peek(Token![const])
            || ahead.peek(Token![async])
            || ahead.peek(Token![unsafe])
            || ahead.peek(Token![extern])
            || ahead.peek(syn::LitStr);
        if !is_qualifier || ahead.parse::<TokenTree>().is_err() {
            return false;
        }
    }
}

fn up_to_semicolon(input: ParseStream<'_>) -> syn::Result<TokenStream> {
    let mut tokens = TokenStream::new();
    loop {
        let is_last = input.peek(Token![;]);
        tokens.extend([input.parse::<TokenTree>()?]);
        if is_last {
            return Ok(tokens);
        }
    }
}

/// An item that is not looked at, such as a macro: up to a semicolon or braces.
fn other(input: ParseStream<'_>) -> syn::Result<TokenStream> {
    let mut tokens = TokenStream::new();
    loop {
        let is_last = input.peek(Token![;]) || input.peek(token::Brace);
        tokens.extend([input.parse::<TokenTree>()?]);
        if is_last || input.is_empty() {
            return Ok(tokens);
        }
    }
}

impl Parse for ImplItemFn {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        Ok(Self {
            attrs: Attribute::parse_outer(input)?,
            vis: input.parse()?,
            sig: input.parse()?,
            block: body(input)?,
        })
    }
}

/// The braces of a body, also inside the invisible groups that each `macro_rules!` puts around
/// its `$body:block`.
fn body(input: ParseStream<'_>) -> syn::Result<Block> {
    // A `Group` is not parsed as one: that refuses the invisible ones.
    let mut tree: TokenTree = input.parse()?;
    loop {
        match tree {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => return Ok(group),
            TokenTree::Group(group) if group.delimiter() == Delimiter::None => {
                let mut inside = group.stream().into_iter();
                match inside.next() {
                    Some(inner) => tree = inner,
                    None => return Err(at(group, "expected a body in braces")),
                }
            }
            other => return Err(at(other, "expected a body in braces")),
        }
    }
}

impl Parse for ItemTrait {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut attrs = Attribute::parse_outer(input)?;
        let mut before = TokenStream::new();
        loop {
            let is_last = input.peek(Token![trait]);
            before.extend([input.parse::<TokenTree>()?]);
            if is_last {
                break;
            }
        }
        let ident = input.parse()?;
        let mut generics: Generics = input.parse()?;
        let mut supertraits = TokenStream::new();
        while !input.peek(Token![where]) && !is_last_in_braces(input) {
            supertraits.extend([input.parse::<TokenTree>()?]);
        }
        generics.where_clause = input.parse()?;
        let (inner, items) = in_braces(input)?;
        attrs.extend(inner);
        Ok(Self {
            attrs,
            before,
            ident,
            generics,
            supertraits,
            items,
        })
    }
}

/// Does the last tree of the item follow, the braces of its items? Others may come before, as in
/// `trait A: B<{ 3 }> { .. }`.
fn is_last_in_braces(input: ParseStream<'_>) -> bool {
    let ahead = input.fork();
    input.peek(token::Brace) && ahead.parse::<TokenTree>().is_ok() && ahead.is_empty()
}

impl Parse for TraitItem {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let ahead = input.fork();
        Attribute::parse_outer(&ahead)?;
        if is_function(&ahead) {
            return input.parse().map(|function| Self::Fn(Box::new(function)));
        }
        if ahead.peek(Token![const]) || ahead.peek(Token![type]) {
            return up_to_semicolon(input).map(Self::Other);
        }
        other(input).map(Self::Other)
    }
}

impl Parse for TraitItemFn {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attrs = Attribute::parse_outer(input)?;
        let sig = input.parse()?;
        let default = match input.parse::<Option<Token![;]>>()? {
            Some(_) => None,
            None => Some(body(input)?),
        };
        Ok(Self {
            attrs,
            sig,
            default,
        })
    }
}

impl Parse for Signature {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let constness = input.parse()?;
        let asyncness = input.parse()?;
        let unsafety = input.parse()?;
        let abi = match input.peek(Token![extern]) {
            true => Some(input.parse::<Abi>()?),
            false => None,
        };
        let fn_token = input.parse()?;
        let ident = input.parse()?;
        let mut generics: Generics = input.parse()?;
        let inside;
        let paren_token = parenthesized!(inside in input);
        let inputs = Punctuated::parse_terminated(&inside)?;
        let output = input.parse()?;
        generics.where_clause = input.parse()?;
        Ok(Self {
            constness,
            asyncness,
            unsafety,
            abi,
            fn_token,
            ident,
            generics,
            paren_token,
            inputs,
            output,
        })
    }
}

impl Parse for FnArg {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attrs = Attribute::parse_outer(input)?;
        let ahead = input.fork();
        if let Ok(receiver) = receiver(&ahead, attrs.clone()) {
            // Reads it again, and reports an error in its type.
            return self::receiver(input, receiver.attrs).and_then(|mut receiver| {
                if input.peek(Token![:]) {
                    receiver.kind = ReceiverKind::Typed(input.parse()?, input.parse()?);
                }
                Ok(Self::Receiver(receiver))
            });
        }
        let mut pat = TokenStream::new();
        while !input.peek(Token![:]) || input.peek(Token![::]) {
            match input.peek(Token![::]) {
                true => input.parse::<Token![::]>()?.to_tokens(&mut pat),
                false => pat.extend([input.parse::<TokenTree>()?]),
            }
        }
        Ok(Self::Typed(PatType {
            attrs,
            pat,
            colon_token: input.parse()?,
            ty: input.parse()?,
        }))
    }
}

/// A receiver up to its type.
fn receiver(input: ParseStream<'_>, attrs: Vec<Attribute>) -> syn::Result<Receiver> {
    let kind = match input.parse::<Option<Token![&]>>()? {
        None => ReceiverKind::Value,
        Some(and) => ReceiverKind::Reference(and, input.parse()?, input.parse()?),
    };
    let mutability = match kind {
        ReceiverKind::Value => input.parse()?,
        _ => None,
    };
    Ok(Receiver {
        attrs,
        mutability,
        self_token: input.parse()?,
        kind,
    })
}
