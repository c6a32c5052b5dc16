//! The members of a mirror: ordinary methods, which delegate to the base.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::{
    Attribute, GenericArgument, GenericParam, Generics, PathArguments, ReturnType, Type, Visibility,
};

use crate::{
    arguments::{name_of, peeled, refuse_cfg},
    attributes::{self, cfgs, of_mirror, share},
    errors::at,
    item::{FnArg, ImplItemConst, ImplItemFn, Receiver, ReceiverKind, Signature},
    mirror::{Base, is_public},
    options::{Marks, Options, Side},
    signature::{Method, Output, type_of},
    words,
};

/// A member of a mirror.
pub(crate) enum Member {
    Call(Box<Method>),
    Plain(ImplItemFn),
    Only(Side, ImplItemFn),
    Constant(ImplItemConst),
}

/// The code of a member, if this mirror has it.
pub(crate) fn method(
    base: &Base,
    options: &Options,
    side: Side,
    member: &Member,
) -> syn::Result<Option<TokenStream>> {
    match member {
        Member::Call(method) if is_public(&method.visibility) => {
            call(base, options, side, method).map(Some)
        }
        Member::Plain(function) if is_public(&function.vis) => plain(base, function).map(Some),
        Member::Constant(item) if is_public(&item.vis) => constant(base, item),
        Member::Only(of, function) if *of == side => only(base, side, function).map(Some),
        _ => Ok(None),
    }
}

