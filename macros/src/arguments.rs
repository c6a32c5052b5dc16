//! Arguments: which are borrowed, and how a call owns them.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{
    GenericArgument, Generics, Ident, Lifetime, ParenthesizedGenericArguments, PathArguments,
    Token, Type, TypeFnPtr, TypeParamBound, TypeReference,
    punctuated::Punctuated,
    spanned::Spanned,
    visit_mut::{self, VisitMut},
};

use crate::{
    attributes,
    errors::at,
    item::{FnArg, PatType, Signature},
    words,
};

/// An argument of a method that makes a call.
pub(crate) struct Argument {
    /// Its name outside of the body.
    pub(crate) name: Ident,
    pub(crate) ty: Type,
    /// The type as it is written, which may be an `impl Trait`.
    pub(crate) plain: Type,
    /// As it is written, for the body.
    pub(crate) written: PatType,
    owned: Owned,
}

/// How a call owns it.
enum Owned {
    AsIs,
    /// `&T`
    Borrowed(Type),
    /// `Option<&T>`
    Optional(Type),
    /// `&[&T]`
    Slice(Type),
}

impl Argument {
    /// The argument at a position. An `impl Trait` in it gets a name among the generics, so
    /// that `use<..>` can list it.
    pub(crate) fn new(number: usize, argument: &FnArg, names: &mut Names) -> syn::Result<Self> {
        let FnArg::Typed(written) = argument else {
            unreachable!("`self` comes first, and is not among these");
        };
        let mut written = written.clone();
        let name = name_of(number, &written);
        let plain = (*written.ty).clone();
        // An error shows the type as it is written.
        Owned::of(&plain)?;
        names.name_each(&name, &mut written.ty);
        let ty = (*written.ty).clone();
        let owned = Owned::of(&ty)?;
        Ok(Self {
            name,
            ty,
            plain,
            written,
            owned,
        })
    }

