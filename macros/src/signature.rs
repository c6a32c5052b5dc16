//! The parts of a method that becomes a call.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{
    Attribute, GenericArgument, GenericParam, Generics, Ident, Path, PathArguments, ReturnType,
    Type, Visibility, parse_quote, parse_quote_spanned, spanned::Spanned,
};

use crate::{
    arguments::{Argument, Names, first_borrow, peeled, refuse_cfg},
    attributes::{cfgs, lint_levels, share},
    errors::at,
    item::{Block, FnArg, Receiver, ReceiverKind, Signature},
    options::{Marks, Options, is_named},
    words,
};

/// A method that makes a call.
pub(crate) struct Method {
    pub(crate) kind: Kind,
    pub(crate) boxed: bool,
    /// Attributes that stay with the public method.
    pub(crate) outer: Vec<Attribute>,
    /// Attributes that go to the body.
    pub(crate) inner: Vec<Attribute>,
    pub(crate) visibility: Visibility,
    pub(crate) name: Ident,
    pub(crate) generics: Generics,
    /// Those of the block that only the trait of the block constrains. The body has them before its
    /// own.
    pub(crate) of_trait: Generics,
    /// As they are written: without names for `impl Trait`.
    pub(crate) written_generics: Generics,
    pub(crate) receiver: Receiver,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Async,
    Blocking,
}

/// The output.
pub(crate) enum Output {
    One(Type),
    /// The items, and the whole as it is written.
    Many(Type, Box<Type>),
}

impl Output {
    /// As it is written.
    pub(crate) fn written(&self) -> &Type {
        match self {
            Self::One(ty) => ty,
            Self::Many(_, ty) => ty,
        }
    }
}

/// The kind of a function's body, if it must become a call.
pub(crate) fn kind(signature: &Signature, marks: &Marks) -> syn::Result<Option<Kind>> {
    match (&signature.asyncness, &marks.blocking) {
        (Some(_), Some(mark)) => Err(at(
            mark,
            "an async body must not block: remove `#[blocking]`; or remove `async`, if it does",
        )),
        (Some(_), None) => Ok(Some(Kind::Async)),
        (None, Some(_)) => Ok(Some(Kind::Blocking)),
        (None, None) if marks.boxed => Err(at(
            &signature.ident,
            "`#[boxed]` is for calls: make it an `async fn`, or mark it `#[blocking]`",
        )),
        (None, None) => Ok(None),
    }
}

impl Method {
    pub(crate) fn new(
        kind: Kind,
        marks: &Marks,
        options: &Options,
        attributes: Vec<Attribute>,
        visibility: Visibility,
        signature: &Signature,
    ) -> syn::Result<Self> {
        refuse_qualifiers(signature)?;
        let mut inputs = signature.inputs.iter();
        let receiver = match inputs.next() {
            Some(FnArg::Receiver(receiver)) => receiver.clone(),
            _ => {
                return Err(at(
                    &signature.ident,
                    "a call finds its runtime by `self`: make it a method with `&self`, or move it into an \
                     `impl` block without `#[calls]`",
                ));
            }
        };
        if is_mutable(&type_of(&receiver)) {
            return Err(at(
                &receiver,
                "a call can be kept, and sent to other threads, while others use `self`: take `&self`, and \
                 put what changes behind a `Mutex` or an atomic",
            ));
        }
        refuse_borrowed(&receiver)?;
        if kind == Kind::Async {
            refuse_async_closures(signature)?;
        }
        refuse_cfg(&signature.inputs)?;
        let mut names = Names::new(signature);
        let arguments = inputs.enumerate();
        let arguments =
            arguments.map(|(number, argument)| Argument::new(number, argument, &mut names));
        let arguments = arguments.collect::<syn::Result<Vec<_>>>()?;
        let (outer, inner) = share(attributes);
        Ok(Self {
            kind,
            boxed: marks.boxed || options.boxed,
            outer,
            inner,
            visibility,
            name: signature.ident.clone(),
            generics: names.generics,
            of_trait: Generics::default(),
            written_generics: signature.generics.clone(),
            receiver,
            arguments,
            output: output(&signature.output)?,
        })
    }

