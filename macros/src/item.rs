//! The items that the attributes stand on, as far as they are looked at: signatures are parsed,
//! bodies are kept as tokens.
//!
//! `syn` has such types too, but only with its feature `full`, which parses all of Rust and takes the
//! compiler longer than everything else in this crate together. Most trees have `syn` for derives,
//! which need no `full`. And a body that is not parsed may be anything: half-written, as an editor
//! has it, or in syntax that is newer than `syn`. If it is wrong, the compiler reports that at its
//! place.

use proc_macro2::{Group, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{
    Abi, Attribute, Generics, Ident, Lifetime, Path, ReturnType, Token, Type, Visibility,
    punctuated::Punctuated, token,
};

/// The item below an attribute.
pub(crate) enum Item {
    Impl(ItemImpl),
    Trait(ItemTrait),
    Other(TokenStream),
}

/// An `impl` block.
pub(crate) struct ItemImpl {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) unsafety: Option<Token![unsafe]>,
    pub(crate) impl_token: Token![impl],
    pub(crate) generics: Generics,
    pub(crate) polarity: Option<Token![!]>,
    pub(crate) trait_: Option<(Path, Token![for])>,
    pub(crate) self_ty: Box<Type>,
    pub(crate) items: Vec<ImplItem>,
}

/// An item of an `impl` block.
pub(crate) enum ImplItem {
    Const(ImplItemConst),
    Fn(ImplItemFn),
    /// A type of this name.
    Type(Ident, TokenStream),
    Other(TokenStream),
}

/// A constant of an `impl` block.
#[derive(Clone)]
pub(crate) struct ImplItemConst {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) ident: Ident,
    pub(crate) ty: Type,
    /// All of it.
    pub(crate) tokens: TokenStream,
}

/// A function, in an `impl` block or outside.
#[derive(Clone)]
pub(crate) struct ImplItemFn {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    pub(crate) block: Block,
}

/// A body: braces.
pub(crate) type Block = Group;

/// A trait.
pub(crate) struct ItemTrait {
    pub(crate) attrs: Vec<Attribute>,
    /// What stands before the name.
    pub(crate) before: TokenStream,
    pub(crate) ident: Ident,
    pub(crate) generics: Generics,
    pub(crate) supertraits: TokenStream,
    pub(crate) items: Vec<TraitItem>,
}

/// An item of a trait.
pub(crate) enum TraitItem {
    Fn(Box<TraitItemFn>),
    Other(TokenStream),
}

/// A function of a trait.
pub(crate) struct TraitItemFn {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) sig: Signature,
    pub(crate) default: Option<Block>,
}

/// All of a function up to its body.
#[derive(Clone)]
pub(crate) struct Signature {
    pub(crate) constness: Option<Token![const]>,
    pub(crate) asyncness: Option<Token![async]>,
    pub(crate) unsafety: Option<Token![unsafe]>,
    pub(crate) abi: Option<Abi>,
    pub(crate) fn_token: Token![fn],
    pub(crate) ident: Ident,
    /// With the `where` clause.
    pub(crate) generics: Generics,
    pub(crate) paren_token: token::Paren,
    pub(crate) inputs: Punctuated<FnArg, Token![,]>,
    pub(crate) output: ReturnType,
}

/// An argument.
#[derive(Clone)]
pub(crate) enum FnArg {
    Receiver(Receiver),
    Typed(PatType),
}

/// The argument `self`.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) attrs: Vec<Attribute>,
    /// The `mut` of `mut self`, not that of `&mut self`.
    pub(crate) mutability: Option<Token![mut]>,
    pub(crate) self_token: Token![self],
    pub(crate) kind: ReceiverKind,
}

/// How `self` is taken.
#[derive(Clone)]
pub(crate) enum ReceiverKind {
    /// `self`
    Value,
    /// `&'a mut self`
    Reference(Token![&], Option<Lifetime>, Option<Token![mut]>),
    /// `self: Type`
    Typed(Token![:], Box<Type>),
}

/// An argument with a pattern and a type.
#[derive(Clone)]
pub(crate) struct PatType {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) pat: TokenStream,
    pub(crate) colon_token: Token![:],
    pub(crate) ty: Box<Type>,
}

impl Signature {
    /// The argument `self`, if there is one.
    pub(crate) fn receiver(&self) -> Option<&Receiver> {
        match self.inputs.first()? {
            FnArg::Receiver(receiver) => Some(receiver),
            FnArg::Typed(_) => None,
        }
    }
}

impl PatType {
    /// The name that the pattern gives to all of the argument, if it is `name`, `mut name` or
    /// `ref name`.
    pub(crate) fn name(&self) -> Option<Ident> {
        let words = self.pat.clone().into_iter();
        let mut words = words.skip_while(
            |word| matches!(word, TokenTree::Ident(word) if word == "ref" || word == "mut"),
        );
        match (words.next(), words.next()) {
            (Some(TokenTree::Ident(name)), None) if name != "_" => Some(name),
            _ => None,
        }
    }
}

impl ToTokens for ImplItemFn {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self {
            attrs,
            vis,
            sig,
            block,
        } = self;
        tokens.extend(quote!(#(#attrs)* #vis #sig #block));
    }
}

impl ToTokens for ImplItem {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        match self {
            Self::Const(constant) => constant.tokens.to_tokens(tokens),
            Self::Fn(function) => function.to_tokens(tokens),
            Self::Type(_, item) | Self::Other(item) => item.to_tokens(tokens),
        }
    }
}

impl ToTokens for ItemTrait {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self {
            attrs,
            before,
            ident,
            generics,
            supertraits,
            items,
        } = self;
        let clause = &generics.where_clause;
        tokens.extend(quote! {
            #(#attrs)* #before #ident #generics #supertraits #clause { #(#items)* }
        });
    }
}

impl ToTokens for TraitItem {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        match self {
            Self::Fn(function) => {
                let TraitItemFn {
                    attrs,
                    sig,
                    default,
                } = &**function;
                let end = default.is_none().then(<Token![;]>::default);
                tokens.extend(quote!(#(#attrs)* #sig #default #end));
            }
            Self::Other(item) => item.to_tokens(tokens),
        }
    }
}

impl ToTokens for Signature {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self {
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
        } = self;
        let clause = &generics.where_clause;
        tokens.extend(quote! {
            #constness #asyncness #unsafety #abi #fn_token #ident #generics
        });
        // With their span, which may be the end of what an error points at.
        paren_token.surround(tokens, |tokens| inputs.to_tokens(tokens));
        tokens.extend(quote!(#output #clause));
    }
}

impl ToTokens for FnArg {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        match self {
            Self::Receiver(receiver) => receiver.to_tokens(tokens),
            Self::Typed(argument) => argument.to_tokens(tokens),
        }
    }
}

impl ToTokens for Receiver {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self {
            attrs,
            mutability,
            self_token,
            kind,
        } = self;
        tokens.extend(match kind {
            ReceiverKind::Value => quote!(#(#attrs)* #mutability #self_token),
            ReceiverKind::Reference(and, lifetime, mutability) => {
                quote!(#(#attrs)* #and #lifetime #mutability #self_token)
            }
            ReceiverKind::Typed(colon, ty) => {
                quote!(#(#attrs)* #mutability #self_token #colon #ty)
            }
        });
    }
}

impl ToTokens for PatType {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self {
            attrs,
            pat,
            colon_token,
            ty,
        } = self;
        tokens.extend(quote!(#(#attrs)* #pat #colon_token #ty));
    }
}
