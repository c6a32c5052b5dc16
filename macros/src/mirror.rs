//! `#[calls(mirror)]`: types with ordinary signatures, which delegate to the one with calls.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{
    Attribute, FnArg, GenericArgument, GenericParam, Generics, Ident, ImplItemFn, ItemImpl, Pat,
    PathArguments, ReturnType, Signature, Type, TypeParamBound, Visibility, parse_quote,
    spanned::Spanned,
};

use crate::{
    errors::{Errors, at},
    options::{Marks, Modules, Options, Side},
    signature::{Method, Output, body_of, cfgs, name_of, one_each},
    words,
};

/// A member of a mirror.
pub(crate) enum Member {
    Call(Box<Method>),
    Plain(ImplItemFn),
    Only(Side, ImplItemFn),
}

/// Checks a method that is marked `#[only(..)]`.
pub(crate) fn check_only(
    side: Side,
    mark: &Attribute,
    marks: &Marks,
    signature: &Signature,
    options: &Options,
) -> syn::Result<()> {
    if options.mirror.is_none() {
        return Err(at(
            mark,
            "there is no mirror for it to be in: write `#[calls(mirror)]`",
        ));
    }
    if marks.blocking.is_some() || marks.boxed {
        return Err(at(
            mark,
            "a method of one mirror alone is no call: remove the other marks",
        ));
    }
    match (side, &signature.asyncness) {
        (Side::Blocking, Some(word)) => Err(at(
            word,
            "what is in the blocking mirror alone is called by sync code: remove `async`",
        )),
        (Side::Asynchronous, None) => Err(at(
            signature.fn_token,
            "what is in the asynchronous mirror alone is awaited: make it an `async fn`",
        )),
        _ => match signature.receiver() {
            Some(receiver) if receiver.reference.is_some() && receiver.mutability.is_none() => {
                Ok(())
            }
            _ => Err(at(
                &signature.ident,
                "a method of one mirror alone takes `&self`",
            )),
        },
    }
}

/// The body of a method of one mirror only: a private method of the base.
pub(crate) fn only_body(function: &ImplItemFn, name: &Ident) -> TokenStream {
    let mut body = function.clone();
    body.sig.ident = name.clone();
    body.vis = Visibility::Inherited;
    body.attrs
        .retain(|attribute| !attribute.path().is_ident("doc"));
    body.into_token_stream()
}

