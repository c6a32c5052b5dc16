//! `#[calls(mirror)]`: types with ordinary signatures, which delegate to the one with calls.
//!
//! A module has only the type. The methods are generated beside the original block, so that each
//! name in their signatures means the same as in the block.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};
use syn::{
    GenericParam, Generics, Ident, Type, TypeParamBound, Visibility, WherePredicate, parse_quote,
};

use crate::{
    arguments::peeled,
    attributes::{cfgs, lint_levels},
    errors::{Errors, at},
    item::ItemImpl,
    mirror_methods::{Member, method},
    options::{Module, Modules, Options, Side},
    signature::type_of,
    words,
};

/// Both modules, with the methods and conversions of their types.
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
        (Side::Blocking, &modules.blocking, &modules.asynchronous),
        (Side::Asynchronous, &modules.asynchronous, &modules.blocking),
    ];
    let both = sides.map(|(side, module, other)| {
        let mirror = Mirror::new(&base, block, modules, module);
        let methods = mirror.methods(block, options, side, members, errors);
        if modules.more {
            return methods;
        }
        let declared = declare(&base, block, options, side, module);
        let conversions = mirror.conversions(block, &Mirror::new(&base, block, modules, other));
        quote!(#declared #methods #conversions)
    });
    quote!(#(#both)*)
}

/// The type that is mirrored.
pub(crate) struct Base {
    name: Ident,
    /// `Name<R>`, as it is written.
    pub(crate) path: TokenStream,
    cloned: bool,
}

impl Base {
    fn of(block: &ItemImpl, members: &[Member]) -> syn::Result<Self> {
        let segment = match peeled(&block.self_ty) {
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
        // A call by `&self` clones `self`.
        let is_cloned = |member: &Member| matches!(member, Member::Call(method) if matches!(type_of(&method.receiver), Type::Reference(_)));
        Ok(Self {
            name: segment.ident.clone(),
            path: segment.to_token_stream(),
            cloned: members.iter().any(is_cloned),
        })
    }
}

/// The module with its type.
fn declare(
    base: &Base,
    block: &ItemImpl,
    options: &Options,
    side: Side,
    module: &Module,
) -> TokenStream {
    let Base { name, path, cloned } = base;
    let Module {
        visibility,
        name: module,
    } = module;
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
    let (_, _, clause) = block.generics.split_for_impl();
    let declared = words::further_in(declared(&block.generics, &options.home));
    let path = words::further_in(quote!(#path));
    let clause = words::further_in(quote!(#clause));
    let levels = lint_levels(&block.attrs);
    let cfgs = cfgs(&block.attrs);
    // Two modules of the same name are an error. The compiler's message shows this name too.
    let once = format_ident!(
        "{module}_is_taken__another_block_of_its_type_has_mirror_more__another_type_has_mirror_with_names"
    );
    quote! {
        #(#cfgs)* #(#levels)*
        #[doc = #module_doc]
        #visibility mod #module {
            #[allow(unused_imports, reason = "bounds use what they need")]
            use super::*;

            #[doc = #type_doc]
            #derive
            pub struct #name #declared (pub(super) super::#path) #clause;
        }

        #(#cfgs)*
        #[doc(hidden)]
        #[allow(non_snake_case, reason = "it is a sentence")]
        mod #once {}
    }
}

/// The type of a mirror.
struct Mirror<'a> {
    base: &'a Base,
    /// `module::Name<R>`
    path: TokenStream,
}

impl<'a> Mirror<'a> {
    fn new(base: &'a Base, block: &ItemImpl, modules: &Modules, module: &Module) -> Self {
        let (module, name) = (&module.name, &base.name);
        let (_, parameters, _) = block.generics.split_for_impl();
        let path = match (modules.more, &base.path) {
            // The type exists already, with the parameters of its declaration.
            (true, path) => quote!(#module::#path),
            // The mirror of `Name<Tokio>` has no parameters.
            (false, _) => quote!(#module::#name #parameters),
        };
        Self { base, path }
    }

    fn methods(
        &self,
        block: &ItemImpl,
        options: &Options,
        side: Side,
        members: &[Member],
        errors: &mut Errors,
    ) -> TokenStream {
        let Self { base, path } = self;
        let methods = members
            .iter()
            .filter_map(|member| errors.take(method(base, options, side, member)).flatten());
        let methods: Vec<_> = methods.collect();
        let (generics, _, clause) = block.generics.split_for_impl();
        let (cfgs, levels) = (cfgs(&block.attrs), lint_levels(&block.attrs));
        quote! {
            #(#cfgs)* #(#levels)*
            #[allow(clippy::needless_lifetimes, clippy::new_without_default, reason = "as the base has it")]
            impl #generics #path #clause {
                #(#methods)*
            }
        }
    }

    /// Conversions from the base and back, and from the other mirror. They call no method, as the
    /// base may have a method of the same name.
    fn conversions(&self, block: &ItemImpl, other: &Self) -> TokenStream {
        let Self { base, path: mirror } = self;
        let (
            Base {
                path: base, name, ..
            },
            other,
        ) = (base, &other.path);
        let (generics, _, clause) = block.generics.split_for_impl();
        let text = name.to_string();
        let cfgs = cfgs(&block.attrs);
        let cfgs = quote!(#(#cfgs)*);
        quote! {
            #cfgs
            impl #generics ::std::convert::From<#base> for #mirror #clause {
                fn from(base: #base) -> Self {
                    Self(base)
                }
            }

            #cfgs
            impl #generics ::std::convert::From<#mirror> for #base #clause {
                fn from(mirror: #mirror) -> Self {
                    mirror.0
                }
            }

            #cfgs
            impl #generics ::std::convert::From<#other> for #mirror #clause {
                fn from(other: #other) -> Self {
                    Self(other.0)
                }
            }

            #cfgs
            impl #generics ::std::fmt::Debug for #mirror #clause {
                fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                    ::std::fmt::DebugStruct::finish_non_exhaustive(
                        &mut ::std::fmt::Formatter::debug_struct(f, #text),
                    )
                }
            }
        }
    }
}

/// The generics of the mirror's declaration: a runtime parameter has a default, as in the types of
/// `fourway`'s docs.
fn declared(generics: &Generics, home: &syn::Path) -> TokenStream {
    let mut generics = generics.clone();
    let clause = generics.where_clause.take();
    // A default stands last.
    if let Some(GenericParam::Type(last)) = generics.params.last_mut() {
        let is_runtime = |bound: &TypeParamBound| matches!(bound, TypeParamBound::Trait(bound) if bound.path.segments.last().is_some_and(|last| last.ident == "Runtime"));
        let predicates = clause.iter().flat_map(|clause| &clause.predicates);
        let in_clause = predicates.filter_map(|predicate| match predicate {
            WherePredicate::Type(of) if is_parameter(&of.bounded_ty, &last.ident) => {
                Some(&of.bounds)
            }
            _ => None,
        });
        let mut bounds = std::iter::once(&last.bounds).chain(in_clause).flatten();
        if bounds.any(is_runtime) {
            last.default = Some((Default::default(), parse_quote!(#home::AnyRuntime)));
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

fn is_parameter(ty: &Type, name: &Ident) -> bool {
    matches!(peeled(ty), Type::Path(path) if path.path.is_ident(name))
}

/// Is the item public?
pub(crate) fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}