/// Waits for a call, or awaits it.
fn call(base: &Base, options: &Options, side: Side, method: &Method) -> syn::Result<TokenStream> {
    let Method {
        outer, inner, name, ..
    } = method;
    let home = &options.home;
    let receiver = Hand::of(&method.receiver)?;
    // The types as they are written: here no `impl Trait` needs a name.
    let declared = method.arguments.iter().map(|argument| {
        let (name, ty) = (&argument.name, &argument.plain);
        outward(base, quote!(#name: #ty))
    });
    let arguments: Vec<_> = std::iter::once(receiver.declared.clone())
        .chain(declared)
        .collect();
    let names = method.arguments.iter().map(|argument| &argument.name);
    let fish = turbofish(&method.written_generics, &method.generics);
    let made = handed_on(base, name, fish, Some(&receiver), names);
    let (asyncness, used) = match (side, &method.output) {
        (Side::Blocking, Output::One(_)) => (None, quote!(#home::call::Call::wait(#made))),
        (Side::Asynchronous, Output::One(_)) => (Some(quote!(async)), quote!(#made.await)),
        (_, Output::Many(..)) => (None, made),
    };
    let (used, output) = into_mirror(base, method.output.written(), used)?;
    let (generics, clause) = generics(base, &method.written_generics);
    let cfgs = cfgs(inner);
    // A method that blocks panics at its caller's line.
    let is_tracked =
        |attribute: &&Attribute| attributes::name_of(attribute).as_deref() != Some("track_caller");
    let outer = outer.iter().filter(is_tracked);
    // Items name the line that made them.
    let many = matches!(method.output, Output::Many(..));
    let tracked = (many || matches!(side, Side::Blocking)).then(|| quote!(#[track_caller]));
    let allowed = allow_deprecated(&method.outer);
    Ok(quote! {
        #(#outer)* #(#cfgs)* #tracked #allowed
        pub #asyncness fn #name #generics (#(#arguments),*) -> #output #clause {
            #used
        }
    })
}

/// A function that is not a call, such as a constructor.
fn plain(base: &Base, function: &ImplItemFn) -> syn::Result<TokenStream> {
    let signature = &function.sig;
    let name = &signature.ident;
    let Inputs {
        receiver,
        declared,
        names,
    } = inputs(base, signature)?;
    let fish = turbofish(&signature.generics, &signature.generics);
    let used = handed_on(base, name, fish, receiver.as_ref(), &names);
    let used = guarded(signature, used);
    let (used, output) = match &signature.output {
        ReturnType::Default => (used, None),
        ReturnType::Type(_, ty) => {
            let (used, output) = into_mirror(base, ty, used)?;
            (used, Some(quote!(-> #output)))
        }
    };
    // Not `const` if `self` is moved, as the compiler assumes that it may be dropped, nor if the
    // output is mapped, which runs a closure.
    let is_mapped = match &signature.output {
        ReturnType::Type(_, ty) => !is_self(ty) && words::has_self(ty.to_token_stream()),
        ReturnType::Default => false,
    };
    let is_moved = matches!(&receiver, Some(receiver) if receiver.is_moved);
    let constness = signature.constness.filter(|_| !is_mapped && !is_moved);
    let (generics, clause) = generics(base, &signature.generics);
    let (unsafety, abi) = (&signature.unsafety, &signature.abi);
    let attributes = of_mirror(&function.attrs);
    let allowed = allow_deprecated(&attributes);
    Ok(quote! {
        #(#attributes)* #allowed
        pub #constness #unsafety #abi fn #name #generics (#(#declared),*) #output #clause {
            #used
        }
    })
}

/// A constant. `None` if `Self` is in its type, as no constant expression converts its value.
fn constant(base: &Base, item: &ImplItemConst) -> syn::Result<Option<TokenStream>> {
    let ImplItemConst {
        ident: name, ty, ..
    } = item;
    if !is_self(ty) && words::has_self(ty.to_token_stream()) {
        return Ok(None);
    }
    let path = &base.path;
    let (used, ty) = into_mirror(base, ty, quote!(<#path>::#name))?;
    let attributes = of_mirror(&item.attrs);
    let allowed = allow_deprecated(&attributes);
    Ok(Some(quote! {
        #(#attributes)* #allowed
        pub const #name: #ty = #used;
    }))
}

/// A method of one mirror only.
fn only(base: &Base, side: Side, function: &ImplItemFn) -> syn::Result<TokenStream> {
    let Signature {
        ident: name,
        asyncness,
        ..
    } = &function.sig;
    let Inputs {
        receiver,
        declared,
        names,
    } = inputs(base, &function.sig)?;
    let body = body_of_only(side, name);
    let fish = turbofish(&function.sig.generics, &function.sig.generics);
    let used = handed_on(base, &body, fish, receiver.as_ref(), &names);
    let used = guarded(&function.sig, used);
    let awaited = asyncness.map(|_| quote!(.await));
    let used = quote!(#used #awaited);
    let (used, output) = match &function.sig.output {
        ReturnType::Default => (used, None),
        ReturnType::Type(_, ty) => {
            let (used, output) = into_mirror(base, ty, used)?;
            (used, Some(quote!(-> #output)))
        }
    };
    let (generics, clause) = generics(base, &function.sig.generics);
    let (outer, inner) = share(function.attrs.clone());
    let cfgs = cfgs(&inner);
    let (visibility, unsafety) = (&function.vis, &function.sig.unsafety);
    Ok(quote! {
        #(#outer)* #(#cfgs)*
        #visibility #asyncness #unsafety fn #name #generics (#(#declared),*) #output #clause {
            #used
        }
    })
}

/// The body of a method of one mirror only: a private method of the base.
pub(crate) fn only_body(side: Side, function: &ImplItemFn) -> TokenStream {
    let mut body = function.clone();
    body.sig.ident = body_of_only(side, &function.sig.ident);
    body.vis = Visibility::Inherited;
    // The docs are those of the mirror's method: for lints, this one is the macro's.
    body.sig.fn_token.span = Span::mixed_site().located_at(body.sig.fn_token.span);
    let (outer, inner) = share(std::mem::take(&mut body.attrs));
    // If the mirror's method has its caller's line, the body has that line too.
    let is_tracked =
        |attribute: &Attribute| attributes::name_of(attribute).as_deref() == Some("track_caller");
    body.attrs = outer.into_iter().filter(is_tracked).chain(inner).collect();
    body.into_token_stream()
}

/// The name of the method with the body: one for each mirror, as both may have a method `method`.
fn body_of_only(side: Side, method: &Ident) -> Ident {
    let name = method.to_string();
    let name = name.trim_start_matches("r#");
    match side {
        Side::Blocking => format_ident!("__blocking_body_of_{name}", span = method.span()),
        Side::Asynchronous => {
            format_ident!("__asynchronous_body_of_{name}", span = method.span())
        }
    }
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
    if let Some(word) = &signature.constness {
        return Err(at(
            word,
            "a method of one mirror alone is there for what happens when the program runs: remove `const`, \
             or remove `#[only(..)]`",
        ));
    }
    if let Some(word) = &signature.abi {
        return Err(at(word, "a mirror is for Rust alone: remove `extern`"));
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
            Some(receiver) if matches!(receiver.kind, ReceiverKind::Reference(_, _, None)) => {
                Ok(())
            }
            _ => Err(at(
                &signature.ident,
                "a method of one mirror alone takes `&self`",
            )),
        },
    }
}

/// How `self` is declared, and passed to the base.
struct Hand {
    declared: TokenStream,
    passed: TokenStream,
    is_moved: bool,
}

impl Hand {
    fn of(receiver: &Receiver) -> syn::Result<Self> {
        match peeled(&type_of(receiver)) {
            Type::Reference(reference) if is_self(&reference.elem) => {
                let (lifetime, mutability) = (&reference.lifetime, &reference.mutability);
                Ok(Self {
                    declared: quote!(&#lifetime #mutability self),
                    passed: quote!(&#mutability self.0),
                    is_moved: false,
                })
            }
            ty if is_self(ty) => Ok(Self {
                declared: quote!(self),
                passed: quote!(self.0),
                is_moved: true,
            }),
            _ => Err(at(
                receiver,
                "a mirror has no `Arc` of its base: take `&self` or `self` in a method that is mirrored",
            )),
        }
    }
}

struct Inputs {
    receiver: Option<Hand>,
    /// The receiver, if there is one, and the arguments.
    declared: Vec<TokenStream>,
    names: Vec<Ident>,
}

fn inputs(base: &Base, signature: &Signature) -> syn::Result<Inputs> {
    refuse_cfg(&signature.inputs)?;
    let (mut receiver, mut declared, mut names) = (None, Vec::new(), Vec::new());
    for (number, input) in signature.inputs.iter().enumerate() {
        match input {
            FnArg::Receiver(written) => {
                let hand = Hand::of(written)?;
                declared.push(hand.declared.clone());
                receiver = Some(hand);
            }
            FnArg::Typed(written) => {
                let (name, ty) = (name_of(number, written), &written.ty);
                declared.push(outward(base, quote!(#name: #ty)));
                names.push(name);
            }
        }
    }
    Ok(Inputs {
        receiver,
        declared,
        names,
    })
}

/// Calls the base's function by its path, so that no trait's method of the same name is called.
fn handed_on<'a>(
    base: &Base,
    name: &Ident,
    fish: Option<TokenStream>,
    receiver: Option<&Hand>,
    names: impl IntoIterator<Item = &'a Ident>,
) -> TokenStream {
    let path = &base.path;
    let receiver = receiver.map(|receiver| receiver.passed.clone());
    let names = names.into_iter().map(ToTokens::to_token_stream);
    let passed = receiver.into_iter().chain(names);
    quote!(<#path>::#name #fish (#(#passed),*))
}

/// A deprecated function of the mirror uses a deprecated function of the base, without a warning.
fn allow_deprecated(attributes: &[Attribute]) -> Option<TokenStream> {
    let is_deprecated =
        |attribute: &Attribute| attributes::name_of(attribute).as_deref() == Some("deprecated");
    let mut attributes = attributes.iter();
    attributes
        .any(is_deprecated)
        .then(|| quote!(#[allow(deprecated, reason = "the base is deprecated as this is")]))
}

/// Puts the call of an `unsafe fn` into an `unsafe` block: the mirror's caller has promised what
/// the function requires.
fn guarded(signature: &Signature, used: TokenStream) -> TokenStream {
    match signature.unsafety {
        Some(_) => quote!(unsafe { #used }),
        None => used,
    }
}

/// The written parameters, so that none of them must be inferred. Those of an `impl Trait` have no
/// name here, and are inferred.
fn turbofish(written: &Generics, all: &Generics) -> Option<TokenStream> {
    let names = written
        .params
        .iter()
        .filter_map(|parameter| match parameter {
            GenericParam::Type(ty) => Some(ty.ident.to_token_stream()),
            GenericParam::Const(constant) => Some(constant.ident.to_token_stream()),
            GenericParam::Lifetime(_) => None,
        });
    let names: Vec<_> = names.collect();
    if names.is_empty() {
        return None;
    }
    let others = (written.params.len()..all.params.len()).map(|_| quote!(_));
    let all = names.into_iter().chain(others);
    Some(quote!(::<#(#all),*>))
}

/// The generics of a method, and its `where` clause.
fn generics(base: &Base, written: &Generics) -> (Option<TokenStream>, TokenStream) {
    let (generics, _, clause) = written.split_for_impl();
    let generics = (!written.params.is_empty()).then(|| outward(base, quote!(#generics)));
    (generics, outward(base, quote!(#clause)))
}

/// Replaces `Self` by the base.
fn outward(base: &Base, tokens: TokenStream) -> TokenStream {
    words::name_self(tokens, &base.path)
}

/// Converts an expression that gives the base into one that gives the mirror. Returns it with its
/// type.
fn into_mirror(
    base: &Base,
    ty: &Type,
    made: TokenStream,
) -> syn::Result<(TokenStream, TokenStream)> {
    if is_self(ty) {
        return Ok((quote!(Self(#made)), quote!(Self)));
    }
    match inside(ty) {
        Some((first, others)) if is_self(first) && !others => {
            Ok((quote!(#made.map(Self)), quote!(#ty)))
        }
        _ if words::has_self(ty.to_token_stream()) => Err(at(
            ty,
            "a mirror turns `Self`, `Result<Self, E>` and `Option<Self>` into itself, and nothing else: write \
             the type's name for the base, or move the function into an `impl` block without `#[calls]`",
        )),
        _ => Ok((made, outward(base, quote!(#ty)))),
    }
}

fn is_self(ty: &Type) -> bool {
    matches!(peeled(ty), Type::Path(path) if path.path.is_ident("Self"))
}

/// The first argument of a `Result` or an `Option`, and whether another argument has a `Self`.
fn inside(ty: &Type) -> Option<(&Type, bool)> {
    let Type::Path(path) = peeled(ty) else {
        return None;
    };
    let last = path.path.segments.last()?;
    if last.ident != "Result" && last.ident != "Option" {
        return None;
    }
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    let mut arguments = arguments.args.iter();
    match arguments.next()? {
        GenericArgument::Type(ty) => {
            let others =
                arguments.any(|argument| words::has_word(argument.to_token_stream(), "Self"));
            Some((ty, others))
        }
        _ => None,
    }
}