    /// The public method, which makes the call. `body` is the name of the method with the body, and
    /// `scope` has the generics of the block.
    pub(crate) fn public(&self, options: &Options, scope: &Generics, body: &Ident) -> TokenStream {
        let Self {
            outer,
            visibility,
            name,
            ..
        } = self;
        let cfgs = cfgs(&self.inner);
        let (generics, _, clause) = self.generics.split_for_impl();
        let generics = generics_tokens(&self.generics, generics);
        let receiver = self.public_receiver();
        let arguments = self.declared();
        let output = self.public_output(options, scope);
        let made = self.made(options, body);
        // Items name the line that made them. A call names the one that uses it.
        let is_tracked = |attribute: &Attribute| is_named(attribute, "track_caller");
        let many = matches!(self.output, Output::Many(..));
        let tracked = (many && !outer.iter().any(is_tracked)).then(|| quote!(#[track_caller]));
        quote! {
            #(#outer)* #(#cfgs)* #tracked
            #visibility fn #name #generics (#receiver, #(#arguments),*) -> #output #clause {
                #made
            }
        }
    }

    /// The public method of a trait, without a body.
    pub(crate) fn required(&self, options: &Options) -> TokenStream {
        let Self {
            outer,
            name,
            receiver,
            ..
        } = self;
        // There is no body to take the `inner` attributes. `outer` already has the levels of lints.
        let inner = self.inner.iter();
        let inner =
            inner.filter(|attribute| lint_levels(std::slice::from_ref(attribute)).is_empty());
        let arguments = self.declared();
        let output = self.boxed_output(options);
        let (generics, _, clause) = self.generics.split_for_impl();
        let generics = generics_tokens(&self.generics, generics);
        quote! {
            #(#outer)* #(#inner)*
            fn #name #generics (#receiver, #(#arguments),*) -> #output #clause;
        }
    }

    /// The method with the body.
    pub(crate) fn private(
        &self,
        options: &Options,
        scope: &Generics,
        name: &Ident,
        block: &TokenStream,
    ) -> TokenStream {
        let Self {
            inner, receiver, ..
        } = self;
        let arguments = self.arguments.iter().map(|argument| &argument.written);
        let all = self.of_body();
        let (generics, _, clause) = all.split_for_impl();
        let generics = generics_tokens(&all, generics);
        let asyncness = (self.kind == Kind::Async).then(|| quote!(async));
        let output = match (&self.output, self.kind) {
            (Output::One(ty), _) => quote!(#ty),
            (Output::Many(item, written), kind) => {
                let uses = self.uses(scope);
                let streams = &options.streams;
                let span = written.span();
                match kind {
                    Kind::Blocking => quote_spanned! {span=>
                        impl ::std::iter::IntoIterator<Item = #item, IntoIter: ::std::marker::Send + 'static> + use<#uses>
                    },
                    Kind::Async => quote_spanned! {span=>
                        impl #streams::Stream<Item = #item> + ::std::marker::Send + 'static + use<#uses>
                    },
                }
            }
        };
        quote! {
            #(#inner)*
            #asyncness fn #name #generics (#receiver, #(#arguments),*) -> #output #clause #block
        }
    }

    /// The expression that makes the call, in a method with the receiver `self`.
    fn made(&self, options: &Options, body: &Ident) -> TokenStream {
        let span = Span::mixed_site().located_at(self.name.span());
        // So that the compiler reports at the method, and not at the attribute, what a runtime or a
        // body is not.
        let home = located(&options.home, span);
        let streams = located(&options.streams, span);
        let this = Ident::new("this", span);
        let (by, keep) = self.keep(&this);
        let runtime = self.runtime(options);
        // Taken before `self` may be moved; a clone if it is moved.
        let (runtime, before) = match by {
            By::Clone => (quote!(&#runtime), None),
            By::Move => {
                let kept = Ident::new("runtime", span);
                let clone =
                    quote_spanned!(span=> let #kept = ::std::clone::Clone::clone(&#runtime););
                (quote!(&#kept), Some(clone))
            }
        };
        let own = self.arguments.iter().map(Argument::own);
        let pass = self.arguments.iter().map(Argument::pass);
        let fish = self.turbofish();
        let used = quote_spanned!(span=> #this.#body #fish (#(#pass),*));
        let made = match (&self.output, self.kind) {
            (Output::One(_), Kind::Async) => {
                quote_spanned!(span=> #home::Runtime::call_with(#runtime, async move || #used.await))
            }
            (Output::One(_), Kind::Blocking) => {
                quote_spanned!(span=> #home::Runtime::call_blocking(#runtime, move || #used))
            }
            (Output::Many(..), Kind::Async) => quote_spanned! {span=>
                #streams::Streams::stream(#runtime, #streams::later(async move || #used.await))
            },
            (Output::Many(..), Kind::Blocking) => {
                quote_spanned!(span=> #streams::Streams::stream_blocking(#runtime, move || #used))
            }
        };
        let made = match self.is_boxed_call() {
            true => quote_spanned!(span=> #home::call::Call::boxed(#made)),
            false => made,
        };
        quote!(#before #keep #(#own)* #made)
    }

    fn is_boxed_call(&self) -> bool {
        self.boxed && matches!(self.output, Output::One(_))
    }

    /// How the body gets `self`.
    fn keep(&self, this: &Ident) -> (By, TokenStream) {
        let span = Span::mixed_site().located_at(self.receiver.span());
        // With the span of the user's `self`, so that it resolves to that.
        let word = &self.receiver.self_token;
        let cloned = match &self.receiver.kind {
            ReceiverKind::Reference(..) => Some(quote_spanned!(span=> Self)),
            _ => match peeled(&type_of(&self.receiver)) {
                Type::Reference(reference) => Some(reference.elem.to_token_stream()),
                _ => None,
            },
        };
        match cloned {
            Some(ty) => (
                By::Clone,
                quote_spanned!(span=> let #this = <#ty as ::std::clone::Clone>::clone(#word);),
            ),
            None => (By::Move, quote_spanned!(span=> let #this = #word;)),
        }
    }

    fn runtime(&self, options: &Options) -> TokenStream {
        match &options.runtime {
            Some(expression) => expression.to_token_stream(),
            None => {
                let word = &self.receiver.self_token;
                let field = Ident::new("rt", Span::call_site());
                quote!(#word.#field)
            }
        }
    }

    /// Without `mut`, which matters only to the body.
    fn public_receiver(&self) -> Receiver {
        let mut receiver = self.receiver.clone();
        receiver.mutability = None;
        receiver
    }

    /// The arguments as the public signature has them.
    fn declared(&self) -> impl Iterator<Item = TokenStream> {
        self.arguments
            .iter()
            .map(|Argument { name, ty, .. }| quote!(#name: #ty))
    }

    fn public_output(&self, options: &Options, scope: &Generics) -> TokenStream {
        if self.boxed {
            return self.boxed_output(options);
        }
        match &self.output {
            Output::Many(_, written) => written.to_token_stream(),
            Output::One(ty) => {
                let home = &options.home;
                let uses = self.uses(scope);
                let span = Span::mixed_site().located_at(ty.span());
                quote_spanned!(span=> impl #home::call::Call<Output = #ty> + use<#uses>)
            }
        }
    }

    pub(crate) fn boxed_output(&self, options: &Options) -> TokenStream {
        match &self.output {
            Output::Many(_, written) => written.to_token_stream(),
            Output::One(ty) => {
                let home = &options.home;
                let span = Span::mixed_site().located_at(ty.span());
                quote_spanned!(span=> #home::call::BoxCall<#ty>)
            }
        }
    }

    /// All type and const parameters in scope, without lifetimes: the captures of a call.
    fn uses(&self, scope: &Generics) -> TokenStream {
        let parameters = scope.params.iter().chain(&self.generics.params);
        let names = parameters.filter_map(parameter);
        quote!(#(#names),*)
    }

    /// The generics of the method with the body.
    fn of_body(&self) -> Generics {
        let mut all = self.generics.clone();
        let is_lifetime = |it: &GenericParam| matches!(it, GenericParam::Lifetime(_));
        let (lifetimes, own): (Vec<_>, Vec<_>) = all.params.into_iter().partition(is_lifetime);
        let of_trait = self.of_trait.params.iter().cloned();
        all.params = lifetimes.into_iter().chain(of_trait).chain(own).collect();
        if let Some(clause) = &self.of_trait.where_clause {
            let predicates = clause.predicates.iter().cloned();
            all.make_where_clause().predicates.extend(predicates);
        }
        all
    }

    /// The parameters of the method with the body, so that none has to be inferred.
    fn turbofish(&self) -> Option<TokenStream> {
        let all = self.of_body();
        let names: Vec<_> = all.params.iter().filter_map(parameter).collect();
        (!names.is_empty()).then(|| quote!(::<#(#names),*>))
    }
}

enum By {
    Clone,
    Move,
}

/// The same path, as if it stood at another place.
fn located(path: &Path, at: Span) -> Path {
    let mut path = path.clone();
    if let Some(colons) = &mut path.leading_colon {
        colons.spans = colons.spans.map(|span| span.located_at(at));
    }
    for segment in &mut path.segments {
        let span = segment.ident.span().located_at(at);
        segment.ident.set_span(span);
    }
    path
}

pub(crate) fn parameter(parameter: &GenericParam) -> Option<&Ident> {
    match parameter {
        GenericParam::Type(ty) => Some(&ty.ident),
        GenericParam::Const(constant) => Some(&constant.ident),
        GenericParam::Lifetime(_) => None,
    }
}

/// `<..>` with bounds, also if it is only for lifetimes.
fn generics_tokens(generics: &Generics, tokens: impl ToTokens) -> TokenStream {
    match generics.params.is_empty() {
        true => TokenStream::new(),
        false => tokens.to_token_stream(),
    }
}

/// The name of the method with the body of another. `of` is the trait of a trait's method.
pub(crate) fn body_of(method: &Ident, of: Option<&Path>) -> Ident {
    let method_name = method.to_string();
    let method_name = method_name.trim_start_matches("r#");
    match of {
        None => format_ident!("__body_of_{method_name}", span = method.span()),
        Some(of) => {
            // With the trait's arguments, as a type may have `Store<u8>` beside `Store<u16>`.
            let of = quote!(#of).to_string().to_lowercase();
            let words = of.split(|letter: char| !letter.is_alphanumeric());
            let words = words.filter(|word| !word.is_empty());
            let of = words.collect::<Vec<_>>().join("_");
            format_ident!("__body_for_{of}_of_{method_name}", span = method.span())
        }
    }
}

/// The type of `self`.
pub(crate) fn type_of(receiver: &Receiver) -> Type {
    let span = receiver.self_token.span;
    match &receiver.kind {
        ReceiverKind::Typed(_, ty) => (**ty).clone(),
        ReceiverKind::Reference(and, lifetime, mutability) => {
            parse_quote_spanned!(span=> #and #lifetime #mutability Self)
        }
        ReceiverKind::Value => parse_quote_spanned!(span=> Self),
    }
}

fn is_mutable(ty: &Type) -> bool {
    matches!(peeled(ty), Type::Reference(reference) if reference.mutability.is_some())
}

/// Does a method with this signature give many values, if it makes a call?
pub(crate) fn gives_many(signature: &Signature) -> bool {
    matches!(output(&signature.output), Ok(Output::Many(..)))
}

fn refuse_qualifiers(signature: &Signature) -> syn::Result<()> {
    if let Some(word) = &signature.constness {
        return Err(at(
            word,
            "a call is made when the program runs: remove `const`",
        ));
    }
    if let Some(word) = &signature.unsafety {
        return Err(at(
            word,
            "the body of a call is run by whoever uses it, with nobody to promise what `unsafe` asks for: \
             make it a safe `fn` that checks, or keep it out of the `#[calls]` block",
        ));
    }
    if let Some(word) = &signature.abi {
        return Err(at(word, "a call is made by Rust alone: remove `extern`"));
    }
    Ok(())
}

/// Refuses a `self` that is borrowed by another type than `&`, as in `self: Pin<&Self>`.
fn refuse_borrowed(receiver: &Receiver) -> syn::Result<()> {
    let ty = type_of(receiver);
    let borrows = match peeled(&ty) {
        // This one is cloned.
        Type::Reference(reference) => first_borrow(&reference.elem),
        ty => first_borrow(ty),
    };
    match borrows {
        Some(_) => Err(at(
            receiver,
            "a call may outlive whoever made it, and cannot borrow `self`: take `&self`, which is cloned, or \
             `self: &Arc<Self>`",
        )),
        None => Ok(()),
    }
}

/// Refuses a closure that is bound by `AsyncFn`: Rust has no way yet to require that its future is
/// `Send`, and the compiler would report that at the attribute.
fn refuse_async_closures(signature: &Signature) -> syn::Result<()> {
    let found = ["AsyncFn", "AsyncFnMut", "AsyncFnOnce"]
        .iter()
        .find_map(|name| words::find_word(signature.to_token_stream(), name));
    match found {
        Some(word) => Err(at(
            word,
            "the future of an `AsyncFn` cannot be said to be `Send`, which an async body has to be: take \
             `F: Fn(A) -> Fut + Send + 'static` with `Fut: Future<Output = T> + Send`, to which an async \
             closure can be given too",
        )),
        None => Ok(()),
    }
}

fn output(output: &ReturnType) -> syn::Result<Output> {
    let ReturnType::Type(_, ty) = output else {
        return Ok(Output::One(parse_quote!(())));
    };
    let ty = peeled(ty);
    if let Type::Never(_) = ty {
        return Err(at(
            ty,
            "the output of a call is a type, and `!` is none yet: write `std::convert::Infallible`",
        ));
    }
    if words::has_word(ty.to_token_stream(), "impl") {
        let text = match ty {
            Type::ImplTrait(written) if quote!(#written).to_string().contains("Call <") => {
                "write the output alone, `-> T`: it is `#[calls]` that makes it `impl Call<Output = T>`"
            }
            _ => {
                "the output of a call has a type with a name: box it (`Box<dyn Trait + Send>`), collect it \
                 (`Vec<T>`), or give many values by `Items<T>`"
            }
        };
        return Err(at(ty, text));
    }
    let last = match ty {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    };
    if last.is_some_and(|last| last.ident == "BoxCall") {
        return Err(at(
            ty,
            "write the output alone, `-> T`, and mark the method `#[boxed]`",
        ));
    }
    if let Some(span) = first_borrow(ty) {
        return Err(syn::Error::new(
            span,
            "a call may outlive whoever made it, so its output cannot borrow from `self` or an argument: \
             return an owned type, such as `String` in place of `&str`, or an `Arc`",
        ));
    }
    if let Some(last) = last.filter(|last| last.ident == "Items") {
        if let PathArguments::AngleBracketed(arguments) = &last.arguments {
            if let Some(GenericArgument::Type(item)) = arguments.args.first() {
                return Ok(Output::Many(item.clone(), Box::new(ty.clone())));
            }
        }
    }
    Ok(Output::One(ty.clone()))
}

/// The method's block as tokens.
pub(crate) fn tokens(block: &Block) -> TokenStream {
    block.to_token_stream()
}