    /// The statement that makes it the call's own.
    pub(crate) fn own(&self) -> TokenStream {
        let (name, kept) = (&self.name, self.kept());
        match &self.owned {
            Owned::AsIs => TokenStream::new(),
            Owned::Borrowed(ty) => {
                quote_spanned!(self.span()=> let #kept = <#ty as ::std::borrow::ToOwned>::to_owned(#name);)
            }
            Owned::Optional(ty) => {
                quote_spanned!(self.span()=> let #kept = #name.map(<#ty as ::std::borrow::ToOwned>::to_owned);)
            }
            Owned::Slice(ty) => quote_spanned! {self.span()=>
                let #kept: ::std::vec::Vec<<#ty as ::std::borrow::ToOwned>::Owned> =
                    ::std::iter::Iterator::collect(::std::iter::Iterator::map(
                        #name.iter(),
                        |item| <#ty as ::std::borrow::ToOwned>::to_owned(*item),
                    ));
            },
        }
    }

    /// The expression that gives it to the body.
    pub(crate) fn pass(&self) -> TokenStream {
        let (name, kept) = (&self.name, self.kept());
        let span = self.span();
        match &self.owned {
            Owned::AsIs => quote!(#name),
            Owned::Borrowed(ty) => {
                quote_spanned!(span=> ::std::borrow::Borrow::<#ty>::borrow(&#kept))
            }
            Owned::Optional(ty) => {
                quote_spanned!(span=> #kept.as_ref().map(::std::borrow::Borrow::<#ty>::borrow))
            }
            Owned::Slice(ty) => quote_spanned! {span=>
                &::std::iter::Iterator::collect::<::std::vec::Vec<&#ty>>(::std::iter::Iterator::map(
                    #kept.iter(),
                    ::std::borrow::Borrow::<#ty>::borrow,
                ))
            },
        }
    }

    /// The name of the owned value: not the argument's, as lints find that one shadows the other.
    fn kept(&self) -> Ident {
        let span = Span::mixed_site().located_at(self.name.span());
        format_ident!("owned_{}", self.name, span = span)
    }

    fn span(&self) -> Span {
        Span::mixed_site().located_at(self.ty.span())
    }
}

/// The name that an argument has outside of the body: its own, or one that cannot collide.
pub(crate) fn name_of(number: usize, argument: &PatType) -> Ident {
    argument.name().unwrap_or_else(|| {
        Ident::new(
            &format!("argument_{}", number + 1),
            Span::mixed_site().located_at(argument.pat.span()),
        )
    })
}

/// Refuses an argument with a `cfg`: the macro cannot evaluate the condition.
pub(crate) fn refuse_cfg(inputs: &Punctuated<FnArg, Token![,]>) -> syn::Result<()> {
    for input in inputs {
        let attributes = match input {
            FnArg::Receiver(receiver) => &receiver.attrs,
            FnArg::Typed(argument) => &argument.attrs,
        };
        let each = attributes.iter().cloned().flat_map(attributes::one_each);
        for attribute in each {
            if attributes::name_of(&attribute).as_deref() == Some("cfg") {
                return Err(at(
                    attribute,
                    "an argument of a call is there or not: write the method twice, each under a `#[cfg(..)]`",
                ));
            }
        }
    }
    Ok(())
}

/// The names that the types of a method's `impl Trait` arguments get.
pub(crate) struct Names {
    /// The method's generics, with the new names.
    pub(crate) generics: Generics,
    /// The signature and the new names: the next new name must not be in it.
    taken: TokenStream,
}

impl Names {
    pub(crate) fn new(signature: &Signature) -> Self {
        Self {
            generics: signature.generics.clone(),
            taken: quote!(#signature),
        }
    }

    /// Names each `impl Trait` in the type of an argument.
    fn name_each(&mut self, argument: &Ident, ty: &mut Type) {
        struct Each<'a>(&'a mut Names, &'a Ident);

        impl VisitMut for Each<'_> {
            fn visit_type_mut(&mut self, ty: &mut Type) {
                // An inner `impl Trait` is declared before the outer one.
                visit_mut::visit_type_mut(self, ty);
                if let Type::ImplTrait(written) = ty {
                    let Self(names, argument) = self;
                    let span = written.span();
                    let bounds = &written.bounds;
                    let named = names.unused(argument, span);
                    let parameter = syn::parse_quote_spanned!(span=> #named: #bounds);
                    names.generics.params.push(parameter);
                    *ty = syn::parse_quote_spanned!(span=> #named);
                }
            }
        }

        Each(self, argument).visit_type_mut(ty);
    }

    fn unused(&mut self, argument: &Ident, span: Span) -> Ident {
        let name = camel_case(argument);
        let mut named = format_ident!("{name}", span = span);
        let mut number = 1;
        while words::has_word(self.taken.clone(), &named) {
            number += 1;
            named = format_ident!("{name}{number}", span = span);
        }
        self.taken.extend(quote!(#named));
        named
    }
}

/// The type without parentheses, and without the invisible group that a `macro_rules!` puts around
/// its `$ty:ty`.
pub(crate) fn peeled(ty: &Type) -> &Type {
    match ty {
        Type::Paren(inside) => peeled(&inside.elem),
        Type::Group(inside) => peeled(&inside.elem),
        ty => ty,
    }
}

impl Owned {
    fn of(ty: &Type) -> syn::Result<Self> {
        let ty = peeled(ty);
        if let Type::Reference(reference) = ty {
            if is_static(reference.lifetime.as_ref()) {
                return borrows(&reference.elem).map(|()| Self::AsIs);
            }
            return Self::of_reference(reference);
        }
        if let Some(Type::Reference(reference)) = optional(ty) {
            if !is_static(reference.lifetime.as_ref()) && reference.mutability.is_none() {
                return match Self::of_reference(reference)? {
                    Self::Borrowed(ty) => Ok(Self::Optional(ty)),
                    _ => Err(at(ty, text_of_borrow(ty))),
                };
            }
        }
        borrows(ty).map(|()| Self::AsIs)
    }

    fn of_reference(reference: &TypeReference) -> syn::Result<Self> {
        if reference.mutability.is_some() {
            return Err(at(
                reference,
                "a call may outlive whoever made it, and cannot keep a `&mut`: take the value and give it \
                 back with the output, or take an `Arc<Mutex<..>>`",
            ));
        }
        let elem = peeled(&reference.elem);
        match elem {
            Type::TraitObject(_) => Err(at(
                reference,
                "a `&dyn Trait` cannot be made owned: take an `Arc<dyn Trait>` or a `Box<dyn Trait>`",
            )),
            Type::ImplTrait(_) => Err(at(
                reference,
                "an `&impl Trait` cannot be made owned: take `impl Trait + Send + 'static`",
            )),
            Type::Slice(slice) => match peeled(&slice.elem) {
                Type::Reference(item)
                    if !is_static(item.lifetime.as_ref()) && item.mutability.is_none() =>
                {
                    borrows(&item.elem)?;
                    Ok(Self::Slice((*item.elem).clone()))
                }
                _ => borrows(elem).map(|()| Self::Borrowed(elem.clone())),
            },
            _ => borrows(elem).map(|()| Self::Borrowed(elem.clone())),
        }
    }
}

/// The `T` of an `Option<T>`.
fn optional(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else {
        return None;
    };
    let last = path
        .path
        .segments
        .last()
        .filter(|last| last.ident == "Option")?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    match arguments.args.first() {
        Some(GenericArgument::Type(ty)) => Some(peeled(ty)),
        _ => None,
    }
}

fn is_static(lifetime: Option<&Lifetime>) -> bool {
    lifetime.is_some_and(|lifetime| lifetime.ident == "static")
}

fn text_of_borrow(ty: &Type) -> String {
    format!(
        "a call may outlive whoever made it, and cannot borrow: take an owned type in place of `{}`, such \
         as `String`, `Vec<T>` or `Arc<T>` (what is made owned by itself is `&T`, `Option<&T>` and \
         `&[&T]`)",
        quote!(#ty)
    )
}

/// An error if the type borrows with a lifetime other than `'static`.
fn borrows(ty: &Type) -> syn::Result<()> {
    match first_borrow(ty) {
        None => Ok(()),
        Some(span) => Err(syn::Error::new(span, text_of_borrow(ty))),
    }
}

/// Where a type borrows.
pub(crate) fn first_borrow(ty: &Type) -> Option<Span> {
    struct Find(Option<Span>);

    // It changes nothing: the crate has `visit-mut` anyway, and `visit` would take the compiler more
    // time than the clone of a type.
    impl VisitMut for Find {
        fn visit_type_reference_mut(&mut self, reference: &mut TypeReference) {
            if !is_static(reference.lifetime.as_ref()) {
                self.0.get_or_insert(reference.span());
            }
            self.visit_type_mut(&mut reference.elem);
        }

        fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
            if lifetime.ident != "static" {
                self.0.get_or_insert(lifetime.span());
            }
        }

        // Arguments of function types are not borrows, nor are lifetimes bound by `for<'a>`.
        fn visit_type_fn_ptr_mut(&mut self, _: &mut TypeFnPtr) {}
        fn visit_parenthesized_generic_arguments_mut(
            &mut self,
            _: &mut ParenthesizedGenericArguments,
        ) {
        }
        fn visit_type_param_bound_mut(&mut self, bound: &mut TypeParamBound) {
            match bound {
                TypeParamBound::Trait(bound) if bound.lifetimes.is_some() => {}
                _ => visit_mut::visit_type_param_bound_mut(self, bound),
            }
        }
    }

    let mut find = Find(None);
    find.visit_type_mut(&mut ty.clone());
    find.0
}

/// `file_name` becomes `FileName`.
fn camel_case(name: &Ident) -> String {
    let name = name.to_string();
    let words = name.trim_start_matches("r#").split('_');
    let mut text: String = words
        .filter_map(|word| {
            let mut letters = word.chars();
            letters
                .next()
                .map(|first| first.to_uppercase().chain(letters).collect::<String>())
        })
        .collect();
    // So that it differs from the types in scope.
    text.insert_str(0, "Impl");
    text
}
