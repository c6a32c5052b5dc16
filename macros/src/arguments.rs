//! Arguments: which are borrowed, and how a call owns them.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{
    FnArg, GenericArgument, Generics, Ident, Lifetime, ParenthesizedGenericArguments, Pat, PatType,
    PathArguments, Type, TypeBareFn, TypeParamBound, TypeReference,
    spanned::Spanned,
    visit::{self, Visit},
};

use crate::errors::at;

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
    /// The argument at a position. An `impl Trait` gets a name among the generics, so that
    /// `use<..>` can have it.
    pub(crate) fn new(
        number: usize,
        argument: &FnArg,
        generics: &mut Generics,
    ) -> syn::Result<Self> {
        let FnArg::Typed(written) = argument else {
            unreachable!("`self` comes first, and is not among these");
        };
        let mut written = written.clone();
        let name = match &*written.pat {
            Pat::Ident(pat) if pat.subpat.is_none() => pat.ident.clone(),
            pat => Ident::new(
                &format!("argument_{}", number + 1),
                Span::mixed_site().located_at(pat.span()),
            ),
        };
        let plain = (*written.ty).clone();
        if let Type::ImplTrait(ty) = &plain {
            borrows(&plain)?;
            let span = written.ty.span();
            let named = format_ident!("{}", camel_case(&name), span = span);
            let bounds = &ty.bounds;
            generics
                .params
                .push(syn::parse_quote_spanned!(span=> #named: #bounds));
            *written.ty = syn::parse_quote_spanned!(span=> #named);
        }
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
        let name = &self.name;
        match &self.owned {
            Owned::AsIs => TokenStream::new(),
            Owned::Borrowed(ty) => {
                quote_spanned!(self.span()=> let #name = <#ty as ::std::borrow::ToOwned>::to_owned(#name);)
            }
            Owned::Optional(ty) => {
                quote_spanned!(self.span()=> let #name = #name.map(<#ty as ::std::borrow::ToOwned>::to_owned);)
            }
            Owned::Slice(ty) => quote_spanned! {self.span()=>
                let #name: ::std::vec::Vec<<#ty as ::std::borrow::ToOwned>::Owned> =
                    ::std::iter::Iterator::collect(::std::iter::Iterator::map(
                        #name.iter(),
                        |item| <#ty as ::std::borrow::ToOwned>::to_owned(*item),
                    ));
            },
        }
    }

    /// The expression that gives it to the body.
    pub(crate) fn pass(&self) -> TokenStream {
        let name = &self.name;
        let span = self.span();
        match &self.owned {
            Owned::AsIs => quote!(#name),
            Owned::Borrowed(ty) => {
                quote_spanned!(span=> ::std::borrow::Borrow::<#ty>::borrow(&#name))
            }
            Owned::Optional(ty) => {
                quote_spanned!(span=> #name.as_ref().map(::std::borrow::Borrow::<#ty>::borrow))
            }
            Owned::Slice(ty) => quote_spanned! {span=>
                &::std::iter::Iterator::collect::<::std::vec::Vec<&#ty>>(::std::iter::Iterator::map(
                    #name.iter(),
                    ::std::borrow::Borrow::<#ty>::borrow,
                ))
            },
        }
    }

    fn span(&self) -> Span {
        Span::mixed_site().located_at(self.ty.span())
    }
}

impl Owned {
    fn of(ty: &Type) -> syn::Result<Self> {
        if let Type::Paren(inside) = ty {
            return Self::of(&inside.elem);
        }
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
        let mut elem = &*reference.elem;
        while let Type::Paren(inside) = elem {
            elem = &inside.elem;
        }
        match elem {
            Type::TraitObject(_) => Err(at(
                reference,
                "a `&dyn Trait` cannot be made owned: take an `Arc<dyn Trait>` or a `Box<dyn Trait>`",
            )),
            Type::ImplTrait(_) => Err(at(
                reference,
                "an `&impl Trait` cannot be made owned: take `impl Trait + Send + 'static`",
            )),
            Type::Slice(slice) => match &*slice.elem {
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
        Some(GenericArgument::Type(ty)) => Some(ty),
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

    impl<'ast> Visit<'ast> for Find {
        fn visit_type_reference(&mut self, reference: &'ast TypeReference) {
            if !is_static(reference.lifetime.as_ref()) {
                self.0.get_or_insert(reference.span());
            }
            visit::visit_type(self, &reference.elem);
        }

        fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
            if lifetime.ident != "static" {
                self.0.get_or_insert(lifetime.span());
            }
        }

        // Arguments of function types are not borrows, nor are lifetimes bound by `for<'a>`.
        fn visit_type_bare_fn(&mut self, _: &'ast TypeBareFn) {}
        fn visit_parenthesized_generic_arguments(
            &mut self,
            _: &'ast ParenthesizedGenericArguments,
        ) {
        }
        fn visit_type_param_bound(&mut self, bound: &'ast TypeParamBound) {
            match bound {
                TypeParamBound::Trait(bound) if bound.lifetimes.is_some() => {}
                _ => visit::visit_type_param_bound(self, bound),
            }
        }
    }

    let mut find = Find(None);
    find.visit_type(ty);
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