/// Both modules.
pub(crate) fn modules(
    block: &ItemImpl,
    options: &Options,
    modules: &Modules,
    members: &[Member],
    errors: &mut Errors,
) -> TokenStream {
    let Some(base) = errors.take(Base::of(block, members)) else {
        return TokenStream::new();
    };
    let sides = [
        (Side::Blocking, &modules.blocking),
        (Side::Asynchronous, &modules.asynchronous),
    ];
    let both = sides.map(|(side, name)| {
        let other = match side {
            Side::Blocking => &modules.asynchronous,
            Side::Asynchronous => &modules.blocking,
        };
        module(&base, block, options, (side, name, other), members, errors)
    });
    quote!(#(#both)*)
}

/// The type that is mirrored.
struct Base {
    name: Ident,
    /// `super::Name<R>`
    path: TokenStream,
    /// Its parameters without bounds, `<R>`.
    parameters: TokenStream,
    cloned: bool,
}

impl Base {
    fn of(block: &ItemImpl, members: &[Member]) -> syn::Result<Self> {
        let segment = match &*block.self_ty {
            Type::Path(path) if path.qself.is_none() && path.path.segments.len() == 1 => {
                &path.path.segments[0]
            }
            other => {
                return Err(at(
                    other,
                    "a mirror has the name of its type: write the `impl` block for a type by its name alone, \
                     in the module of the type",
                ));
            }
        };
        let (name, parameters) = (segment.ident.clone(), segment.arguments.to_token_stream());
        // A call by `&self` clones `self`.
        let is_cloned = |member: &Member| matches!(member, Member::Call(method) if method.receiver.reference.is_some());
        Ok(Self {
            path: quote!(super::#name #parameters),
            parameters,
            name,
            cloned: members.iter().any(is_cloned),
        })
    }
}

fn module(
    base: &Base,
    block: &ItemImpl,
    options: &Options,
    (side, module, other): (Side, &Ident, &Ident),
    members: &[Member],
    errors: &mut Errors,
) -> TokenStream {
    let Base {
        name,
        path,
        parameters,
        cloned,
    } = base;
    let home = &options.home;
    let (generics, _, clause) = block.generics.split_for_impl();
    let declared = declared(&block.generics, home);
    let methods = members
        .iter()
        .filter_map(|member| errors.take(method(base, options, side, member)).flatten());
    let methods: Vec<_> = methods.collect();
    let (module_doc, type_doc) = match side {
        Side::Blocking => (
            format!("[`{name}`](super::{name}) for sync code: plain functions."),
            format!(
                "[`{name}`](super::{name}) with plain methods: each blocks the calling thread until it is \
                 done, and panics on a thread that runs async code (BL-2)."
            ),
        ),
        Side::Asynchronous => (
            format!("[`{name}`](super::{name}) for async code: async functions."),
            format!(
                "[`{name}`](super::{name}) with async methods: bodies that may block are offloaded to the \
                 runtime's pool."
            ),
        ),
    };
    let derive = cloned.then(|| quote!(#[derive(::std::clone::Clone)]));
    let text = name.to_string();
    let cfgs = cfgs(&block.attrs);
    quote! {
        #(#cfgs)*
        #[doc = #module_doc]
        pub mod #module {
            #[allow(unused_imports, reason = "signatures use what they need")]
            use super::*;

            #[doc = #type_doc]
            #derive
            pub struct #name #declared (#path) #clause;

            #[allow(clippy::needless_lifetimes, clippy::new_without_default, reason = "as the base has it")]
            impl #generics #name #parameters #clause {
                #(#methods)*
            }

            impl #generics ::std::convert::From<#path> for #name #parameters #clause {
                fn from(base: #path) -> Self {
                    Self(base)
                }
            }

            impl #generics ::std::convert::From<#name #parameters> for #path #clause {
                fn from(mirror: #name #parameters) -> Self {
                    mirror.0
                }
            }

            impl #generics ::std::convert::From<super::#other::#name #parameters> for #name #parameters #clause {
                fn from(other: super::#other::#name #parameters) -> Self {
                    Self(other.into())
                }
            }

            impl #generics ::std::fmt::Debug for #name #parameters #clause {
                fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                    f.debug_struct(#text).finish_non_exhaustive()
                }
            }
        }
    }
}

/// The generics of the mirror's declaration: a runtime parameter has a default, as in the types of
/// `fourway`'s docs.
fn declared(generics: &Generics, home: &syn::Path) -> TokenStream {
    let mut generics = generics.clone();
    generics.where_clause = None;
    // A default stands last.
    if let Some(GenericParam::Type(last)) = generics.params.last_mut() {
        let is_runtime = |bound: &TypeParamBound| matches!(bound, TypeParamBound::Trait(bound) if bound.path.segments.last().is_some_and(|last| last.ident == "Runtime"));
        if last.bounds.iter().any(is_runtime) {
            last.eq_token = Some(Default::default());
            last.default = Some(parse_quote!(#home::AnyRuntime));
        }
    }
    match generics.params.is_empty() {
        true => TokenStream::new(),
        false => {
            let parameters = &generics.params;
            quote!(<#parameters>)
        }
    }
}

/// A method of a mirror, if it has it.
fn method(
    base: &Base,
    options: &Options,
    side: Side,
    member: &Member,
) -> syn::Result<Option<TokenStream>> {
    match member {
        Member::Call(method) => match method.visibility {
            Visibility::Public(_) => call(base, options, side, method).map(Some),
            _ => Ok(None),
        },
        Member::Plain(function) => match function.vis {
            Visibility::Public(_) => plain(base, function).map(Some),
            _ => Ok(None),
        },
        Member::Only(of, function) if *of == side => only(base, function).map(Some),
        Member::Only(..) => Ok(None),
    }
}

fn call(base: &Base, options: &Options, side: Side, method: &Method) -> syn::Result<TokenStream> {
    let Method {
        outer,
        inner,
        name,
        receiver,
        ..
    } = method;
    if receiver.reference.is_none() && receiver.colon_token.is_some() {
        return Err(at(
            receiver,
            "a mirror has no `Arc` of its base: take `&self` or `self` in a method that is mirrored",
        ));
    }
    let home = &options.home;
    // As they are written: no type here has to name an `impl Trait`.
    let declared = method.arguments.iter().map(|argument| {
        let (name, ty) = (&argument.name, &argument.plain);
        outward(base, quote!(#name: #ty))
    });
    let arguments: Vec<_> = declared.collect();
    let names = method.arguments.iter().map(|argument| &argument.name);
    let made = quote!(self.0.#name(#(#names),*));
    let written = method.output.written();
    let span = written.span();
    let (asyncness, used, output) = match (side, &method.output) {
        (Side::Blocking, Output::One(ty)) => {
            (None, quote!(#home::call::Call::wait(#made)), quote!(#ty))
        }
        (Side::Asynchronous, Output::One(ty)) => {
            (Some(quote!(async)), quote!(#made.await), quote!(#ty))
        }
        (_, Output::Many(..)) => (None, made, quote!(#written)),
    };
    let used = into_mirror(written, used)?;
    let output = match words::has_self(output.clone()) && is_wrapped(written) {
        true => output,
        false => outward(base, output),
    };
    let (generics, _, clause) = method.written_generics.split_for_impl();
    let generics = (!method.written_generics.params.is_empty()).then(|| generics.to_token_stream());
    let receiver = match receiver.reference {
        Some(_) => quote_spanned!(span=> &self),
        None => quote_spanned!(span=> self),
    };
    let cfgs = cfgs(inner);
    // A method that blocks panics at its caller's line.
    let is_tracked = |attribute: &&Attribute| !attribute.path().is_ident("track_caller");
    let outer = outer.iter().filter(is_tracked);
    let tracked = matches!(side, Side::Blocking).then(|| quote!(#[track_caller]));
    Ok(quote! {
        #(#outer)* #(#cfgs)* #tracked
        pub #asyncness fn #name #generics (#receiver, #(#arguments),*) -> #output #clause {
            #used
        }
    })
}

/// A function that is not a call, such as a constructor.
fn plain(base: &Base, function: &ImplItemFn) -> syn::Result<TokenStream> {
    let Signature { ident: name, .. } = &function.sig;
    let (receiver, arguments, names) = inputs(base, &function.sig)?;
    let (generics, _, clause) = function.sig.generics.split_for_impl();
    let generics = (!function.sig.generics.params.is_empty()).then(|| generics.to_token_stream());
    let used = match &receiver {
        Some(_) => quote!(self.0.#name(#(#names),*)),
        None => {
            let path = &base.path;
            quote!(<#path>::#name(#(#names),*))
        }
    };
    let (used, output) = match &function.sig.output {
        ReturnType::Default => (used, None),
        ReturnType::Type(_, ty) => {
            let used = into_mirror(ty, used)?;
            let output = match is_wrapped(ty) {
                true => quote!(#ty),
                false => outward(base, quote!(#ty)),
            };
            (used, Some(quote!(-> #output)))
        }
    };
    let attributes = function.attrs.iter().cloned().flat_map(one_each);
    let attributes = attributes.filter(|attribute| {
        let of = name_of(attribute);
        [
            "doc",
            "cfg",
            "must_use",
            "deprecated",
            "inline",
            "track_caller",
        ]
        .iter()
        .any(|name| of.as_deref() == Some(name))
    });
    let receiver = receiver.map(|receiver| quote!(#receiver,));
    Ok(quote! {
        #(#attributes)*
        pub fn #name #generics (#receiver #(#arguments),*) #output #clause {
            #used
        }
    })
}

fn only(base: &Base, function: &ImplItemFn) -> syn::Result<TokenStream> {
    let Signature {
        ident: name,
        asyncness,
        output,
        ..
    } = &function.sig;
    let (receiver, arguments, names) = inputs(base, &function.sig)?;
    let (generics, _, clause) = function.sig.generics.split_for_impl();
    let generics = (!function.sig.generics.params.is_empty()).then(|| generics.to_token_stream());
    let body = body_of(name, None);
    let awaited = asyncness.map(|_| quote!(.await));
    let (attributes, visibility) = (&function.attrs, &function.vis);
    let output = outward(base, output.to_token_stream());
    Ok(quote! {
        #(#attributes)*
        #visibility #asyncness fn #name #generics (#receiver, #(#arguments),*) #output #clause {
            self.0.#body(#(#names),*) #awaited
        }
    })
}

/// The receiver, the arguments as they are declared, and their names.
fn inputs(
    base: &Base,
    signature: &Signature,
) -> syn::Result<(Option<TokenStream>, Vec<TokenStream>, Vec<Ident>)> {
    let (mut receiver, mut arguments, mut names) = (None, Vec::new(), Vec::new());
    for (number, input) in signature.inputs.iter().enumerate() {
        match input {
            FnArg::Receiver(written) if written.colon_token.is_some() => {
                return Err(at(
                    written,
                    "a mirror has no `Arc` of its base: take `&self` or `self`",
                ));
            }
            FnArg::Receiver(written) => {
                let mut written = written.clone();
                if written.reference.is_none() {
                    written.mutability = None;
                }
                receiver = Some(written.to_token_stream());
            }
            FnArg::Typed(written) => {
                let name = match &*written.pat {
                    Pat::Ident(pat) => pat.ident.clone(),
                    pat => format_ident!("argument_{number}", span = pat.span()),
                };
                let ty = &written.ty;
                arguments.push(outward(base, quote!(#name: #ty)));
                names.push(name);
            }
        }
    }
    Ok((receiver, arguments, names))
}

/// As in the base: `Self` becomes the base, one module further out.
fn outward(base: &Base, tokens: TokenStream) -> TokenStream {
    words::name_self(tokens, &base.path)
}

/// Is it `Self`, `Result<Self, E>` or `Option<Self>`?
fn is_wrapped(ty: &Type) -> bool {
    is_self(ty) || inside(ty).is_some_and(|(_, ty)| is_self(ty))
}

/// Converts an expression that gives the base into one that gives the mirror.
fn into_mirror(ty: &Type, made: TokenStream) -> syn::Result<TokenStream> {
    if is_self(ty) {
        return Ok(quote!(Self(#made)));
    }
    match inside(ty) {
        Some((_, ty)) if is_self(ty) => Ok(quote!(#made.map(Self))),
        _ if words::has_self(ty.to_token_stream()) => Err(at(
            ty,
            "a mirror turns `Self`, `Result<Self, E>` and `Option<Self>` into itself, and nothing else: write \
             the type's name for the base, or move the function into an `impl` block without `#[calls]`",
        )),
        _ => Ok(made),
    }
}

fn is_self(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.is_ident("Self"))
}

/// The first argument of a `Result` or an `Option`.
fn inside(ty: &Type) -> Option<(&Ident, &Type)> {
    let Type::Path(path) = ty else {
        return None;
    };
    let last = path.path.segments.last()?;
    if last.ident != "Result" && last.ident != "Option" {
        return None;
    }
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    match arguments.args.first()? {
        GenericArgument::Type(ty) => Some((&last.ident, ty)),
        _ => None,
    }
}
